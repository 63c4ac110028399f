"""Cut documents into windows that fit an encoder, and group windows into batches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import WeltError
from ...util.arrays import Ints, starts_of


class Windows(NamedTuple):
    """Windows of words. Words are counted over all documents.

    start (ndarray): The first word of each window, shape (n,).
    end (ndarray): The word after the last one, shape (n,).
    keep_start (ndarray): The first word whose vector is taken from the window, shape (n,).
    keep_end (ndarray): The word after the last one of these, shape (n,). They follow each other
        without gap or overlap.
    """

    start: Ints
    end: Ints
    keep_start: Ints
    keep_end: Ints


def cut_windows(
    n_pieces: Ints, lengths: Sequence[int], capacity: int, overlap: int
) -> Windows:
    """Cut documents into windows at word boundaries.

    A document that fits is one window. A longer one is cut into windows that share about
    `overlap` word pieces. The vector of a shared word is taken from the window with more of its
    context. Each window has a word that no earlier one has, so neighbours share less where words
    are long.
    """
    if not 0 <= overlap < capacity:
        raise WeltError(
            f"Windows of {capacity} word pieces can't overlap by {overlap}: the overlap "
            "must be at least 0 and below the number of word pieces"
        )
    ends = np.cumsum(n_pieces)
    windows: list[tuple[int, int, int, int]] = []
    first = 0
    for length in lengths:
        last = first + length
        before = int(ends[first - 1]) if first else 0
        if length and int(ends[last - 1]) - before <= capacity:
            windows.append((first, last, first, last))
        elif length:
            windows.extend(_cut_long(ends, first, last, capacity, overlap))
        first = last
    columns = np.array(windows, dtype="int64").reshape(-1, 4).T
    return Windows(*columns)


def cut_sentences(
    n_pieces: Ints,
    is_start: NDArray[np.bool_],
    lengths: Sequence[int],
    capacity: int,
    overlap: int,
    context: int,
) -> Windows:
    """Cut documents into windows of one sentence each, with its context in the document
    (Schweter & Akbik 2021, FLERT).

    The sentence takes precedence over its context, and one that is longer than `capacity` is cut
    as by `cut_windows`; see there for the other arguments.
    """
    borders = np.unique(
        np.concatenate([np.flatnonzero(is_start), np.cumsum(lengths)]).astype("int64")
    )
    sentences = cut_windows(
        n_pieces, np.diff(borders, prepend=0).tolist(), capacity, overlap
    )
    if not context:
        return sentences
    offsets = starts_of(n_pieces)
    doc_ends = np.cumsum(lengths)
    docs = np.searchsorted(doc_ends, sentences.keep_start, "right")
    doc_end = doc_ends[docs]
    doc_start = doc_end - np.asarray(lengths, dtype="int64")[docs]
    # Both sides share the room that the sentence leaves
    room = capacity - (offsets[sentences.end] - offsets[sentences.start])
    context_pieces = np.minimum(context, room // 2)
    first = offsets[sentences.start] - context_pieces
    last = offsets[sentences.end] + context_pieces
    start = np.searchsorted(offsets, first, "left")
    end = np.searchsorted(offsets, last, "right") - 1
    return Windows(
        np.maximum(start, doc_start),
        np.minimum(end, doc_end),
        sentences.keep_start,
        sentences.keep_end,
    )


def _cut_long(
    ends: Ints, first: int, last: int, capacity: int, overlap: int
) -> list[tuple[int, int, int, int]]:
    bounds: list[tuple[int, int]] = []
    start = first
    while True:
        before = int(ends[start - 1]) if start else 0
        end = min(int(np.searchsorted(ends, before + capacity, "right")), last)
        bounds.append((start, end))
        if end == last:
            break
        # Step back by the overlap, but leave room for the next word
        back = int(np.searchsorted(ends, int(ends[end - 1]) - overlap, "left")) + 1
        fits = int(np.searchsorted(ends, int(ends[end]) - capacity, "left")) + 1
        start = min(max(back, fits), end)
    middles = [
        (following[0] + window[1]) // 2 for window, following in zip(bounds, bounds[1:])
    ]
    return [
        (start, end, keep_start, keep_end)
        for (start, end), keep_start, keep_end in zip(
            bounds, [first, *middles], [*middles, last]
        )
    ]


def bucket(sizes: Ints, max_pieces: int) -> list[Ints]:
    """Group sequences of similar sizes, so that little is padded, and return their indices, the
    longest first. A group has at most `max_pieces`, padding included, or one sequence.
    """
    order = np.argsort(-sizes, kind="stable")
    groups: list[Ints] = []
    start = 0
    while start < len(order):
        width = max(int(sizes[order[start]]), 1)
        end = start + max(1, max_pieces // width)
        groups.append(order[start:end])
        start = end
    return groups
