import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.util.arrays import ranges, starts_of


@pytest.mark.parametrize("starts, ends", [([], []), ([3, 7, 7], [5, 7, 9])])
def test_ranges(starts, ends):
    expected = [i for a, b in zip(starts, ends) for i in range(a, b)]
    numbers = ranges(np.array(starts, dtype="int64"), np.array(ends, dtype="int64"))
    assert numbers.tolist() == expected


@given(st.lists(st.integers(0, 9), max_size=20))
def test_starts_of(lengths):
    starts = starts_of(np.array(lengths, dtype="int64"))
    assert starts.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert starts.dtype == "int64"
