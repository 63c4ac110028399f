"""The tag set of an IOB2 tagger: names, indices and legal transitions.

K entity labels have 2K + 1 tags in the order ``O, B-1, I-1, B-2, I-2, ...``. The index of a
tag is its column in the scores of the model, so new labels are only added at the end.
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
    """Return the names of the 2K + 1 tags, in the order of the model's columns."""
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]


def begin_tag(label: LabelT) -> LabelT:
    """Return the index of the B tag of a label index, or of an array of them."""
    return 2 * label + 1


def inside_tag(label: LabelT) -> LabelT:
    """Return the index of the I tag of a label index, or of an array of them."""
    return 2 * label + 2


def split_tags(
    tags: NDArray[Any],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[Any]]:
    """Return masks of B tags and of I tags, and label indices, which are -1 for tags without
    a label. `MISSING` has none.
    """
    is_tag = tags > OUTSIDE
    is_begin = is_tag & (tags % 2 == 1)
    is_inside = is_tag & (tags % 2 == 0)
    return is_begin, is_inside, np.where(is_tag, (tags - 1) // 2, -1)


def legal_transitions(n_labels: int) -> NDArray[np.bool_]:
    """Return a mask of legal transitions, [previous tag, current tag]: I-x can only follow
    B-x or I-x. Sequences start as if after O.
    """
    n_tags = 2 * n_labels + 1
    legal = np.ones((n_tags, n_tags), dtype=bool)
    for label in range(n_labels):
        legal[:, inside_tag(label)] = False
        legal[begin_tag(label), inside_tag(label)] = True
        legal[inside_tag(label), inside_tag(label)] = True
    return legal


def orphans(tags: NDArray[Any], lengths: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the I tags that do not continue an entity, in concatenated sequences
    of the given lengths.
    """
    _, is_inside, label = split_tags(tags)
    previous = np.full_like(label, -1)
    previous[1:] = label[:-1]
    offsets = starts_of(lengths)[:-1]
    previous[offsets[lengths > 0]] = -1
    return is_inside & (label != previous)
