"""Entities into docs, beside what earlier components have set."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE
from spacy.tokens import Doc, Span, SpanGroup

from ..tagging.decoding import Entities
from ..tagging.tags import ENT_IOB_BEGIN
from ..tokens.confidence import get_predicted_by, set_confidence
from ..util.arrays import starts_of


class EarlierEnts(NamedTuple):
    """What a doc has before the component sets its entities.

    ents (list[Span]): Entities that stay.
    blocked (list[Span]): Tokens where no entity may be.
    taken (ndarray): Shape (n_tokens,), bool: the tokens of both.
    """

    ents: list[Span]
    blocked: list[Span]
    taken: NDArray[np.bool_]


def find_earlier(
    doc: Doc, component: str, *, spans_key: str | None, overwrite: bool
) -> EarlierEnts:
    """Find what stays in a doc. See `WeltNER.earlier_ents`.

    doc (Doc): The doc.
    component (str): The name of the component that is about to set entities.
    spans_key (str | None): Where it keeps its predictions in `doc.spans`.
    overwrite (bool): Whether nothing stays.
    RETURNS (EarlierEnts): The entities and blocked tokens.
    """
    taken = np.zeros(len(doc), dtype=bool)
    if overwrite or not doc.has_annotation("ENT_IOB"):
        return EarlierEnts([], [], taken)
    own = get_predicted_by(doc, component)
    if spans_key is not None and spans_key in doc.spans:
        own |= {(s.start_char, s.end_char, s.label_) for s in doc.spans[spans_key]}
    ents = [
        ent for ent in doc.ents if (ent.start_char, ent.end_char, ent.label_) not in own
    ]
    # B without a label: no entity may be there
    is_begin = doc.to_array(ENT_IOB) == ENT_IOB_BEGIN
    is_blocked = is_begin & (doc.to_array(ENT_TYPE) == 0)
    blocked = [doc[i : i + 1] for i in np.flatnonzero(is_blocked).tolist()]
    for span in (*ents, *blocked):
        taken[span.start : span.end] = True
    return EarlierEnts(ents, blocked, taken)


def fit_entities(
    docs: Sequence[Doc], found: Entities, earlier: Sequence[EarlierEnts]
) -> Entities:
    """Fit decoded entities to docs.

    docs (Sequence[Doc]): The docs.
    found (Entities): The entities, their rows counted over all docs.
    earlier (Sequence[EarlierEnts]): What stays in each doc.
    RETURNS (Entities): The entities without white space at their ends, and without
        those that overlap with what stays.
    """
    starts, ends = found.starts, found.ends
    is_space = _flat([doc.to_array(IS_SPACE) for doc in docs]).astype(bool)
    if is_space.any():
        starts, ends = _trim(starts, ends, is_space)
    taken = starts_of(_flat([ents.taken for ents in earlier]).astype("int64"))
    kept = (starts < ends) & (taken[starts] == taken[np.maximum(starts, ends)])
    return found._replace(starts=starts, ends=ends).select(kept)


def set_entities(
    docs: Sequence[Doc],
    found: Entities,
    earlier: Sequence[EarlierEnts],
    labels: Sequence[str],
    component: str,
    spans_key: str | None,
) -> None:
    """Set `doc.ents`, the confidences, and `doc.spans` if asked for.

    docs (Sequence[Doc]): The docs.
    found (Entities): What `fit_entities` returned for them.
    earlier (Sequence[EarlierEnts]): What stays in each doc.
    labels (Sequence[str]): The labels of the component.
    component (str): Its name.
    spans_key (str | None): The key for `doc.spans`.
    """
    offsets = starts_of(np.array(list(map(len, docs)), dtype="int64"))
    label_ids = [docs[0].vocab.strings.add(name) for name in labels] if docs else []
    # Entities come in the order of their tokens: each doc has a slice.
    bounds = np.searchsorted(found.starts, offsets).tolist()
    for i, (doc, others) in enumerate(zip(docs, earlier)):
        mine = slice(bounds[i], bounds[i + 1])
        spans = [
            Span(doc, start, end, label=label_ids[label])
            for start, end, label in zip(
                (found.starts[mine] - offsets[i]).tolist(),
                (found.ends[mine] - offsets[i]).tolist(),
                found.labels[mine].tolist(),
            )
        ]
        confidences = found.confidences[mine].tolist()
        set_spans(doc, spans, confidences, others, component, spans_key)


def set_spans(
    doc: Doc,
    spans: Sequence[Span],
    confidences: Sequence[float | None],
    earlier: EarlierEnts,
    component: str,
    spans_key: str | None,
) -> None:
    """Set the entities of one document, their confidences, and `doc.spans` if a key is given.

    doc (Doc): The document.
    spans (Sequence[Span]): The entities, without overlap with each other or earlier ones.
    confidences (Sequence[float | None]): Their confidences; None if unknown.
    earlier (EarlierEnts): The entities that stay in the document.
    component (str): The name of the component.
    spans_key (str | None): The key for `doc.spans`.
    """
    doc.set_ents([*earlier.ents, *spans], blocked=earlier.blocked, default="outside")
    for span, confidence in zip(spans, confidences):
        set_confidence(span, confidence, component)
    if spans_key is not None:
        attrs = {}
        if None not in confidences:
            attrs["scores"] = np.array(confidences, dtype="float32")
        doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)


def _flat(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _trim(
    starts: NDArray[Any], ends: NDArray[Any], is_space: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Take white space off the ends of spans; what is nothing else becomes empty."""
    starts, ends = starts.copy(), ends.copy()
    while (todo := (starts < ends) & is_space[np.minimum(starts, ends - 1)]).any():
        starts[todo] += 1
    while (todo := (starts < ends) & is_space[ends - 1]).any():
        ends[todo] -= 1
    return starts, ends
