import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc

from welt_spacy.errors import WeltError
from welt_spacy.word_pieces import (
    MAX_WORDS,
    WordPieces,
    bucket,
    cut_windows,
    ranges,
)

VOCAB = spacy.blank("en").vocab


class Letters:
    """A tokenizer whose pieces are letters."""

    unk_token_id = 1
    asked = 0

    def __call__(self, words, **settings):
        assert settings["is_split_into_words"] and not settings["add_special_tokens"]
        self.asked += len(words)
        return {"input_ids": [[ord(c) for c in w if not c.isspace()] for (w,) in words]}


def test_words_are_tokenised_once():
    tokenizer = Letters()
    pieces = WordPieces(tokenizer, max_pieces=3)
    docs = [Doc(VOCAB, words=["ab", "c", "ab"]), Doc(VOCAB), Doc(VOCAB, words=["c"])]
    for _ in range(2):
        flat, lengths = pieces(docs)
        assert lengths.tolist() == [2, 1, 2, 1]
        assert "".join(map(chr, flat)) == "abcabc"
    assert tokenizer.asked == 2
    flat, lengths = pieces([Doc(VOCAB, words=["abcdef", " ", "ab"])])
    assert lengths.tolist() == [3, 1, 2]  # cut; a space has the unknown piece
    assert flat.tolist()[3] == 1
    assert pieces([])[0].tolist() == []


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("welt_spacy.word_pieces.MAX_WORDS", 10)
    tokenizer = Letters()
    pieces = WordPieces(tokenizer, max_pieces=5)
    for i in range(50):
        words = [f"{i}a", f"{i}b", "same"]
        flat, lengths = pieces([Doc(VOCAB, words=words)])
        assert "".join(map(chr, flat)) == "".join(words)
        assert len(pieces) <= 10
    assert MAX_WORDS > 10_000


@given(
    st.lists(st.lists(st.integers(1, 6), max_size=40), max_size=5),
    st.integers(6, 30),
    st.integers(0, 5),
)
@settings(deadline=None)
def test_windows_keep_every_word_once_and_fit(docs, capacity, overlap):
    n_pieces = np.array([n for doc in docs for n in doc], dtype="int64")
    lengths = [len(doc) for doc in docs]
    windows = cut_windows(n_pieces, lengths, capacity, overlap)
    kept = ranges(windows.keep_start, windows.keep_end)
    assert kept.tolist() == list(range(len(n_pieces)))
    borders = {0, *np.cumsum(lengths).tolist()}
    for start, end, keep_start, keep_end in zip(*windows):
        assert start <= keep_start < keep_end <= end
        assert n_pieces[start:end].sum() <= capacity
        assert not any(start < border < end for border in borders)  # one doc


def test_every_window_keeps_a_word():
    """Found by hypothesis: the second window ended where the first did."""
    windows = cut_windows(np.array([1, 1, 1, 5]), [4], 6, 2)
    assert (windows.keep_start < windows.keep_end).all()
    assert windows.end.tolist() == [3, 4]


@pytest.mark.parametrize("overlap", [-1, 6, 128])
def test_overlap_below_the_window(overlap):
    with pytest.raises(WeltError, match="can't overlap"):
        cut_windows(np.ones(20, dtype="int64"), [20], 6, overlap)


def test_windows_move_on():
    """n words need about n / (capacity - overlap) windows."""
    for capacity, overlap in ((126, 42), (6, 5), (10, 3)):
        windows = cut_windows(np.ones(3000, dtype="int64"), [3000], capacity, overlap)
        assert len(windows.start) <= 3000 / (capacity - overlap) + 1


def test_many_threads_and_a_small_table(monkeypatch):
    """Each call sees the pieces of its own words, while others learn and forget."""
    monkeypatch.setattr("welt_spacy.word_pieces.MAX_WORDS", 40)
    pieces = WordPieces(Letters(), max_pieces=30)
    words = [[f"{i}a{j}" for j in range(i % 7 + 1)] for i in range(200)]
    docs = [Doc(VOCAB, words=part) for part in words]
    wrong = []

    def call(i):
        flat, lengths = pieces([docs[i]])
        if "".join(map(chr, flat)) != "".join(words[i]) or len(lengths) != len(docs[i]):
            wrong.append(i)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(call, [i % 200 for i in range(4000)]))
    finally:
        sys.setswitchinterval(interval)
    assert wrong == [] and len(pieces) <= 40


def test_copies_have_a_lock_of_their_own():
    pieces = WordPieces(Letters(), max_pieces=3)
    for copied in (copy.deepcopy(pieces), pickle.loads(pickle.dumps(pieces))):
        assert copied([Doc(VOCAB, words=["ab"])])[1].tolist() == [2]


def test_overlap_gives_context_on_both_sides():
    windows = cut_windows(np.ones(100, dtype="int64"), [100], 40, 20)
    assert windows.start.tolist() == [0, 20, 40, 60]
    assert windows.end.tolist() == [40, 60, 80, 100]
    assert windows.keep_start.tolist() == [0, 30, 50, 70]
    assert windows.keep_end.tolist() == [30, 50, 70, 100]


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_buckets_hold_all_and_are_bounded(sizes, budget):
    sizes = np.array(sizes, dtype="int64")
    groups = bucket(sizes, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(sizes)))
    for group in groups:
        assert len(group) == 1 or sizes[group].max() * len(group) <= budget
    longest = [sizes[group].max() for group in groups]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("starts, ends", [([], []), ([3, 7, 7], [5, 7, 9])])
def test_ranges(starts, ends):
    expected = [i for a, b in zip(starts, ends) for i in range(a, b)]
    found = ranges(np.array(starts, dtype="int64"), np.array(ends, dtype="int64"))
    assert found.tolist() == expected
