"""Ragged arrays: sequences of different lengths, concatenated in one array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def starts_of(lengths: NDArray[Any]) -> Ints:
    """Return the offsets, shape (n + 1,) and int64, of n concatenated sequences; the last one
    is the total length.
    """
    return np.concatenate(([0], np.cumsum(lengths))).astype("int64")


def ranges(starts: NDArray[Any], ends: NDArray[Any]) -> Ints:
    """Return the concatenated ranges starts[0], ..., ends[0] - 1, starts[1], ... as int64."""
    lengths = ends - starts
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, dtype="int64")
    shifts = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    return np.arange(total, dtype="int64") + shifts
