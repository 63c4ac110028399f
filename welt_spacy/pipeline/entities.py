"""Set predicted entities in documents, next to the entities of earlier components."""

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
    """Annotation of a document that stays when the component sets its entities.

    ents (list[Span]): Entities of earlier components.
    blocked (list[Span]): Tokens that can't be in an entity.
    taken (ndarray): Shape (n_tokens,), bool: the tokens of both.
    """

    ents: list[Span]
    blocked: list[Span]
    taken: NDArray[np.bool_]


def find_earlier(
    doc: Doc, component: str, *, spans_key: str | None, overwrite: bool
) -> EarlierEnts:
    """Find the annotation that stays: all entities that the component did not predict
    itself, unless `overwrite` is set.
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
    # B without a label marks a token that can't be in an entity
    is_begin = doc.to_array(ENT_IOB) == ENT_IOB_BEGIN
    is_blocked = is_begin & (doc.to_array(ENT_TYPE) == 0)
    blocked = [doc[i : i + 1] for i in np.flatnonzero(is_blocked).tolist()]
    for span in (*ents, *blocked):
        taken[span.start : span.end] = True
    return EarlierEnts(ents, blocked, taken)


def fit_entities(
    docs: Sequence[Doc], entities: Entities, earlier: Sequence[EarlierEnts]
) -> Entities:
    """Trim white space off decoded entities, whose rows are counted over all documents, and
    drop entities that overlap with earlier annotation.
    """
    starts, ends = entities.starts, entities.ends
    is_space = _concatenate([doc.to_array(IS_SPACE) for doc in docs]).astype(bool)
    if is_space.any():
        starts, ends = _trim(starts, ends, is_space)
    taken = starts_of(_concatenate([ents.taken for ents in earlier]).astype("int64"))
    fits = (starts < ends) & (taken[starts] == taken[np.maximum(starts, ends)])
    return entities._replace(starts=starts, ends=ends).select(fits)


def set_entities(
    docs: Sequence[Doc],
    entities: Entities,
    earlier: Sequence[EarlierEnts],
    labels: Sequence[str],
    component: str,
    spans_key: str | None,
) -> None:
    """Set the entities that `fit_entities` returned: `doc.ents`, the confidences, and
    `doc.spans[spans_key]` if there is a key.
    """
    offsets = starts_of(np.array(list(map(len, docs)), dtype="int64"))
    label_ids = [docs[0].vocab.strings.add(name) for name in labels] if docs else []
    # Entities are in the order of their tokens, so those of a document are a slice
    bounds = np.searchsorted(entities.starts, offsets).tolist()
    for i, (doc, earlier_ents) in enumerate(zip(docs, earlier)):
        in_doc = slice(bounds[i], bounds[i + 1])
        spans = [
            Span(doc, start, end, label=label_ids[label])
            for start, end, label in zip(
                (entities.starts[in_doc] - offsets[i]).tolist(),
                (entities.ends[in_doc] - offsets[i]).tolist(),
                entities.labels[in_doc].tolist(),
            )
        ]
        confidences = entities.confidences[in_doc].tolist()
        set_spans(doc, spans, confidences, earlier_ents, component, spans_key)


def set_spans(
    doc: Doc,
    spans: Sequence[Span],
    confidences: Sequence[float | None],
    earlier: EarlierEnts,
    component: str,
    spans_key: str | None,
) -> None:
    """Set the entities of one document, which overlap neither with each other nor with
    earlier annotation. A confidence is None if it is not known.
    """
    doc.set_ents([*earlier.ents, *spans], blocked=earlier.blocked, default="outside")
    for span, confidence in zip(spans, confidences):
        set_confidence(span, confidence, component)
    if spans_key is not None:
        attrs = {}
        if None not in confidences:
            attrs["scores"] = np.array(confidences, dtype="float32")
        doc.spans[spans_key] = SpanGroup(doc, name=spans_key, spans=spans, attrs=attrs)


def _concatenate(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _trim(
    starts: NDArray[Any], ends: NDArray[Any], is_space: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    # Spans of white space alone become empty
    starts, ends = starts.copy(), ends.copy()
    while (todo := (starts < ends) & is_space[np.minimum(starts, ends - 1)]).any():
        starts[todo] += 1
    while (todo := (starts < ends) & is_space[ends - 1]).any():
        ends[todo] -= 1
    return starts, ends
