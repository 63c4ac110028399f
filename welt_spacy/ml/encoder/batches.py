"""Batches of windows for an encoder."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.attrs import SENT_START
from spacy.tokens import Doc

from ...errors import WeltError, check_number
from ...util.arrays import Ints, ranges, starts_of
from ..word_pieces import WordPieces
from .windows import Windows, bucket, cut_sentences, cut_windows

# Small, because small batches fit into the caches of a CPU and are padded little
CPU_PIECES = 1024


def check_window_settings(
    max_length: int | None,
    overlap: int,
    context: int | None,
    max_batch_pieces: int | None,
) -> None:
    """Raise an error if a setting that all encoders have is out of its range."""
    check_number("overlap", overlap, low=0)
    if context is not None:
        check_number("context", context, low=0)
    for name, value in (
        ("max_length", max_length),
        ("max_batch_pieces", max_batch_pieces),
    ):
        if value is not None:
            check_number(name, value, low=1)


class SpecialTokens(NamedTuple):
    """Special word pieces of an encoder, and its length.

    prefix, suffix (list[int]): Word pieces around a sequence, such as [CLS] and [SEP].
    padding (int): The word piece that pads shorter sequences.
    unknown (int): The word piece of a word without any, such as white space.
    context_length (int): Maximum number of word pieces, prefix and suffix included.
    """

    prefix: list[int]
    suffix: list[int]
    padding: int
    unknown: int
    context_length: int


class Batch(NamedTuple):
    """Windows that go through an encoder at once.

    ids (ndarray): Word pieces, shape (n, width), int64.
    mask (ndarray | None): 0 where there is padding, shape (n, width), int64; None without
        padding.
    first (ndarray): Place among the n * width word pieces of the first piece of each word
        whose vector is taken from this batch, shape (n_words,).
    lengths (ndarray): Number of word pieces of these words, shape (n_words,).
    """

    ids: Ints
    mask: Ints | None
    first: Ints
    lengths: Ints


class BatchPlan(NamedTuple):
    """All batches of some documents.

    batches (list[Batch]): The batches.
    words (ndarray): Words in the order of the batches, counted over all documents, shape
        (n_words,).
    """

    batches: list[Batch]
    words: Ints

    @property
    def places(self) -> Ints:
        """The place of each word in `words`, shape (n_words,)."""
        places = np.empty(len(self.words), dtype="int64")
        places[self.words] = np.arange(len(self.words))
        return places


class Batcher:
    """Makes batches of documents. It can be called from many threads. The settings are those of
    `build_transformer_encoder`.
    """

    def __init__(
        self,
        tokenizer: Any,
        special: SpecialTokens,
        max_length: int | None,
        overlap: int,
        context: int | None = None,
    ):
        self.special = special
        length = min(special.context_length, max_length or special.context_length)
        self.n_special = len(special.prefix) + len(special.suffix)
        self.capacity = length - self.n_special
        if self.capacity < 1:
            raise WeltError(
                f"max_length is {length}: no word fits in. Use a higher one"
            )
        # A larger overlap costs far more than it improves
        self.overlap = min(overlap, self.capacity // 3)
        self.context = context
        self.pieces = WordPieces(tokenizer, special.unknown, self.capacity)

    def __call__(self, docs: Sequence[Doc], max_pieces: int) -> BatchPlan:
        """Make batches of at most `max_pieces` word pieces each, padding included. There must
        be a token in one of the documents.
        """
        pieces, n_pieces = self.pieces(docs)
        windows = self._cut(docs, n_pieces)
        offsets = starts_of(n_pieces)
        sizes = offsets[windows.end] - offsets[windows.start]
        batches, words = [], []
        for group in bucket(sizes + self.n_special, max_pieces):
            members = Windows(*(column[group] for column in windows))
            batches.append(self._make_batch(pieces, offsets, sizes[group], members))
            words.append(ranges(members.keep_start, members.keep_end))
        return BatchPlan(batches, np.concatenate(words))

    def _cut(self, docs: Sequence[Doc], n_pieces: Ints) -> Windows:
        lengths = [len(doc) for doc in docs]
        limits = (self.capacity, self.overlap)
        if self.context is None:
            return cut_windows(n_pieces, lengths, *limits)
        starts = np.concatenate([doc.to_array(SENT_START) for doc in docs])
        return cut_sentences(n_pieces, starts == 1, lengths, *limits, self.context)

    def _make_batch(
        self, pieces: Ints, offsets: Ints, sizes: Ints, windows: Windows
    ) -> Batch:
        """Make a batch of windows. `pieces` are those of all words, `offsets` the first one of
        each word, `sizes` the numbers of word pieces of the windows.
        """
        prefix, suffix = self.special.prefix, self.special.suffix
        n, n_prefix = len(sizes), len(prefix)
        width = int(sizes.max()) + self.n_special
        ids = np.full((n, width), self.special.padding, dtype="int64")
        ids[:, :n_prefix] = prefix
        rows = np.repeat(np.arange(n), sizes)
        columns = ranges(np.full(n, n_prefix), n_prefix + sizes)
        starts = offsets[windows.start]
        ids[rows, columns] = pieces[ranges(starts, starts + sizes)]
        for i, piece in enumerate(suffix):
            ids[np.arange(n), n_prefix + sizes + i] = piece
        full = sizes + self.n_special
        mask = None
        if (full < width).any():
            mask = (np.arange(width) < full[:, None]).astype("int64")
        words = ranges(windows.keep_start, windows.keep_end)
        window = np.repeat(np.arange(n), windows.keep_end - windows.keep_start)
        first = window * width + n_prefix + offsets[words] - starts[window]
        return Batch(ids, mask, first, offsets[words + 1] - offsets[words])
