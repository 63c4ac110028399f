"""Tag probabilities of teachers: combined, and set on documents as soft labels."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..pipeline.entities import find_earlier, fit_entities
from ..tagging.decoding import decode
from ..tagging.gold import gold_tags
from ..tagging.soft_labels import MAX_TAGS, map_tags, set_soft_labels, to_student
from ..tagging.tags import MISSING
from ..tokens.annotated_labels import get_annotated_labels
from ..util.arrays import starts_of


class TeacherOutput(NamedTuple):
    """Predictions of one teacher.

    labels (Sequence[str]): Its K labels.
    probs (ndarray): Tag probabilities of N tokens, shape (N, 2K + 1).
    """

    labels: Sequence[str]
    probs: NDArray[Any]


def label_docs(
    docs: Sequence[Doc],
    gold: Sequence[Doc | None],
    outputs: Sequence[TeacherOutput],
    *,
    max_tags: int = MAX_TAGS,
) -> None:
    """Set the soft labels of documents, and the entities that follow from them."""
    labels = union_labels(
        [
            *(output.labels for output in outputs),
            *(
                sorted(get_annotated_labels(doc) or ())
                for doc in gold
                if doc is not None
            ),
        ]
    )
    lengths = np.array(list(map(len, docs)), dtype="int64")
    offsets = starts_of(lengths).tolist()
    combined = []
    for doc, reference, start, end in zip(docs, gold, offsets, offsets[1:]):
        of_doc = [TeacherOutput(names, probs[start:end]) for names, probs in outputs]
        combined.append(combine_outputs(_add_gold(doc, reference, of_doc), labels))
        set_soft_labels(doc, combined[-1], labels, max_tags=max_tags)
    # For components that do not read soft labels
    earlier = [find_earlier(doc, "", spans_key=None, overwrite=True) for doc in docs]
    entities = fit_entities(docs, decode(np.concatenate(combined), lengths), earlier)
    bounds = np.searchsorted(entities.starts, offsets).tolist()
    for i, doc in enumerate(docs):
        rows = zip(*(a[bounds[i] : bounds[i + 1]].tolist() for a in entities[:3]))
        doc.set_ents(
            [
                Span(doc, start - offsets[i], end - offsets[i], label=labels[label])
                for start, end, label in rows
            ],
            default="outside",
        )


def _add_gold(
    doc: Doc, gold: Doc | None, outputs: list[TeacherOutput]
) -> list[TeacherOutput]:
    """Take gold annotation for the annotated labels, and the teachers for the others."""
    annotated = None if gold is None else get_annotated_labels(gold)
    if gold is None or annotated is None:
        return outputs
    labels = sorted(annotated)
    tags = gold_tags([Example(doc, gold)], labels, doc.vocab)
    if (tags == MISSING).any():
        return outputs
    combined = [
        TeacherOutput(labels, np.eye(2 * len(labels) + 1, dtype="float32")[tags])
    ]
    for names, probs in outputs:
        others = [name for name in names if name not in annotated]
        if others:
            combined.append(TeacherOutput(others, to_student(probs, names, others)))
    return combined


def union_labels(label_lists: Iterable[Sequence[str]]) -> list[str]:
    """Return all labels in the order of their first occurrence."""
    return list(dict.fromkeys(label for labels in label_lists for label in labels))


def combine_outputs(
    outputs: Sequence[TeacherOutput], labels: Sequence[str]
) -> NDArray[np.float32]:
    """Combine the predictions of several teachers for the same tokens.

    Teachers of the same labels are averaged. For teachers of different labels, the probability
    of a tag is the product of their probabilities, normalised over all tags; to a teacher
    without the label the tag is O.
    """
    groups: dict[frozenset[str], list[NDArray[Any]]] = {}
    for known, probs in outputs:
        own = [label for label in labels if label in known]
        groups.setdefault(frozenset(own), []).append(to_student(probs, known, own))
    product = np.ones((len(outputs[0].probs), 2 * len(labels) + 1), dtype="float64")
    for names, members in groups.items():
        own = [label for label in labels if label in names]
        product *= np.mean(members, axis=0)[:, map_tags(labels, own)]
    totals = product.sum(axis=1, keepdims=True)
    return (product / np.maximum(totals, 1e-300)).astype("float32")
