"""Significance tests for two models on one test set, and for many seeds.

F1 over a test set is not a mean over its sentences, so the tests resample sentences (or
documents) and count again. Sentences with the same counts are interchangeable, so a
resample is drawn as the number of occurrences of each distinct row of counts. This has the
same distribution and takes milliseconds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError
from .pairs import PairedDoc
from .spans import LabelledSpan, require_same_length

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

DRAWS = 10_000
# Draws that are computed together; bounds the memory without changing the results
CHUNK = 2_000


class Difference(NamedTuple):
    """The difference of the F1 of two models on the same sentences.

    value (float): F1 of the first minus F1 of the second, in [-1, 1].
    p_value (float): The probability of a difference at least as large by chance,
        two-sided.
    interval (tuple[float, float]): The confidence interval of the difference.
    """

    value: float
    p_value: float
    interval: tuple[float, float]


class Summary(NamedTuple):
    """A score over seeds.

    mean (float): The mean.
    sd (float): The standard deviation of a run (with n - 1); nan of a single run.
    t_interval (tuple[float, float]): Interval of the mean by Student's t.
    bootstrap_interval (tuple[float, float]): The same by resampling the runs.
    """

    mean: float
    sd: float
    t_interval: tuple[float, float]
    bootstrap_interval: tuple[float, float]


def count_sentences(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]]
) -> Counts:
    """Count right, predicted and gold spans of each sentence.

    gold (Sequence[Sequence[LabelledSpan]]): The gold spans of each sentence, or of
        each document; this is the unit that is resampled.
    predicted (Sequence[Sequence[LabelledSpan]]): The predictions.
    RETURNS (ndarray): Shape (n_sentences, 3), int64: right, predicted, gold.
    RAISES (WeltError): If one has more sentences than the other.
    """
    require_same_length(gold, predicted)
    rows = [
        (len(set(spans) & set(guesses)), len(set(guesses)), len(set(spans)))
        for spans, guesses in zip(gold, predicted)
    ]
    return np.array(rows, dtype="int64").reshape(-1, 3)


def count_docs(docs: Sequence[PairedDoc]) -> Counts:
    """Count right, predicted and gold spans of each document: shape (n_docs, 3), int64."""
    return count_sentences([doc.gold for doc in docs], [doc.predicted for doc in docs])


def f1(counts: NDArray) -> Floats:
    """Compute F1 from counts of shape (..., 3): right, predicted, gold; 0 without spans."""
    total = counts[..., 1] + counts[..., 2]
    return np.where(total > 0, 2 * counts[..., 0] / np.maximum(total, 1), 0.0)


def paired_bootstrap(
    a: Counts,
    b: Counts,
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Sample sentences with replacement, the same for both models (Efron and
    Tibshirani 1993; Berg-Kirkpatrick et al. 2012).

    a, b (ndarray): Shape (n_sentences, 3): the counts of each model on the
        same sentences; see `count_sentences`.
    draws (int): Number of resamples.
    confidence (float): The level of the interval.
    seed (int): Random seed.
    RETURNS (Difference): The interval is a percentile interval. The p-value is the
        share of resamples whose difference is at least as far from the observed
        difference as that is from 0.
    RAISES (WeltError): If the counts are not of the same sentences, or there are
        none.
    """
    rows, sizes = _distinct_rows(a, b)
    rng = np.random.default_rng(seed)
    n = int(sizes.sum())
    chunks = []
    for start in range(0, draws, CHUNK):
        picked = rng.multinomial(n, sizes / n, size=min(CHUNK, draws - start))
        sums = picked @ rows
        chunks.append(f1(sums[:, :3]) - f1(sums[:, 3:]))
    differences = np.concatenate(chunks)
    value = _difference(a, b)
    beyond = np.abs(differences - value) >= abs(value) - 1e-12
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Difference(value, _p_value(beyond), (float(low), float(high)))


def score_intervals(
    counts: Counts,
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Compute confidence intervals of strict scores by resampling sentences.

    counts (ndarray): Shape (n_sentences, 3); see `count_sentences`.
    draws, confidence, seed: As in `paired_bootstrap`.
    RETURNS (dict[str, tuple[float, float]]): The intervals of "p", "r" and "f".
    RAISES (WeltError): If there are no sentences.
    """
    if not len(counts):
        raise WeltError("There are no sentences to resample")
    rows, sizes = np.unique(counts, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    n = int(sizes.sum())
    sums = rng.multinomial(n, sizes / n, size=draws) @ rows
    right, predicted, gold = sums.T
    tail = 100 * (1 - confidence) / 2
    intervals = {}
    for name, values in (
        ("p", right / np.maximum(predicted, 1)),
        ("r", right / np.maximum(gold, 1)),
        ("f", f1(sums)),
    ):
        low, high = np.percentile(values, [tail, 100 - tail])
        intervals[name] = (float(low), float(high))
    return intervals


def approximate_randomization(
    a: Counts, b: Counts, *, draws: int = DRAWS, seed: int = 0
) -> float:
    """Swap the models at random, sentence by sentence. Between equal models, swaps leave
    the distribution of the difference unchanged (Noreen 1989; Yeh 2000).

    a, b (ndarray): As in `paired_bootstrap`.
    draws (int): Number of random assignments of swaps to sentences.
    seed (int): Random seed.
    RETURNS (float): The p-value, two-sided.
    RAISES (WeltError): As in `paired_bootstrap`.
    """
    rows, sizes = _distinct_rows(a, b)
    rng = np.random.default_rng(seed)
    total = sizes @ rows
    # Counts that a swapped sentence moves from the second model to the first
    moves = rows[:, 3:] - rows[:, :3]
    chunks = []
    for start in range(0, draws, CHUNK):
        shape = (min(CHUNK, draws - start), len(sizes))
        moved = rng.binomial(sizes, 0.5, size=shape) @ moves
        chunks.append(f1(total[:3] + moved) - f1(total[3:] - moved))
    observed = abs(_difference(a, b))
    return _p_value(np.abs(np.concatenate(chunks)) >= observed - 1e-12)


def _distinct_rows(a: Counts, b: Counts) -> tuple[Counts, Counts]:
    """Return the distinct rows of both, side by side, and the number of each."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 3:
        raise WeltError(
            f"Counts of shape {a.shape} and {b.shape} are not of the same sentences: "
            "each needs (n_sentences, 3)"
        )
    if not len(a):
        raise WeltError("There are no sentences to compare")
    if (a[:, 2] != b[:, 2]).any():
        raise WeltError("The models were scored on different gold annotation")
    rows, sizes = np.unique(np.hstack([a, b]), axis=0, return_counts=True)
    return rows, sizes


def _difference(a: Counts, b: Counts) -> float:
    return float(f1(a.sum(axis=0)) - f1(b.sum(axis=0)))


def _p_value(beyond: NDArray[np.bool_]) -> float:
    # The observed difference is one of the draws, so this is never 0 (Davison and
    # Hinkley 1997)
    return float((beyond.sum() + 1) / (len(beyond) + 1))


def summarize(
    scores: Sequence[float],
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Summary:
    """Summarize a score over seeds.

    scores (Sequence[float]): The score of each run.
    confidence (float): The level of the intervals.
    draws (int): Number of resamples for the bootstrap interval, which is too narrow for
        fewer than about ten runs.
    seed (int): Random seed.
    RETURNS (Summary): Mean, standard deviation, intervals (nan of a single run).
    RAISES (WeltError): If there is no score.
    """
    values = np.asarray(scores, dtype="float64")
    if not len(values):
        raise WeltError("There are no scores to summarize")
    mean = float(values.mean())
    if len(values) == 1:
        nan = float("nan")
        return Summary(mean, nan, (nan, nan), (nan, nan))
    from scipy import stats  # slow to import

    sd = float(values.std(ddof=1))
    margin = (
        stats.t.ppf((1 + confidence) / 2, len(values) - 1) * sd / len(values) ** 0.5
    )
    rng = np.random.default_rng(seed)
    means = rng.choice(values, size=(draws, len(values))).mean(axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Summary(
        mean,
        sd,
        (mean - float(margin), mean + float(margin)),
        (float(low), float(high)),
    )


def compare_schemes(
    scores: Mapping[str, Sequence[float]], baseline: str
) -> dict[str, float]:
    """Test schemes against a baseline over corpora and seeds: Wilcoxon's signed rank
    test on paired runs, corrected by Holm for the number of schemes.

    scores (Mapping[str, Sequence[float]]): The scores of each scheme; the same index
        is the same corpus, encoder and seed. Seeds of one corpus are not independent
        corpora: with few corpora give one mean per corpus, or restrict conclusions to
        these corpora.
    baseline (str): The scheme to test against.
    RETURNS (dict[str, float]): The corrected p-value of every other scheme,
        two-sided; 1.0 if all scores are equal.
    RAISES (WeltError): If the baseline is missing, or scores are not paired.
    """
    if baseline not in scores:
        raise WeltError(f"There is no scheme {baseline!r} among {', '.join(scores)}")
    base = np.asarray(scores[baseline], dtype="float64")
    from scipy import stats  # slow to import

    p_values = {}

    for name, values in scores.items():
        if name == baseline:
            continue
        if len(values) != len(base):
            raise WeltError(
                f"{name} has {len(values)} scores and {baseline} {len(base)}: each needs "
                "one for the same corpora and seeds"
            )
        gaps = np.asarray(values, dtype="float64") - base
        p_values[name] = float(stats.wilcoxon(gaps).pvalue) if gaps.any() else 1.0
    return dict(zip(p_values, holm(list(p_values.values()))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979), in the same order."""
    values = np.asarray(p_values, dtype="float64")
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    corrected = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    result = np.empty_like(corrected)
    result[order] = corrected
    return result.tolist()


def seeds_needed(
    difference: float, sd: float, *, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Compute the number of seeds of each of two systems that a significant difference
    needs.

    difference (float): The difference of their means, in the unit of `sd`.
    sd (float): The standard deviation of a run, the same for both.
    power (float): The probability that the test is significant.
    alpha (float): The level of the test, Student's t, two-sided.
    RETURNS (int): The seeds of each system, at least 2.
    RAISES (WeltError): If a value is out of its range.
    """
    if difference == 0 or sd < 0 or not 0 < alpha < 1 or not 0 < power < 1:
        raise WeltError(
            "The difference must not be 0, the deviation not negative, power and alpha "
            f"between 0 and 1; got {difference}, {sd}, {power} and {alpha}"
        )
    if sd == 0:
        return 2
    from scipy import stats  # slow to import

    def has_power(n: int) -> bool:
        freedom = 2 * n - 2
        limit = stats.t.ppf(1 - alpha / 2, freedom)
        shift = abs(difference) / sd * (n / 2) ** 0.5
        rejected = stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(
            -limit, freedom, shift
        )
        return bool(rejected >= power)

    high = 2
    while not has_power(high):
        high *= 2
    low = high // 2
    while high - low > 1 and high > 2:
        middle = (low + high) // 2
        low, high = (low, middle) if has_power(middle) else (middle, high)
    return max(high, 2)
