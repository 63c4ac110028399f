"""The other occurrences of a name in its document: where the model is sure of some, it may
have missed others.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
    NamedTuple,
)

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc

from ..errors import WeltError, check_number
from ..util.arrays import Ints, starts_of
from .decoding import Entities, Floats

# What is more likely than not can't be displaced: of spans that overlap, one is
LIKELY = 0.5
KEYS = ("min_count", "min_confidence", "weight")


def propagate_entities(
    docs: Sequence[Doc],
    found: Entities,
    score: Callable[[Ints, Ints, Ints], Floats],
    settings: Mapping[str, float],
) -> Entities:
    """Raise the confidence of the occurrences of a name that is found for sure elsewhere in
    its doc, and add those that were not found.

    A name is the exact tokens of an entity with its label. An occurrence that has at least
    `min_count` others, each found with at least `min_confidence`, gets

        1 - (1 - its confidence) (1 - weight)

    as if a second witness, who is right with probability `weight`, had seen it. So with a
    threshold t, those are kept to which the model itself gives 1 - (1 - t) / (1 - weight)
    or more; all of them, if the weight is at least t.

    docs (Sequence[Doc]): The docs.
    found (Entities): What was found, not calibrated.
    score (Callable): Arrays of first rows, rows after the last and labels, each of shape
        (E,) -> the confidence of each of these spans, shape (E,).
    settings (Mapping[str, float]): "min_count", "min_confidence", "weight".
    RETURNS (Entities): The entities. Of those that overlap, one that is more likely than
        not without this stays; else the most confident.
    """
    weight = settings["weight"]
    offsets = starts_of(np.array(list(map(len, docs)), dtype="int64"))
    bounds = np.searchsorted(found.starts, offsets).tolist()
    raised = np.zeros(len(found.starts), dtype=bool)
    missed: list[tuple[int, int, int]] = []
    for i, doc in enumerate(docs):
        mine = slice(bounds[i], bounds[i + 1])
        if mine.stop - mine.start < settings["min_count"]:
            continue
        entities = Entities(*(column[mine] for column in found))
        seen = _occurrences(doc.to_array(ORTH), entities, int(offsets[i]), settings)
        raised[mine] = seen.raised
        missed.extend(seen.missed)
    confidences = np.where(
        raised, 1 - (1 - found.confidences) * (1 - weight), found.confidences
    )
    found_now = found._replace(confidences=confidences)
    if not missed:
        return found_now
    starts, ends, labels = np.array(missed, dtype="int64").T
    added = 1 - (1 - score(starts, ends, labels)) * (1 - weight)
    # Confidences before decide what stays whatever comes
    rank = np.where(found.confidences >= LIKELY, 1 + found.confidences, confidences)
    return _without_overlaps(
        Entities(
            np.concatenate([found.starts, starts]),
            np.concatenate([found.ends, ends]),
            np.concatenate([found.labels, labels]),
            np.concatenate([confidences, added]),
        ),
        np.concatenate([rank, added]),
    )


class _Seen(NamedTuple):
    raised: NDArray[np.bool_]  # (E,): entities with enough others
    missed: list[tuple[int, int, int]]  # other occurrences, rows counted over all docs


def _occurrences(
    words: NDArray[Any], found: Entities, offset: int, settings: Mapping[str, float]
) -> _Seen:
    starts, ends = (found.starts - offset).tolist(), (found.ends - offset).tolist()
    sure = found.confidences >= settings["min_confidence"]
    names: dict[tuple, list[int]] = defaultdict(list)
    for j, (start, end, label) in enumerate(zip(starts, ends, found.labels.tolist())):
        key = (label, *words[start:end].tolist())
        names[key].append(j)
    raised = np.zeros(len(starts), dtype=bool)
    missed = []
    for (label, *name), places in names.items():
        n_sure = int(sure[places].sum())
        if n_sure < settings["min_count"]:
            continue
        raised[places] = n_sure - sure[places] >= settings["min_count"]
        known = {starts[j] for j in places}
        for start in _find(words, name):
            if start not in known:
                missed.append((offset + start, offset + start + len(name), label))
    return _Seen(raised, missed)


def _find(words: NDArray[Any], name: list[int]) -> list[int]:
    """RETURNS (list[int]): Where a sequence begins in another."""
    n = len(words) - len(name) + 1
    equal = np.ones(max(n, 0), dtype=bool)
    for i, word in enumerate(name):
        equal &= words[i : i + n] == word
    return np.flatnonzero(equal).tolist()


def _without_overlaps(entities: Entities, rank: Floats) -> Entities:
    taken = np.zeros(int(entities.ends.max()), dtype=bool)
    kept = np.zeros(len(rank), dtype=bool)
    starts, ends = entities.starts.tolist(), entities.ends.tolist()
    for j in np.argsort(-rank, kind="stable").tolist():
        if not taken[starts[j] : ends[j]].any():
            taken[starts[j] : ends[j]] = True
            kept[j] = True
    chosen = entities.select(kept)
    order = np.argsort(chosen.starts, kind="stable")
    return Entities(*(column[order] for column in chosen))


def check_label_propagation(name: str, value: Any) -> dict[str, float] | None:
    """Check a setting.

    name (str): The setting.
    value (Any): Its value: "min_count", "min_confidence" and "weight", or None.
    RETURNS (dict[str, float] | None): The value.
    RAISES (WeltError): If it is anything else.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(KEYS):
        raise WeltError(
            f"{name} is {value!r}: it must be null, or have min_count, min_confidence and weight, "
            "as 'spacy welt tune --label-propagation' finds them"
        )
    return {
        "min_count": int(check_number(f"{name}.min_count", value["min_count"], low=1)),
        "min_confidence": check_number(
            f"{name}.min_confidence", value["min_confidence"], low=0, high=1
        ),
        "weight": check_number(f"{name}.weight", value["weight"], low=0, high=1),
    }
