"""Sequences of different lengths laid end to end in one array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def starts_of(lengths: NDArray[Any]) -> Ints:
    """Find where each of several sequences begins that are laid end to end.

    lengths (ndarray): Shape (n,): the lengths.
    RETURNS (ndarray): Shape (n + 1,), int64: the offsets, the total length at the end.
    """
    return np.concatenate(([0], np.cumsum(lengths))).astype("int64")


def ranges(starts: NDArray[Any], ends: NDArray[Any]) -> Ints:
    """Lay ranges end to end: starts[0], ..., ends[0] - 1, starts[1], ...

    starts (ndarray): Shape (n,): the first number of each.
    ends (ndarray): Shape (n,): the number after the last.
    RETURNS (ndarray): Shape (sum(ends - starts),), int64.
    """
    lengths = ends - starts
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, dtype="int64")
    shifts = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    return np.arange(total, dtype="int64") + shifts
