"""Words to word pieces, and word pieces to batches for an encoder.

All of it is arrays: a word is tokenised once and looked up ever after, windows
are cut and batches are filled without a loop over tokens.
"""

from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc

Ints = NDArray[np.int64]

# Words that are remembered; then the memory is emptied, so that it is bounded.
MAX_WORDS = 200_000


class WordPieces:
    """Looks up the pieces of words.

    Words are tokenised one by one, as `is_split_into_words=True` does in a fast
    tokenizer: the pieces of a word depend neither on its neighbours nor on the
    white space around it, so raw and tokenised text give the same.

    tokenizer (PreTrainedTokenizerFast): The tokenizer.
    max_pieces (int): Pieces that are kept of one word.
    """

    def __init__(self, tokenizer: Any, max_pieces: int):
        self.tokenizer = tokenizer
        self.max_pieces = max_pieces
        self._clear()

    def _clear(self) -> None:
        self._rows: Dict[int, int] = {}
        # The pieces of all words end to end, and where each word begins.
        self._flat: Ints = np.zeros(0, dtype="int64")
        self._offsets: Ints = np.zeros(1, dtype="int64")

    def __call__(self, docs: Sequence[Doc]) -> Tuple[Ints, Ints]:
        """Get the pieces of all words.

        docs (Sequence[Doc]): The docs, n words together.
        RETURNS (Tuple[ndarray, ndarray]): The pieces, shape (n_pieces,), and the
            number of pieces of each word, shape (n,), at least 1.
        """
        orths = [doc.to_array(ORTH) for doc in docs]
        flat = np.concatenate(orths) if orths else np.zeros(0, dtype="uint64")
        unique, inverse = np.unique(flat, return_inverse=True)
        if len(self._rows) + len(unique) > MAX_WORDS:
            self._clear()
        keys = unique.tolist()
        new = [key for key in keys if key not in self._rows]
        if new:
            self._learn(new, docs[0].vocab.strings)
        rows = np.array([self._rows[key] for key in keys], dtype="int64")[inverse]
        starts, ends = self._offsets[rows], self._offsets[rows + 1]
        return self._flat[ranges(starts, ends)], ends - starts

    def _learn(self, keys: List[int], strings: Any) -> None:
        words = [[strings[key]] for key in keys]
        encoded = self.tokenizer(
            words,
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        # White space and control characters have no piece of their own.
        unknown = [self.tokenizer.unk_token_id or 0]
        pieces = [ids[: self.max_pieces] or unknown for ids in encoded]
        self._rows.update(
            zip(keys, range(len(self._rows), len(self._rows) + len(keys)))
        )
        ends = len(self._flat) + np.cumsum([len(ids) for ids in pieces])
        self._flat = np.concatenate([self._flat, *pieces])
        self._offsets = np.concatenate([self._offsets, ends])


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
    """Cut docs into windows at word borders.

    A doc that fits is one window. A longer one is cut into windows that share
    about `overlap` pieces; of a word in two windows, the vector of that window
    counts which sees more of its context.

    n_pieces (ndarray): (n_words,) pieces of each word, none above `capacity`.
    lengths (Sequence[int]): Words in each doc.
    capacity (int): Pieces in a window.
    overlap (int): Pieces that neighbours share, below `capacity`.
    RETURNS (Windows): The windows, doc by doc; none for docs without words.
    """
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
    borders: List[Tuple[int, int]] = []
    start = first
    while True:
        before = int(ends[start - 1]) if start else 0
        end = min(int(np.searchsorted(ends, before + capacity, "right")), last)
        borders.append((start, end))
        if end == last:
            break
        # Back by the overlap, but always on.
        back = int(np.searchsorted(ends, int(ends[end - 1]) - overlap, "left")) + 1
        start = min(max(back, start + 1), end)
    middles = [
        (nxt[0] + this[1]) // 2 for this, nxt in zip(borders, borders[1:])
    ]  # of each overlap
    return [
        (start, end, keep_start, keep_end)
        for (start, end), keep_start, keep_end in zip(
            borders, [first, *middles], [*middles, last]
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
