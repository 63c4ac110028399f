"""Windows of word pieces, and their batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.ml.encoder.windows import bucket, cut_sentences, cut_windows
from welt_spacy.util.arrays import ranges


@given(
    st.lists(st.lists(st.integers(1, 6), max_size=40), max_size=5),
    st.integers(6, 30),
    st.integers(0, 5),
)
def test_windows_keep_each_word_once_and_fit(docs, capacity, overlap):
    n_pieces = np.array([n for doc in docs for n in doc], dtype="int64")
    lengths = [len(doc) for doc in docs]
    windows = cut_windows(n_pieces, lengths, capacity, overlap)
    words = ranges(windows.keep_start, windows.keep_end)
    assert words.tolist() == list(range(len(n_pieces)))
    borders = {0, *np.cumsum(lengths).tolist()}
    for start, end, keep_start, keep_end in zip(*windows):
        assert start <= keep_start < keep_end <= end
        assert n_pieces[start:end].sum() <= capacity
        assert not any(start < border < end for border in borders)  # one document


@given(
    st.lists(st.lists(st.lists(st.integers(1, 6), min_size=1), max_size=5), max_size=5),
    st.integers(6, 30),
    st.integers(0, 5),
    st.integers(0, 12),
)
def test_sentences_with_context_fit(docs, capacity, overlap, context):
    n_pieces = np.array([n for d in docs for s in d for n in s], dtype="int64")
    sentences = [len(s) for d in docs for s in d]
    lengths = [sum(map(len, doc)) for doc in docs]
    is_start = np.isin(np.arange(len(n_pieces)), np.cumsum([0, *sentences]))
    windows = cut_sentences(n_pieces, is_start, lengths, capacity, overlap, context)
    words = ranges(windows.keep_start, windows.keep_end)
    assert words.tolist() == list(range(len(n_pieces)))
    bare = cut_sentences(n_pieces, is_start, lengths, capacity, overlap, 0)
    borders = np.cumsum([0, *lengths])
    for i, (start, end, keep_start, keep_end) in enumerate(zip(*windows)):
        # In one document, with all of the sentence, and as much context as fits
        assert np.searchsorted(borders, start, "right") == np.searchsorted(borders, end)
        assert start <= bare.start[i] <= keep_start < keep_end <= bare.end[i] <= end
        left = n_pieces[start : bare.start[i]].sum()
        right = n_pieces[bare.end[i] : end].sum()
        room = capacity - n_pieces[bare.start[i] : bare.end[i]].sum()
        limit = min(context, room // 2)
        assert n_pieces[start:end].sum() <= capacity and max(left, right) <= limit
        if start > borders[np.searchsorted(borders, start, "right") - 1]:
            assert left + n_pieces[start - 1] > limit
        if end < borders[np.searchsorted(borders, end)]:
            assert right + n_pieces[end] > limit


def test_every_window_keeps_a_word():
    # The second window once ended where the first did
    windows = cut_windows(np.array([1, 1, 1, 5]), [4], 6, 2)
    assert (windows.keep_start < windows.keep_end).all()
    assert windows.end.tolist() == [3, 4]


@pytest.mark.parametrize("overlap", [-1, 6, 128])
def test_overlap_must_be_below_the_capacity(overlap):
    with pytest.raises(WeltError, match="can't overlap"):
        cut_windows(np.ones(20, dtype="int64"), [20], 6, overlap)


def test_number_of_windows():
    for capacity, overlap in ((126, 42), (6, 5), (10, 3)):
        windows = cut_windows(np.ones(3000, dtype="int64"), [3000], capacity, overlap)
        assert len(windows.start) <= 3000 / (capacity - overlap) + 1


def test_overlap_gives_context_on_both_sides():
    windows = cut_windows(np.ones(100, dtype="int64"), [100], 40, 20)
    assert windows.start.tolist() == [0, 20, 40, 60]
    assert windows.end.tolist() == [40, 60, 80, 100]
    assert windows.keep_start.tolist() == [0, 30, 50, 70]
    assert windows.keep_end.tolist() == [30, 50, 70, 100]


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_buckets_have_all_windows_and_a_maximum_size(sizes, max_pieces):
    sizes = np.array(sizes, dtype="int64")
    groups = bucket(sizes, max_pieces)
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    for group in groups:
        assert len(group) == 1 or sizes[group].max() * len(group) <= max_pieces
    longest = [sizes[group].max() for group in groups]
    assert longest == sorted(longest, reverse=True)
