"""Soft labels: tag probabilities of a teacher, stored in documents for training a student."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import WeltError
from .gold import masked_tags, same_tokens
from .tags import OUTSIDE, tag_names

# Key in `doc.user_data`; saved by `DocBin(store_user_data=True)`
KEY = "welt_spacy.soft_labels"
MAX_TAGS = 5


class SoftTargets(NamedTuple):
    """Soft labels of a batch, on the N tokens of the predicted documents.

    probs (ndarray): Shape (N, 2K + 1), float32: the teacher's probabilities; 0 for tokens
        without any.
    has_target (ndarray): Shape (N,), bool: tokens that have probabilities.
    soft_labelled (ndarray): Shape (N,), bool: tokens of documents that have soft labels.
        Their entities are the teacher's, not gold annotation.
    masked (ndarray): Shape (N, 2K + 1), bool: tags of labels that the teacher does not have,
        so that its O may stand for them.
    """

    probs: NDArray[np.float32]
    has_target: NDArray[np.bool_]
    soft_labelled: NDArray[np.bool_]
    masked: NDArray[np.bool_]


def set_soft_labels(
    doc: Doc, probs: NDArray[Any], labels: Sequence[str], *, max_tags: int = MAX_TAGS
) -> None:
    """Store the most probable tags of each token in a document."""
    n_stored = min(max_tags, probs.shape[1])
    order = np.argsort(-probs, axis=1, kind="stable")[:, :n_stored]
    doc.user_data[KEY] = {
        "labels": list(labels),
        "tags": order.astype("uint16"),
        "probs": np.take_along_axis(probs, order, axis=1).astype("float16"),
    }


def get_soft_labels(doc: Doc) -> tuple[NDArray[np.float32], list[str]] | None:
    """Return the soft labels of a document: probabilities of shape (n_tokens, 2K + 1), whose
    rows sum to 1, and the K labels; None if it has none.
    """
    stored: dict[str, Any] | None = doc.user_data.get(KEY)
    if stored is None:
        return None
    labels, tags = list(stored["labels"]), np.asarray(stored["tags"], dtype="int64")
    n_tags = 2 * len(labels) + 1
    if len(tags) != len(doc) or (tags.size and tags.max() >= n_tags):
        raise WeltError(
            f"Soft labels of {doc.text[:40]!r}: they do not belong to its tokens. Write "
            "them again with 'spacy welt distill'."
        )
    stored_probs = np.asarray(stored["probs"], dtype="float32")
    rest = np.clip(1 - stored_probs.sum(axis=1), 0, None)
    probs = np.zeros((len(doc), n_tags), dtype="float32")
    probs += (rest / max(n_tags - tags.shape[1], 1))[:, None]
    np.put_along_axis(probs, tags, stored_probs, axis=1)
    totals = probs.sum(axis=1, keepdims=True)
    probs /= np.where(totals > 0, totals, 1)
    return probs, labels


def map_tags(teacher: Sequence[str], student: Sequence[str]) -> NDArray[np.int64]:
    """Return the student's tag for each tag of the teacher, shape (2K + 1,). Labels that the
    student does not have are outside.
    """
    indices = {name: i for i, name in enumerate(tag_names(student))}
    return np.array([indices.get(name, OUTSIDE) for name in tag_names(teacher)])


def to_student(
    probs: NDArray[Any], teacher: Sequence[str], student: Sequence[str]
) -> NDArray[np.float32]:
    """Move a teacher's probabilities, shape (N, 2K + 1), to the columns of a student with L
    labels, shape (N, 2L + 1).
    """
    student_probs = np.zeros((len(probs), 2 * len(student) + 1), dtype="float32")
    for column, target in enumerate(map_tags(teacher, student).tolist()):
        student_probs[:, target] += probs[:, column]
    return student_probs


def has_soft_labels(eg: Example) -> bool:
    """Return whether the reference of an example has soft labels."""
    return KEY in eg.reference.user_data


def is_gold(eg: Example) -> bool:
    """Return whether the entities of an example are gold annotation, not a teacher's."""
    return not has_soft_labels(eg)


def soft_targets(
    examples: Sequence[Example], labels: Sequence[str]
) -> SoftTargets | None:
    """Return the soft labels of a batch for a student with these labels; None if no document
    has any. Tokens that differ between the predicted and the reference document have none.
    """
    if not any(map(has_soft_labels, examples)):
        return None
    n_tags = 2 * len(labels) + 1
    columns: list[tuple[NDArray[Any], ...]] = []
    for eg in examples:
        n_tokens = len(eg.predicted)
        soft_labels = get_soft_labels(eg.reference)
        probs = np.zeros((n_tokens, n_tags), dtype="float32")
        has_target = np.zeros(n_tokens, dtype=bool)
        if soft_labels is not None:
            student_probs = to_student(*soft_labels, student=labels)
            if same_tokens(eg.predicted, eg.reference):
                probs, has_target = student_probs, np.ones(n_tokens, dtype=bool)
            else:
                predicted, reference = _align_one_to_one(eg)
                probs[predicted], has_target[predicted] = student_probs[reference], True
        masked = masked_tags(None if soft_labels is None else soft_labels[1], labels)
        columns.append(
            (
                probs,
                has_target,
                np.full(n_tokens, soft_labels is not None),
                np.repeat(masked[None], n_tokens, axis=0),
            )
        )
    return SoftTargets(*map(np.concatenate, zip(*columns)))


def _align_one_to_one(eg: Example) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    to_reference, to_predicted = eg.alignment.x2y, eg.alignment.y2x
    pairs = [
        (i, int(to_reference[i][0]))
        for i in range(len(eg.predicted))
        if len(to_reference[i]) == 1 and len(to_predicted[int(to_reference[i][0])]) == 1
    ]
    array = np.array(pairs, dtype="int64").reshape(-1, 2)
    return array[:, 0], array[:, 1]
