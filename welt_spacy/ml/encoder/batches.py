"""Docs to the batches of an encoder, and the pieces of a batch back to words, in arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.attrs import SENT_START
from spacy.tokens import Doc

from ...errors import WeltError, check_number
from ...util.arrays import Ints, ranges, starts_of
from ..word_pieces import WordPieces
from .windows import Windows, bucket, cut_sentences, cut_windows

# Small groups keep to the caches of a CPU and pad little.
CPU_PIECES = 1024


def check_windows(
    max_length: int | None,
    overlap: int,
    context: int | None,
    max_batch_pieces: int | None,
) -> None:
    """Check the settings that encoders share.

    max_length (int | None): Word pieces in a window.
    overlap (int): Pieces that neighbouring windows share.
    context (int | None): Pieces around each sentence.
    max_batch_pieces (int | None): Pieces that go through the encoder at once.
    RAISES (WeltError): If one is out of its range.
    """
    check_number("overlap", overlap, low=0)
    if context is not None:
        check_number("context", context, low=0)
    for setting, value in (
        ("max_length", max_length),
        ("max_batch_pieces", max_batch_pieces),
    ):
        if value is not None:
            check_number(setting, value, low=1)


class Special(NamedTuple):
    """What an encoder wants besides the pieces of words.

    prefix, suffix (list[int]): The pieces around a sequence, e.g. [CLS] and [SEP].
    padding (int): The piece that fills up shorter sequences.
    unknown (int): The piece of a word that has none, such as white space.
    limit (int): Pieces that the encoder takes at once, those around included.
    """

    prefix: list[int]
    suffix: list[int]
    padding: int
    unknown: int
    limit: int


class Batch(NamedTuple):
    """Windows that go through an encoder together.

    ids (ndarray): Shape (n, width), int64.
    mask (ndarray | None): Shape (n, width), int64: 0 where there is padding; None if
        there is none.
    first (ndarray): Shape (n_words,): of each word whose vector is taken from here, the
        place of its first piece among the n * width of the batch.
    lengths (ndarray): Shape (n_words,): its pieces.
    """

    ids: Ints
    mask: Ints | None
    first: Ints
    lengths: Ints


class Plan(NamedTuple):
    """Docs on their way through an encoder.

    batches (list[Batch]): The batches.
    words (ndarray): Shape (n_words,): the words of all batches in their order, counted
        over all docs.
    """

    batches: list[Batch]
    words: Ints

    @property
    def back(self) -> Ints:
        """RETURNS (ndarray): Shape (n_words,): the place of each word in `words`."""
        places = np.empty(len(self.words), dtype="int64")
        places[self.words] = np.arange(len(self.words))
        return places


class Batcher:
    """Makes batches of docs. It can be called from many threads.

    tokenizer (Any): A tokenizer of the tokenizers library.
    special (Special): What the encoder wants besides.
    max_length (int | None): Pieces in a window, if fewer than the encoder takes.
    overlap (int): Pieces that neighbouring windows share, at most a third of a window.
    context (int | None): Pieces around each sentence in its window; None: windows are
        as long as fits, whatever sentences there are.
    RAISES (WeltError): If no word fits into a window.
    """

    def __init__(
        self,
        tokenizer: Any,
        special: Special,
        max_length: int | None,
        overlap: int,
        context: int | None = None,
    ):
        self.special = special
        limit = min(special.limit, max_length or special.limit)
        self.capacity = limit - len(special.prefix) - len(special.suffix)
        if self.capacity < 1:
            raise WeltError(f"max_length = {limit} leaves no room for words")
        # Windows that share more than a third cost far more than they give.
        self.overlap = min(overlap, self.capacity // 3)
        self.context = context
        self.pieces = WordPieces(tokenizer, special.unknown, self.capacity)

    def __call__(self, docs: Sequence[Doc], budget: int) -> Plan:
        """Make batches.

        docs (Sequence[Doc]): The docs, at least one token together.
        budget (int): Pieces of a batch, padding included.
        RETURNS (Plan): The batches.
        """
        flat, n_pieces = self.pieces(docs)
        windows = self._cut(docs, n_pieces)
        piece_at = starts_of(n_pieces)
        sizes = piece_at[windows.end] - piece_at[windows.start]
        extra = len(self.special.prefix) + len(self.special.suffix)
        batches, order = [], []
        for group in bucket(sizes + extra, budget):
            chosen = Windows(*(column[group] for column in windows))
            batches.append(self._batch(flat, piece_at, sizes[group], chosen))
            order.append(ranges(chosen.keep_start, chosen.keep_end))
        return Plan(batches, np.concatenate(order))

    def _cut(self, docs: Sequence[Doc], n_pieces: Ints) -> Windows:
        lengths = [len(doc) for doc in docs]
        limits = (self.capacity, self.overlap)
        if self.context is None:
            return cut_windows(n_pieces, lengths, *limits)
        starts = np.concatenate([doc.to_array(SENT_START) for doc in docs])
        return cut_sentences(n_pieces, starts == 1, lengths, *limits, self.context)

    def _batch(self, flat: Ints, piece_at: Ints, sizes: Ints, batch: Windows) -> Batch:
        prefix, suffix, padding, _, _ = self.special
        n, n_prefix = len(sizes), len(prefix)
        width = int(sizes.max()) + n_prefix + len(suffix)
        ids = np.full((n, width), padding, dtype="int64")
        ids[:, :n_prefix] = prefix
        rows = np.repeat(np.arange(n), sizes)
        columns = ranges(np.full(n, n_prefix), n_prefix + sizes)
        starts = piece_at[batch.start]
        ids[rows, columns] = flat[ranges(starts, starts + sizes)]
        for i, piece in enumerate(suffix):
            ids[np.arange(n), n_prefix + sizes + i] = piece
        full = sizes + n_prefix + len(suffix)
        mask = None
        if (full < width).any():
            mask = (np.arange(width) < full[:, None]).astype("int64")
        words = ranges(batch.keep_start, batch.keep_end)
        window = np.repeat(np.arange(n), batch.keep_end - batch.keep_start)
        first = window * width + n_prefix + piece_at[words] - starts[window]
        return Batch(ids, mask, first, piece_at[words + 1] - piece_at[words])
