"""Decode tag probabilities into entities with confidences.

All functions take and return arrays. The sequences of a batch are concatenated in one array
of N rows, and computation is vectorized over the batch.

There are two decoding methods. Each has an exact probability that a span, with its label, is
one entity:

greedy
    Tags are independent. The best tag of each token is used, and orphan I tags begin an
    entity, as in seqeval and conlleval.

constrained
    Tags are independent *given that the sequence is legal IOB2*: P(y) is proportional to
    prod_t p_t(y_t) over legal sequences. The best legal sequence is computed with the Viterbi
    algorithm, the probability of a span with the forward-backward algorithm (Rabiner 1989).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..util.arrays import starts_of
from .tags import OUTSIDE, begin_tag, inside_tag, legal_transitions, orphans, split_tags

DECODERS = ("greedy", "constrained")
# Lower bound of probabilities, so that logarithms are finite
TINY = float(np.finfo("float32").tiny)

# float64 and int64, which NumPy's stubs lose track of
Floats = NDArray[Any]
Ints = NDArray[Any]


class Entities(NamedTuple):
    """The entities of a batch, in the order of their tokens.

    starts (ndarray): Shape (E,), int64: row of the first token.
    ends (ndarray): Shape (E,), int64: row after the last token.
    labels (ndarray): Shape (E,), int64: index of the label.
    confidences (ndarray): Shape (E,), float64 in [0, 1]: probability of the entity.
    """

    starts: Ints
    ends: Ints
    labels: Ints
    confidences: Floats

    def select(self, mask: NDArray[np.bool_]) -> "Entities":
        """Select entities by a mask of shape (E,)."""
        return Entities(*(column[mask] for column in self))


def decode(
    probs: Floats,
    lengths: Ints,
    *,
    decoder: str = "constrained",
    o_bias: float = 0.0,
    bias: Floats | None = None,
) -> Entities:
    """Decode the entities of a batch.

    probs (ndarray): Shape (N, 2K + 1): tag probabilities; rows sum to 1.
    lengths (ndarray): Shape (D,): the lengths of the sequences; their sum is N.
    decoder (str): "greedy" or "constrained".
    o_bias (float): Added to the log-odds of O. Positive values raise precision, negative
        values raise recall.
    bias (ndarray | None): Shape (2K + 1,): added to the log-probabilities of the tags.
    RETURNS (Entities): The entities, each within one sequence.
    RAISES (ValueError): If the decoder is unknown or the shapes do not match.
    """
    lengths = np.asarray(lengths, dtype="int64")
    probs = _shifted(probs, lengths, decoder, o_bias, bias)
    tags = probs.argmax(axis=1)
    if decoder == "constrained":
        _repair_by_viterbi(probs, lengths, tags)
    starts, ends, labels = tags_to_spans(tags, lengths)
    confidences = CONFIDENCES[decoder](probs, lengths, starts, ends, labels)
    return Entities(starts, ends, labels, np.clip(confidences, 0.0, 1.0))


def score_spans(
    probs: Floats,
    lengths: Ints,
    starts: Ints,
    ends: Ints,
    labels: Ints,
    *,
    decoder: str = "constrained",
    o_bias: float = 0.0,
    bias: Floats | None = None,
) -> Floats:
    """Return the confidences, shape (E,), that given spans have as entities. See `decode`."""
    lengths = np.asarray(lengths, dtype="int64")
    probs = _shifted(probs, lengths, decoder, o_bias, bias)
    return np.clip(CONFIDENCES[decoder](probs, lengths, starts, ends, labels), 0.0, 1.0)


def _shifted(
    probs: Floats,
    lengths: Ints,
    decoder: str,
    o_bias: float,
    bias: Floats | None,
) -> Floats:
    if decoder not in DECODERS:
        raise ValueError(f"Unknown decoder {decoder!r}: use one of {DECODERS}")
    if probs.ndim != 2 or probs.shape[0] != lengths.sum() or probs.shape[1] % 2 == 0:
        raise ValueError(
            f"Can't decode scores of shape {probs.shape} for {lengths.sum()} tokens: they "
            "must have one row per token and 2K + 1 columns"
        )
    probs = np.maximum(probs.astype("float64"), TINY)
    if bias is not None or o_bias != 0.0:
        shift = np.zeros(probs.shape[1]) if bias is None else np.array(bias, "float64")
        shift[OUTSIDE] += o_bias
        # Relative to the largest, so that no bias overflows
        probs *= np.exp(shift - shift.max())
        probs /= probs.sum(axis=1, keepdims=True)
        probs = np.maximum(probs, TINY)
    return probs


def tags_to_spans(tags: Ints, lengths: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the first rows, the rows after the last, and the label indices of the spans of
    tags, each of shape (E,). An orphan I begins a span, as in seqeval.
    """
    is_begin, is_inside, label = split_tags(tags)
    begins = is_begin | orphans(tags, lengths)
    continues = is_inside & ~begins
    ends = (begins | continues) & ~np.append(continues[1:], False)
    starts = np.flatnonzero(begins)
    return starts, np.flatnonzero(ends) + 1, label[starts].astype("int64")


def viterbi(probs: Floats, lengths: Ints) -> Ints:
    """Return the most probable legal tags of each sequence, shape (N,). All probabilities
    must be positive.
    """
    if not len(probs):
        return np.zeros(0, dtype="int64")
    legal = legal_transitions(probs.shape[1] // 2)
    packed = _Packed(lengths)
    scores = np.log(probs[packed.rows])
    barrier = np.where(legal, 0.0, -np.inf)
    pointers = np.zeros(scores.shape, dtype="int16")
    best = scores  # Updated in place to the score of the best path to each tag
    best[packed.step(0)] += barrier[OUTSIDE]
    for t in range(1, packed.n_steps):
        here, before = packed.step(t), packed.step_before(t)
        paths = best[before][:, :, None] + barrier
        pointers[here] = paths.argmax(axis=1)
        best[here] += paths.max(axis=1)
    path = np.zeros(len(scores), dtype="int64")
    for t in range(packed.n_steps - 1, -1, -1):
        here = packed.step(t)
        # Sequences are sorted by length, so those with a next step come first
        n_on = packed.n_active(t + 1)
        path[here.start + n_on : here.stop] = best[
            here.start + n_on : here.stop
        ].argmax(axis=1)
        if n_on:
            ahead = packed.step(t + 1)
            path[here.start : here.start + n_on] = pointers[
                np.arange(ahead.start, ahead.stop), path[ahead]
            ]
    tags = np.empty(len(path), dtype="int64")
    tags[packed.rows] = path
    return tags


def forward_backward(probs: Floats, lengths: Ints) -> tuple[Floats, Floats]:
    """Run the scaled forward-backward recursion over legal sequences.

    The scales are c_t = sum_j alpha_t(j) before normalization, so the product of the scales
    of a sequence is the probability that independent tags are legal.

    probs (ndarray): Shape (N, 2K + 1): positive tag probabilities.
    lengths (ndarray): Shape (D,): the lengths of the sequences.
    RETURNS (tuple[ndarray, ndarray]): The scales, shape (N,), and the scaled betas, shape
        (N, 2K + 1).
    """
    if not len(probs):
        return np.zeros(0), np.zeros(probs.shape)
    legal = legal_transitions(probs.shape[1] // 2).astype("float64")
    packed = _Packed(lengths)
    p = probs[packed.rows]
    alpha = p.copy()
    alpha[packed.step(0)] *= legal[OUTSIDE]
    scale = np.empty(len(p), dtype="float64")
    for t in range(packed.n_steps):
        here = packed.step(t)
        if t > 0:
            alpha[here] *= alpha[packed.step_before(t)] @ legal
        scale[here] = alpha[here].sum(axis=1)
        alpha[here] /= scale[here, None]
    beta = np.ones(p.shape, dtype="float64")
    for t in range(packed.n_steps - 1, 0, -1):
        here, before = packed.step(t), packed.step_before(t)
        beta[before] = (p[here] * beta[here]) @ legal.T
        # The factor of a row is arbitrary, because sum_j alpha_t(j) beta_t(j) = 1 sets it
        # below; the maximum prevents overflow
        beta[before] /= beta[before].max(axis=1, keepdims=True)
    beta /= (alpha * beta).sum(axis=1, keepdims=True)
    scales, betas = np.empty_like(scale), np.empty_like(beta)
    scales[packed.rows], betas[packed.rows] = scale, beta
    return scales, betas


class _Packed:
    """Sequences ordered by time step, the longest first, without padding. The rows of a step
    are contiguous, so a step is a slice.

        tokens  a0 a1 a2 | b0 | c0 c1      rows  a0 c0 b0 | a1 c1 | a2
    """

    def __init__(self, lengths: Ints):
        order = np.argsort(-lengths, kind="stable")
        self._counts: list[int] = []
        self.n_steps = int(lengths.max()) if len(lengths) else 0
        starts = starts_of(lengths)[:-1][order]
        sorted_lengths = lengths[order]
        # Number of sequences longer than t, for each t
        counts = np.searchsorted(
            -sorted_lengths, -np.arange(self.n_steps), side="left"
        ).astype("int64")
        self._offsets = starts_of(counts).tolist()
        step_of_row = np.repeat(np.arange(self.n_steps), counts)
        rank = np.arange(len(step_of_row)) - np.repeat(
            np.asarray(self._offsets[:-1], dtype="int64"), counts
        )
        self.rows: Ints = starts[rank] + step_of_row

    def n_active(self, t: int) -> int:
        """Return the number of sequences that have a step t."""
        if t >= self.n_steps:
            return 0
        return self._offsets[t + 1] - self._offsets[t]

    def step(self, t: int) -> slice:
        """Return the rows of step t."""
        return slice(self._offsets[t], self._offsets[t + 1])

    def step_before(self, t: int) -> slice:
        """Return the rows of step t - 1 of the sequences that have a step t."""
        start = self._offsets[t - 1]
        return slice(start, start + self.n_active(t))


def _repair_by_viterbi(probs: Floats, lengths: Ints, tags: Ints) -> None:
    # If the best tags of a sequence are legal, they are its best legal sequence, so only
    # the other sequences need the search
    offsets = starts_of(lengths)
    broken = np.flatnonzero(orphans(tags, lengths))
    if not len(broken):
        return
    sequences = np.unique(np.searchsorted(offsets, broken, side="right") - 1)
    rows = _rows_of(sequences, offsets)
    tags[rows] = viterbi(probs[rows], lengths[sequences])


def _rows_of(sequences: Ints, offsets: Ints) -> Ints:
    lengths = offsets[sequences + 1] - offsets[sequences]
    first = np.repeat(offsets[sequences] - starts_of(lengths)[:-1], lengths)
    return first + np.arange(lengths.sum())


def _greedy_confidences(
    probs: Floats, lengths: Ints, starts: Ints, ends: Ints, labels: Ints
) -> Floats:
    # Independent tags: the first token is B, or I after a tag of another label; I follows;
    # the token after the last is not I
    begin, inside = begin_tag(labels), inside_tag(labels)
    offsets = starts_of(lengths)
    at_start = np.isin(starts, offsets)
    before = np.maximum(starts - 1, 0)
    same_before = np.where(at_start, 0.0, probs[before, begin] + probs[before, inside])
    first = probs[starts, begin] + probs[starts, inside] * (1.0 - same_before)
    body = _sums(np.log(probs), starts + 1, ends, inside)
    at_end = np.isin(ends, offsets)
    after = np.minimum(ends, len(probs) - 1)
    last = np.where(at_end, 1.0, 1.0 - probs[after, inside])
    return first * np.exp(body) * last


def _constrained_confidences(
    probs: Floats, lengths: Ints, starts: Ints, ends: Ints, labels: Ints
) -> Floats:
    confidences = np.ones(len(starts), dtype="float64")
    if not len(starts):
        return confidences
    # Sequences without an entity need no recursion
    offsets = starts_of(lengths)
    sequences = np.unique(np.searchsorted(offsets, starts, side="right") - 1)
    rows = _rows_of(sequences, offsets)
    to_sub = np.empty(len(probs), dtype="int64")
    to_sub[rows] = np.arange(len(rows))
    p, sub_lengths = probs[rows], lengths[sequences]
    starts, lasts = to_sub[starts], to_sub[ends - 1]
    scales, betas = forward_backward(p, sub_lengths)
    ratio = p / scales[:, None]
    begin, inside = begin_tag(labels), inside_tag(labels)
    first = ratio[starts, begin]
    body = _sums(np.log(ratio), starts + 1, lasts + 1, inside)
    # An entity is followed by O or any B
    closing = np.ones(p.shape[1], dtype="float64")
    closing[2::2] = 0.0
    tail = (ratio * betas) @ closing
    at_end = np.isin(lasts + 1, starts_of(sub_lengths))
    last = np.where(at_end, 1.0, tail[np.minimum(lasts + 1, len(p) - 1)])
    return first * np.exp(body) * last


def _sums(values: Floats, starts: Ints, ends: Ints, columns: Ints) -> Floats:
    """Sum values[start:end, column] for each start, end and column, where end >= start."""
    lengths = ends - starts
    rows = np.repeat(starts - starts_of(lengths)[:-1], lengths) + np.arange(
        lengths.sum()
    )
    owner = np.repeat(np.arange(len(starts)), lengths)
    picked = values[rows, np.repeat(columns, lengths)]
    return np.bincount(owner, weights=picked, minlength=len(starts))


CONFIDENCES = {"greedy": _greedy_confidences, "constrained": _constrained_confidences}
