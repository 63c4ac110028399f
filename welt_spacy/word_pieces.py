"""Words to word pieces, and word pieces to batches for an encoder.

All of it is arrays: a word is tokenised once and looked up ever after, windows
are cut and batches are filled without a loop over tokens.
"""

import threading
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc

from .errors import WeltError

Ints = NDArray[np.int64]

# Words that are remembered; then the memory is emptied, so that it is bounded.
MAX_WORDS = 200_000


class _Table(NamedTuple):
    """Words that have been tokenised; never changed but for words added to `rows`.

    rows (Dict[int, int]): The row of each word, by its id in the StringStore. A row
        that the arrays do not have yet is one of a later table.
    flat (ndarray): Shape (n_pieces,): the pieces of all words end to end.
    offsets (ndarray): Shape (n_words + 1,): where each word begins.
    """

    rows: Dict[int, int]
    flat: Ints
    offsets: Ints

    def find(self, keys: Sequence[int]) -> Optional[Ints]:
        """RETURNS (Optional[ndarray]): The rows of words; None if one is missing."""
        n = len(self.offsets) - 1
        rows = np.array([self.rows.get(key, n) for key in keys], dtype="int64")
        return rows if (rows < n).all() else None


def _empty_table() -> _Table:
    return _Table({}, np.zeros(0, dtype="int64"), np.zeros(1, dtype="int64"))


class WordPieces:
    """Looks up the pieces of words. It can be called from many threads.

    Words are tokenised one by one, as `is_split_into_words=True` does in a fast
    tokenizer: the pieces of a word depend neither on its neighbours nor on the
    white space around it, so raw and tokenised text give the same.

    A call reads one table from beginning to end. A call that meets new words makes a
    larger table under a lock and puts it in the place of the old one, which other
    threads may go on reading.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    max_pieces (int): Pieces that are kept of one word.
    """

    def __init__(self, tokenizer: Any, max_pieces: int):
        self.tokenizer = tokenizer
        self.max_pieces = max_pieces
        self._table = _empty_table()
        self.renew_lock()

    def renew_lock(self) -> None:
        """Make a new lock: after a fork, another thread of the parent may hold the
        old one for ever."""
        self._lock = threading.Lock()

    def __getstate__(self) -> Dict[str, Any]:
        return {"tokenizer": self.tokenizer, "max_pieces": self.max_pieces}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        """RETURNS (int): How many words are remembered, at most `MAX_WORDS`, or as
        many as one call has."""
        return len(self._table.offsets) - 1

    def __call__(self, docs: Sequence[Doc]) -> Tuple[Ints, Ints]:
        """Get the pieces of all words.

        docs (Sequence[Doc]): The docs, n words together.
        RETURNS (Tuple[ndarray, ndarray]): The pieces, shape (n_pieces,), int64, and
            the number of pieces of each word, shape (n,), int64, at least 1.
        """
        orths = [doc.to_array(ORTH) for doc in docs]
        flat = np.concatenate(orths) if orths else np.zeros(0, dtype="uint64")
        unique, inverse = np.unique(flat, return_inverse=True)
        keys = unique.tolist()
        table = self._table
        found = table.find(keys)
        if found is None:
            table = self._learn(keys, docs[0].vocab.strings)
            found = table.find(keys)
            assert found is not None
        rows = found[inverse]
        starts, ends = table.offsets[rows], table.offsets[rows + 1]
        return table.flat[ranges(starts, ends)], ends - starts

    def _learn(self, keys: List[int], strings: Any) -> _Table:
        """RETURNS (_Table): A table that has all of these words."""
        with self._lock:
            table = self._table  # another thread may have learnt them by now
            n = len(table.offsets) - 1
            new = [key for key in keys if table.rows.get(key, n) >= n]
            if n + len(new) > MAX_WORDS:
                table, n, new = _empty_table(), 0, keys
            if new:
                pieces = self._tokenize([strings[key] for key in new])
                ends = len(table.flat) + np.cumsum([len(ids) for ids in pieces])
                table.rows.update(zip(new, range(n, n + len(new))))
                table = _Table(
                    table.rows,
                    np.concatenate([table.flat, *pieces]),
                    np.concatenate([table.offsets, ends]),
                )
                self._table = table
            return table

    def _tokenize(self, words: List[str]) -> List[List[int]]:
        encoded = self.tokenizer(
            [[word] for word in words],
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        # White space and control characters have no piece of their own.
        unknown = [self.tokenizer.unk_token_id or 0]
        return [ids[: self.max_pieces] or unknown for ids in encoded]


class Windows(NamedTuple):
    """Stretches of words that fit into an encoder.

    start (ndarray): (n,) the first word of each, counted over all docs.
    end (ndarray): (n,) the word after the last.
    keep_start (ndarray): (n,) the first word whose vector is taken from here.
    keep_end (ndarray): (n,) the word after the last. The kept stretches follow
        each other without gap or overlap.
    """

    start: Ints
    end: Ints
    keep_start: Ints
    keep_end: Ints


def cut_windows(
    n_pieces: Ints, lengths: Sequence[int], capacity: int, overlap: int
) -> Windows:
    """Cut docs into windows at word boundaries.

    A doc that fits is one window. A longer one is cut into windows that share
    about `overlap` pieces; of a word in two windows, the vector of that window
    counts which sees more of its context. Each window has at least one word that
    those before it do not have, so neighbours share less where words are long.

    n_pieces (ndarray): (n_words,) pieces of each word, none above `capacity`.
    lengths (Sequence[int]): Words in each doc.
    capacity (int): Pieces in a window.
    overlap (int): Pieces that neighbours share, at least 0 and below `capacity`.
        Windows move on by the difference.
    RETURNS (Windows): The windows, doc by doc; none for docs without words.
    RAISES (WeltError): If the overlap is not in its range.
    """
    if not 0 <= overlap < capacity:
        raise WeltError(
            f"Windows of {capacity} pieces can't overlap by {overlap}: the overlap must "
            "be at least 0 and below the number of pieces"
        )
    ends = np.cumsum(n_pieces)
    found: List[Tuple[int, int, int, int]] = []
    first = 0
    for length in lengths:
        last = first + length
        before = int(ends[first - 1]) if first else 0
        if length and int(ends[last - 1]) - before <= capacity:
            found.append((first, last, first, last))
        elif length:
            found.extend(_cut_long(ends, first, last, capacity, overlap))
        first = last
    columns = np.array(found, dtype="int64").reshape(-1, 4).T
    return Windows(*columns)


def _cut_long(
    ends: Ints, first: int, last: int, capacity: int, overlap: int
) -> List[Tuple[int, int, int, int]]:
    bounds: List[Tuple[int, int]] = []
    start = first
    while True:
        before = int(ends[start - 1]) if start else 0
        end = min(int(np.searchsorted(ends, before + capacity, "right")), last)
        bounds.append((start, end))
        if end == last:
            break
        # Back by the overlap, but not so far that the next word does not fit in.
        back = int(np.searchsorted(ends, int(ends[end - 1]) - overlap, "left")) + 1
        fits = int(np.searchsorted(ends, int(ends[end]) - capacity, "left")) + 1
        start = min(max(back, fits), end)
    middles = [
        (nxt[0] + this[1]) // 2 for this, nxt in zip(bounds, bounds[1:])
    ]  # of each overlap
    return [
        (start, end, keep_start, keep_end)
        for (start, end), keep_start, keep_end in zip(
            bounds, [first, *middles], [*middles, last]
        )
    ]


def bucket(sizes: Ints, budget: int) -> List[Ints]:
    """Group windows of like size, so that little is padded.

    sizes (ndarray): (n,) pieces of each window, special ones included.
    budget (int): Most pieces of a group, padding included; a window that is
        larger is a group of its own.
    RETURNS (List[ndarray]): Indices, the longest windows first.
    """
    order = np.argsort(-sizes, kind="stable")
    groups: List[Ints] = []
    start = 0
    while start < len(order):
        width = max(int(sizes[order[start]]), 1)
        end = start + max(1, budget // width)
        groups.append(order[start:end])
        start = end
    return groups


def ranges(starts: Ints, ends: Ints) -> Ints:
    """RETURNS (ndarray): [starts[0]..ends[0]), [starts[1]..ends[1]), ... in one."""
    lengths = ends - starts
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, dtype="int64")
    shifts = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    return np.arange(total, dtype="int64") + shifts
