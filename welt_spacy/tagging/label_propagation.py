"""Label propagation: a confident entity makes other occurrences of the same tokens in its
document more likely.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc

from ..errors import WeltError, check_number
from ..util.arrays import Ints, starts_of
from .decoding import Entities, Floats

# Entities that are more likely than not are never displaced by an added one
LIKELY = 0.5
KEYS = ("min_count", "min_confidence", "weight")


def propagate_entities(
    docs: Sequence[Doc],
    entities: Entities,
    score: Callable[[Ints, Ints, Ints], Floats],
    settings: Mapping[str, float],
) -> Entities:
    """Raise the confidence of entities that occur elsewhere in their document with high
    confidence, and add their missed occurrences.

    Two occurrences are the same if their tokens and labels are. An occurrence that has at
    least `min_count` others, each with a confidence of at least `min_confidence`, gets

        1 - (1 - its confidence) (1 - weight)

    as if it had been confirmed by independent evidence that is right with probability
    `weight`. So a threshold t keeps the occurrences whose own confidence is at least
    1 - (1 - t) / (1 - weight), and all of them if weight >= t.
    """
    weight = settings["weight"]
    offsets = starts_of(np.array(list(map(len, docs)), dtype="int64"))
    bounds = np.searchsorted(entities.starts, offsets).tolist()
    raised = np.zeros(len(entities.starts), dtype=bool)
    missed: list[tuple[int, int, int]] = []
    for i, doc in enumerate(docs):
        in_doc = slice(bounds[i], bounds[i + 1])
        if in_doc.stop - in_doc.start < settings["min_count"]:
            continue
        occurrences = _find_occurrences(
            doc.to_array(ORTH),
            Entities(*(column[in_doc] for column in entities)),
            int(offsets[i]),
            settings,
        )
        raised[in_doc] = occurrences.raised
        missed.extend(occurrences.missed)
    confidences = np.where(
        raised, 1 - (1 - entities.confidences) * (1 - weight), entities.confidences
    )
    if not missed:
        return entities._replace(confidences=confidences)
    starts, ends, labels = np.array(missed, dtype="int64").T
    added = 1 - (1 - score(starts, ends, labels)) * (1 - weight)
    # Entities that were likely before propagation rank above all others
    rank = np.where(
        entities.confidences >= LIKELY, 1 + entities.confidences, confidences
    )
    return _remove_overlaps(
        Entities(
            np.concatenate([entities.starts, starts]),
            np.concatenate([entities.ends, ends]),
            np.concatenate([entities.labels, labels]),
            np.concatenate([confidences, added]),
        ),
        np.concatenate([rank, added]),
    )


class _Occurrences(NamedTuple):
    raised: NDArray[np.bool_]  # (E,): entities that have enough others
    missed: list[tuple[int, int, int]]  # start, end, label; rows of all documents


def _find_occurrences(
    tokens: NDArray[Any],
    entities: Entities,
    offset: int,
    settings: Mapping[str, float],
) -> _Occurrences:
    starts = (entities.starts - offset).tolist()
    ends = (entities.ends - offset).tolist()
    confident = entities.confidences >= settings["min_confidence"]
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, (start, end, label) in enumerate(
        zip(starts, ends, entities.labels.tolist())
    ):
        key = (label, *tokens[start:end].tolist())
        groups[key].append(i)
    raised = np.zeros(len(starts), dtype=bool)
    missed = []
    for (label, *phrase), members in groups.items():
        n_confident = int(confident[members].sum())
        if n_confident < settings["min_count"]:
            continue
        raised[members] = n_confident - confident[members] >= settings["min_count"]
        predicted = {starts[i] for i in members}
        for start in _find_phrase(tokens, phrase):
            if start not in predicted:
                missed.append((offset + start, offset + start + len(phrase), label))
    return _Occurrences(raised, missed)


def _find_phrase(tokens: NDArray[Any], phrase: list[int]) -> list[int]:
    n_starts = len(tokens) - len(phrase) + 1
    equal = np.ones(max(n_starts, 0), dtype=bool)
    for i, token in enumerate(phrase):
        equal &= tokens[i : i + n_starts] == token
    return np.flatnonzero(equal).tolist()


def _remove_overlaps(entities: Entities, rank: Floats) -> Entities:
    taken = np.zeros(int(entities.ends.max()), dtype=bool)
    selected = np.zeros(len(rank), dtype=bool)
    starts, ends = entities.starts.tolist(), entities.ends.tolist()
    for i in np.argsort(-rank, kind="stable").tolist():
        if not taken[starts[i] : ends[i]].any():
            taken[starts[i] : ends[i]] = True
            selected[i] = True
    remaining = entities.select(selected)
    order = np.argsort(remaining.starts, kind="stable")
    return Entities(*(column[order] for column in remaining))


def check_label_propagation(name: str, value: Any) -> dict[str, float] | None:
    """Check a setting: None, or "min_count", "min_confidence" and "weight"."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(KEYS):
        raise WeltError(
            f"{name} is {value!r}: it must be null, or have {', '.join(KEYS)}. Set it with "
            "'spacy welt tune label-propagation'."
        )
    return {
        "min_count": int(check_number(f"{name}.min_count", value["min_count"], low=1)),
        "min_confidence": check_number(
            f"{name}.min_confidence", value["min_confidence"], low=0, high=1
        ),
        "weight": check_number(f"{name}.weight", value["weight"], low=0, high=1),
    }
