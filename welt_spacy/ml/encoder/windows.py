"""Docs to windows that fit an encoder, and windows to batches, in arrays."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import WeltError
from ...util.arrays import Ints, starts_of


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
    found: list[tuple[int, int, int, int]] = []
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


def cut_sentences(
    n_pieces: Ints,
    is_start: NDArray[np.bool_],
    lengths: Sequence[int],
    capacity: int,
    overlap: int,
    context: int,
) -> Windows:
    """Cut docs into windows of one sentence each, with what stands around it in its doc
    (Schweter & Akbik 2021, FLERT).

    n_pieces (ndarray): (n_words,) pieces of each word, none above `capacity`.
    is_start (ndarray): (n_words,) whether a sentence begins there. Docs begin one.
    lengths (Sequence[int]): Words in each doc.
    capacity (int): Pieces in a window. The context gives way to the sentence; a sentence
        that is longer is cut as `cut_windows` does.
    overlap (int): For those.
    context (int): Pieces on each side that are seen, and not kept, at most.
    RETURNS (Windows): The windows, doc by doc, in the order of their sentences.
    RAISES (WeltError): As `cut_windows`.
    """
    borders = np.unique(
        np.concatenate([np.flatnonzero(is_start), np.cumsum(lengths)]).astype("int64")
    )
    sentences = cut_windows(
        n_pieces, np.diff(borders, prepend=0).tolist(), capacity, overlap
    )
    if not context:
        return sentences
    ends = starts_of(n_pieces)
    doc_ends = np.cumsum(lengths)
    of_doc = np.searchsorted(doc_ends, sentences.keep_start, "right")
    doc_end = doc_ends[of_doc]
    doc_start = doc_end - np.asarray(lengths, dtype="int64")[of_doc]
    # What is left beside the sentence, shared by both sides
    room = capacity - (ends[sentences.end] - ends[sentences.start])
    wanted = np.minimum(context, room // 2)
    start = np.searchsorted(ends, ends[sentences.start] - wanted, "left")
    end = np.searchsorted(ends, ends[sentences.end] + wanted, "right") - 1
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


def bucket(sizes: Ints, budget: int) -> list[Ints]:
    """Group windows of like size, so that little is padded.

    sizes (ndarray): (n,) pieces of each window, special ones included.
    budget (int): Most pieces of a group, padding included; a window that is
        larger is a group of its own.
    RETURNS (list[ndarray]): Indices, the longest windows first.
    """
    order = np.argsort(-sizes, kind="stable")
    groups: list[Ints] = []
    start = 0
    while start < len(order):
        width = max(int(sizes[order[start]]), 1)
        end = start + max(1, budget // width)
        groups.append(order[start:end])
        start = end
    return groups
