"""Soft tags: a teacher's tag probabilities, kept with a doc and read as targets for a
student.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import WeltError
from .gold import masked_tags, same_tokens
from .tags import OUTSIDE, tag_names

# In `doc.user_data`, which a DocBin keeps if it is asked to
KEY = "welt_spacy.soft_labels"
MOST = 5


class SoftTargets(NamedTuple):
    """What a student is to learn from teachers, the docs of a batch end to end.

    probs (ndarray): Shape (N, 2K + 1), float32: the teacher's probabilities; rows of
        tokens without any are 0.
    known (ndarray): Shape (N,), bool: the tokens that have probabilities.
    taught (ndarray): Shape (N,), bool: the tokens of docs that have soft tags. Their
        entities are the teacher's, not gold.
    hidden (ndarray): Shape (N, 2K + 1), bool: the tags of labels that the teacher does not
        know. Its O may stand for them.
    """

    probs: NDArray[np.float32]
    known: NDArray[np.bool_]
    taught: NDArray[np.bool_]
    hidden: NDArray[np.bool_]


def set_soft_labels(
    doc: Doc, probs: NDArray[Any], labels: Sequence[str], *, most: int = MOST
) -> None:
    """Keep the most probable tags of each token with a doc.

    doc (Doc): The doc. `DocBin(store_user_data=True)` saves them.
    probs (ndarray): Shape (n_tokens, 2K + 1): tag probabilities.
    labels (Sequence[str]): The K labels of the teacher.
    most (int): How many tags of a token to keep. The rest of the probability is shared
        by the other tags when it is read.
    """
    most = min(most, probs.shape[1])
    order = np.argsort(-probs, axis=1, kind="stable")[:, :most]
    doc.user_data[KEY] = {
        "labels": list(labels),
        "tags": order.astype("uint16"),
        "probs": np.take_along_axis(probs, order, axis=1).astype("float16"),
    }


def get_soft_tags(doc: Doc) -> tuple[NDArray[np.float32], list[str]] | None:
    """Get the soft tags of a doc.

    doc (Doc): The doc.
    RETURNS (tuple[ndarray, list[str]] | None): Probabilities of shape (n_tokens,
        2K + 1), float32, rows of which sum to 1, and the K labels; None if it has none.
    RAISES (WeltError): If they do not belong to the doc's tokens.
    """
    kept: dict[str, Any] | None = doc.user_data.get(KEY)
    if kept is None:
        return None
    labels, tags = list(kept["labels"]), np.asarray(kept["tags"], dtype="int64")
    n_tags = 2 * len(labels) + 1
    if len(tags) != len(doc) or (tags.size and tags.max() >= n_tags):
        raise WeltError(
            f"The soft tags of {doc.text[:40]!r} do not belong to its tokens: make them "
            "again with 'spacy welt distill'"
        )
    given = np.asarray(kept["probs"], dtype="float32")
    rest = np.clip(1 - given.sum(axis=1), 0, None)
    probs = np.zeros((len(doc), n_tags), dtype="float32")
    probs += (rest / max(n_tags - tags.shape[1], 1))[:, None]
    np.put_along_axis(probs, tags, given, axis=1)
    totals = probs.sum(axis=1, keepdims=True)
    probs /= np.where(totals > 0, totals, 1)
    return probs, labels


def map_tags(teacher: Sequence[str], student: Sequence[str]) -> NDArray[np.int64]:
    """Find the student's tag for each tag of a teacher. Labels that the student does not
    have are outside to it.

    teacher (Sequence[str]): The labels of the teacher.
    student (Sequence[str]): The labels of the student.
    RETURNS (ndarray): Shape (2K + 1,), int64, for K labels of the teacher.
    """
    places = {name: i for i, name in enumerate(tag_names(student))}
    return np.array([places.get(name, OUTSIDE) for name in tag_names(teacher)])


def to_student(
    probs: NDArray[Any], teacher: Sequence[str], student: Sequence[str]
) -> NDArray[np.float32]:
    """Put a teacher's probabilities into the columns of a student.

    probs (ndarray): Shape (N, 2K + 1).
    teacher, student (Sequence[str]): The labels of both.
    RETURNS (ndarray): Shape (N, 2L + 1), float32, for L labels of the student.
    """
    found = np.zeros((len(probs), 2 * len(student) + 1), dtype="float32")
    for column, place in enumerate(map_tags(teacher, student).tolist()):
        found[:, place] += probs[:, column]
    return found


def has_soft_labels(eg: Example) -> bool:
    """Tell whether a teacher has annotated the reference of an example.

    eg (Example): The example.
    RETURNS (bool): Whether it has soft tags.
    """
    return KEY in eg.reference.user_data


def soft_targets(
    examples: Sequence[Example], labels: Sequence[str]
) -> SoftTargets | None:
    """Get the soft tags of a batch on the tokens of the predicted docs.

    examples (Sequence[Example]): The batch.
    labels (Sequence[str]): The labels of the student.
    RETURNS (SoftTargets | None): The targets; None if no doc has soft tags. Tokens
        that are not the same in both docs have none.
    RAISES (WeltError): As `get_soft_tags`.
    """
    if not any(map(has_soft_labels, examples)):
        return None
    n_tags = 2 * len(labels) + 1
    parts, known, taught, hidden = [], [], [], []
    for eg in examples:
        n = len(eg.predicted)
        soft = get_soft_tags(eg.reference)
        probs = np.zeros((n, n_tags), dtype="float32")
        rows = np.zeros(n, dtype=bool)
        if soft is not None:
            found = to_student(*soft, student=labels)
            if same_tokens(eg.predicted, eg.reference):
                probs, rows = found, np.ones(n, dtype=bool)
            else:
                places, targets = _one_to_one(eg)
                probs[places], rows[places] = found[targets], True
        parts.append(probs)
        known.append(rows)
        taught.append(np.full(n, soft is not None))
        unknown = masked_tags(None if soft is None else soft[1], labels)
        hidden.append(np.repeat(unknown[None], n, axis=0))
    return SoftTargets(
        np.concatenate(parts),
        np.concatenate(known),
        np.concatenate(taught),
        np.concatenate(hidden),
    )


def _one_to_one(eg: Example) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    forth, back = eg.alignment.x2y, eg.alignment.y2x
    pairs = [
        (i, int(forth[i][0]))
        for i in range(len(eg.predicted))
        if len(forth[i]) == 1 and len(back[int(forth[i][0])]) == 1
    ]
    array = np.array(pairs, dtype="int64").reshape(-1, 2)
    return array[:, 0], array[:, 1]
