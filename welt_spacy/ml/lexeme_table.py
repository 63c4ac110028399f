"""What is computed of a word, once, and looked up ever after: safe for threads, bounded."""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc

from ..util.arrays import Ints, ranges

# Words that are remembered; then the memory is emptied, so that it is bounded.
MAX_WORDS = 200_000

Arrays = tuple[NDArray[Any], ...]


class _Table(NamedTuple):
    """Words that are known; never changed but for words added to `rows`.

    rows (dict[int, int]): The row of each word, by its id in the StringStore. A row
        from `size` on is one of a later table.
    size (int): The number of words.
    arrays (tuple[ndarray, ...]): What was computed of them.
    """

    rows: dict[int, int]
    size: int
    arrays: Arrays

    def find(self, keys: Sequence[int]) -> Ints | None:
        """RETURNS (ndarray | None): The rows of words; None if one is missing."""
        rows = np.array([self.rows.get(key, self.size) for key in keys], dtype="int64")
        return rows if (rows < self.size).all() else None


# All there are: after a fork, another thread of the parent may hold a lock for ever
_TABLES: "weakref.WeakSet[LexemeTable]" = weakref.WeakSet()


def _renew_locks() -> None:
    for table in _TABLES:
        table._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class LexemeTable:
    """Looks words up. It can be called from many threads.

    A call reads one table from beginning to end. A call that meets new words makes a
    larger table under a lock and puts it in the place of the old one, which other
    threads may go on reading.

    empty (tuple[ndarray, ...]): The arrays of no word.
    extend (Callable): Arrays and new words -> arrays that have these words at the end.
    """

    def __init__(self, empty: Arrays, extend: Callable[[Arrays, list[str]], Arrays]):
        self._empty = empty
        self._extend = extend
        self._table = _Table({}, 0, empty)
        self._lock = threading.Lock()
        _TABLES.add(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"empty": self._empty, "extend": self._extend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        """RETURNS (int): How many words are remembered, at most `MAX_WORDS`, or as
        many as one call has.
        """
        return self._table.size

    def __call__(self, docs: Sequence[Doc]) -> tuple[Ints, Arrays]:
        """Look up all words of docs.

        docs (Sequence[Doc]): The docs, n words together.
        RETURNS (tuple[ndarray, tuple[ndarray, ...]]): The row of each word, shape (n,),
            int64, and the arrays that the rows belong to.
        """
        orths = [doc.to_array(ORTH) for doc in docs]
        flat = np.concatenate(orths) if orths else np.zeros(0, dtype="uint64")
        unique, inverse = np.unique(flat, return_inverse=True)
        rows, arrays = self.find(unique, docs[0].vocab.strings if docs else None)
        return rows[inverse], arrays

    def find(self, orths: NDArray[Any], strings: Any) -> tuple[Ints, Arrays]:
        """Look up words by their ids.

        orths (ndarray): Shape (n,), uint64: the ids.
        strings (StringStore): What they are ids of.
        RETURNS (tuple[ndarray, tuple[ndarray, ...]]): As `__call__`.
        """
        keys = orths.tolist()
        table = self._table
        found = table.find(keys)
        if found is None:
            table = self._learn(list(dict.fromkeys(keys)), strings)
            found = table.find(keys)
            assert found is not None
        return found, table.arrays

    def _learn(self, keys: list[int], strings: Any) -> _Table:
        """RETURNS (_Table): A table that has all of these words."""
        with self._lock:
            table = self._table  # another thread may have learnt them by now
            new = [k for k in keys if table.rows.get(k, table.size) >= table.size]
            if table.size + len(new) > MAX_WORDS:
                table, new = _Table({}, 0, self._empty), keys
            if new:
                arrays = self._extend(table.arrays, [strings[key] for key in new])
                size = table.size + len(new)
                table.rows.update(zip(new, range(table.size, size)))
                table = self._table = _Table(table.rows, size, arrays)
            return table


class PieceTable(LexemeTable):
    """A table of the pieces of words: their ids end to end, and where each word begins.

    tokenize (Callable[[list[str]], Sequence[Sequence[int]]]): Words -> the ids of the
        pieces of each.
    """

    def __init__(self, tokenize: Callable[[list[str]], Sequence[Sequence[int]]]):
        self._tokenize = tokenize
        empty = (np.zeros(0, dtype="int64"), np.zeros(1, dtype="int64"))
        super().__init__(empty, self._append)

    def __getstate__(self) -> dict[str, Any]:
        return {"tokenize": self._tokenize}

    def gather(self, rows: Ints, arrays: Arrays) -> tuple[Ints, Ints]:
        """Get the pieces of words that were looked up.

        rows (ndarray): Shape (n,): what `__call__` or `find` returned.
        arrays (tuple[ndarray, ...]): Likewise.
        RETURNS (tuple[ndarray, ndarray]): The pieces, shape (n_pieces,), int64, and the
            number of pieces of each word, shape (n,), int64.
        """
        flat, offsets = arrays
        starts, ends = offsets[rows], offsets[rows + 1]
        return flat[ranges(starts, ends)], ends - starts

    def _append(self, arrays: Arrays, words: list[str]) -> Arrays:
        flat, offsets = arrays
        pieces = [np.array(ids, dtype="int64") for ids in self._tokenize(words)]
        ends = len(flat) + np.cumsum([len(ids) for ids in pieces])
        return np.concatenate([flat, *pieces]), np.concatenate([offsets, ends])
