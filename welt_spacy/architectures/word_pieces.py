"""Words to word pieces: a word is tokenised once and looked up ever after."""

import threading
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.attrs import ORTH
from spacy.tokens import Doc

from ..arrays import Ints, ranges

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
        old one for ever.
        """
        self._lock = threading.Lock()

    def __getstate__(self) -> Dict[str, Any]:
        return {"tokenizer": self.tokenizer, "max_pieces": self.max_pieces}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        """RETURNS (int): How many words are remembered, at most `MAX_WORDS`, or as
        many as one call has.
        """
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
