"""Bounded, thread-safe caches of values that are computed once per word."""

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

# A table with more words than this is emptied, so that its memory is bounded
MAX_WORDS = 200_000

Arrays = tuple[NDArray[Any], ...]


class _Table(NamedTuple):
    """A version of a table. Only `rows` changes later: it is shared with larger versions.

    rows (dict[int, int]): The row of each word, by its id in the StringStore. Rows from
        `size` on belong to larger versions.
    size (int): The number of words.
    arrays (tuple[ndarray, ...]): The values of the words.
    """

    rows: dict[int, int]
    size: int
    arrays: Arrays

    def find(self, keys: Sequence[int]) -> Ints | None:
        """Return the rows of words; None if a word is missing."""
        rows = np.array([self.rows.get(key, self.size) for key in keys], dtype="int64")
        return rows if (rows < self.size).all() else None


# All tables: at a fork, another thread may hold a lock, which the child can't release
_TABLES: "weakref.WeakSet[LexemeTable]" = weakref.WeakSet()


def _renew_locks() -> None:
    for table in _TABLES:
        table._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class LexemeTable:
    """Look up values of words from any number of threads.

    A call reads a single version of the table. If it has new words, it builds a larger
    version under a lock; other threads may go on reading the old one.

    empty (tuple[ndarray, ...]): The arrays of a table without words.
    extend (Callable): Arrays and new words -> arrays with these words at the end.
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
        """Return the number of words: at most `MAX_WORDS`, unless one call has more."""
        return self._table.size

    def __call__(self, docs: Sequence[Doc]) -> tuple[Ints, Arrays]:
        """Return the row of each of the n words of documents, shape (n,), and the arrays that
        the rows belong to.
        """
        orths = [doc.to_array(ORTH) for doc in docs]
        flat = np.concatenate(orths) if orths else np.zeros(0, dtype="uint64")
        unique, inverse = np.unique(flat, return_inverse=True)
        rows, arrays = self.find(unique, docs[0].vocab.strings if docs else None)
        return rows[inverse], arrays

    def find(self, orths: NDArray[Any], strings: Any) -> tuple[Ints, Arrays]:
        """Return the same for word ids, shape (n,), of a StringStore."""
        keys = orths.tolist()
        table = self._table
        rows = table.find(keys)
        if rows is None:
            table = self._add(list(dict.fromkeys(keys)), strings)
            rows = table.find(keys)
            assert rows is not None
        return rows, table.arrays

    def _add(self, keys: list[int], strings: Any) -> _Table:
        with self._lock:
            table = self._table  # Another thread may have added the words
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
    """A table of the word pieces of words: all ids in one array, and the offset of each word.

    tokenize (Callable[[list[str]], Sequence[Sequence[int]]]): Words -> the ids of the word
        pieces of each.
    """

    def __init__(self, tokenize: Callable[[list[str]], Sequence[Sequence[int]]]):
        self._tokenize = tokenize
        empty = (np.zeros(0, dtype="int64"), np.zeros(1, dtype="int64"))
        super().__init__(empty, self._append)

    def __getstate__(self) -> dict[str, Any]:
        return {"tokenize": self._tokenize}

    def gather(self, rows: Ints, arrays: Arrays) -> tuple[Ints, Ints]:
        """Return the word pieces of the rows that `find` returned, shape (n_pieces,), and
        their number for each word, shape (n,).
        """
        flat, offsets = arrays
        starts, ends = offsets[rows], offsets[rows + 1]
        return flat[ranges(starts, ends)], ends - starts

    def _append(self, arrays: Arrays, words: list[str]) -> Arrays:
        flat, offsets = arrays
        pieces = [np.array(ids, dtype="int64") for ids in self._tokenize(words)]
        ends = len(flat) + np.cumsum([len(ids) for ids in pieces])
        return np.concatenate([flat, *pieces]), np.concatenate([offsets, ends])
