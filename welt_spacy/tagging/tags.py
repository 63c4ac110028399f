"""The tag set of an IOB2 tagger: names, indices and legal transitions, as data.

With K entity labels there are 2K + 1 tags, in the fixed order
``O, B-1, I-1, B-2, I-2, ...``. The index of a tag is its column in the scores
of the model, so the order is part of a saved model and only grows at the end.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..util.arrays import starts_of

LabelT = TypeVar("LabelT", int, NDArray[Any])

OUTSIDE = 0
MISSING = -1  # no annotation: the token gives no gradient

# spaCy's own codes in Token.ent_iob
ENT_IOB_MISSING, ENT_IOB_INSIDE, ENT_IOB_OUTSIDE, ENT_IOB_BEGIN = 0, 1, 2, 3


def tag_names(labels: Sequence[str]) -> list[str]:
    """Name the tags of a tag set, in the order of the model's columns.

    labels (Sequence[str]): The K entity labels.
    RETURNS (list[str]): The 2K + 1 names, "O" first.
    """
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]


def begin_tag(label: LabelT) -> LabelT:
    """Index of the tag that begins an entity of the label (or labels) of this index."""
    return 2 * label + 1


def inside_tag(label: LabelT) -> LabelT:
    """Index of the tag that continues an entity of the label (or labels) of this index."""
    return 2 * label + 2


def split_tags(
    tags: NDArray[Any],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
    """Take tag indices apart.

    tags (ndarray): Tag indices of any shape; `MISSING` counts as outside.
    RETURNS (tuple[ndarray, ndarray, ndarray]): Three arrays of the same shape:
        is the tag a B, is it an I, and the index of its label (-1 where it has
        none).
    """
    is_tag = tags > OUTSIDE
    is_begin = is_tag & (tags % 2 == 1)
    is_inside = is_tag & (tags % 2 == 0)
    return is_begin, is_inside, np.where(is_tag, (tags - 1) // 2, -1)


def legal_transitions(n_labels: int) -> NDArray[np.bool_]:
    """Which tag may follow which under IOB2: everything, but I-x only after
    B-x or I-x. A sequence starts as if the token before it were O.

    n_labels (int): K, the number of entity labels.
    RETURNS (ndarray): Booleans of shape (2K + 1, 2K + 1): [previous, current].
    """
    n_tags = 2 * n_labels + 1
    legal = np.ones((n_tags, n_tags), dtype=bool)
    for label in range(n_labels):
        legal[:, inside_tag(label)] = False
        legal[begin_tag(label), inside_tag(label)] = True
        legal[inside_tag(label), inside_tag(label)] = True
    return legal


def orphans(tags: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.bool_]:
    """Find the I tags that continue nothing, in sequences laid end to end.

    tags (ndarray): N tag indices.
    lengths (ndarray): The lengths of the sequences; their sum is N.
    RETURNS (ndarray): N booleans.
    """
    _, is_inside, label = split_tags(tags)
    previous = np.full_like(label, -1)
    previous[1:] = label[:-1]
    offsets = starts_of(lengths)[:-1]
    previous[offsets[lengths > 0]] = -1
    return is_inside & (label != previous)
