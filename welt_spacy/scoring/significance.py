"""A gain, or luck? Tests for two models on one test set, and for many seeds.

F1 over a test set is not a mean over its sentences, so its tests resample sentences (or
documents) and count again. Sentences with the same counts can stand for each other:
a resample is drawn as how often each kind of sentence occurs, which is the same
distribution and takes milliseconds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError
from .pairs import PairedDoc
from .spans import LabelledSpan, require_same_sentences

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

DRAWS = 10_000
# Draws that are looked at together: bounds memory, and changes no result.
CHUNK = 2_000


class Difference(NamedTuple):
    """The F1 of one model over that of another, on the same sentences.

    value (float): F1 of the first minus F1 of the second, in [-1, 1].
    p_value (float): How often a difference at least as large comes about by chance,
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
    """Count what strict F1 is made of, sentence by sentence.

    gold (Sequence[Sequence[LabelledSpan]]): The gold spans of each sentence, or of
        each document, which are then what is resampled.
    predicted (Sequence[Sequence[LabelledSpan]]): The predictions.
    RETURNS (ndarray): Shape (n_sentences, 3), int64: right, predicted, gold.
    RAISES (WeltError): If one has more sentences than the other.
    """
    require_same_sentences(gold, predicted)
    rows = [
        (len(set(one) & set(other)), len(set(other)), len(set(one)))
        for one, other in zip(gold, predicted)
    ]
    return np.array(rows, dtype="int64").reshape(-1, 3)


def count_docs(docs: Sequence[PairedDoc]) -> Counts:
    """Count what strict F1 is made of, doc by doc.

    docs (Sequence[PairedDoc]): Predictions, paired with references.
    RETURNS (ndarray): Shape (n_docs, 3), int64: right, predicted, gold.
    """
    return count_sentences([doc.gold for doc in docs], [doc.predicted for doc in docs])


def f1(counts: NDArray) -> Floats:
    """Compute F1 from sums of counts.

    counts (ndarray): Shape (..., 3): right, predicted, gold.
    RETURNS (ndarray): Shape (...): 2 right / (predicted + gold); 0 without spans.
    """
    total = counts[..., 1] + counts[..., 2]
    return np.where(total > 0, 2 * counts[..., 0] / np.maximum(total, 1), 0.0)


def paired_bootstrap(
    one: Counts,
    other: Counts,
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Resample sentences with replacement, the same for both models (Efron and
    Tibshirani 1993; Berg-Kirkpatrick et al. 2012).

    one, other (ndarray): Shape (n_sentences, 3): the counts of each model on the
        same sentences; see `count_sentences`.
    draws (int): How many resamples.
    confidence (float): The level of the interval.
    seed (int): The random seed.
    RETURNS (Difference): The interval is that of percentiles. The p-value is the
        share of resamples in which the difference strays from the one observed by
        at least as much as that is from 0.
    RAISES (WeltError): If the counts are not of the same sentences, or there are
        none.
    """
    kinds, sizes = _kinds(one, other)
    rng = np.random.default_rng(seed)
    n = int(sizes.sum())
    found = []
    for start in range(0, draws, CHUNK):
        picked = rng.multinomial(n, sizes / n, size=min(CHUNK, draws - start))
        sums = picked @ kinds
        found.append(f1(sums[:, :3]) - f1(sums[:, 3:]))
    differences = np.concatenate(found)
    value = _difference(one, other)
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
    """Get confidence intervals of strict scores by resampling sentences.

    counts (ndarray): Shape (n_sentences, 3); see `count_sentences`.
    draws, confidence, seed: As in `paired_bootstrap`.
    RETURNS (dict[str, tuple[float, float]]): The intervals of "p", "r" and "f".
    RAISES (WeltError): If there are no sentences.
    """
    if not len(counts):
        raise WeltError("There are no sentences to resample")
    kinds, sizes = np.unique(counts, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    n = int(sizes.sum())
    sums = rng.multinomial(n, sizes / n, size=draws) @ kinds
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
    one: Counts, other: Counts, *, draws: int = DRAWS, seed: int = 0
) -> float:
    """Swap the models at random, sentence by sentence: if they were the same, the
    difference would be as large as often (Noreen 1989; Yeh 2000).

    one, other (ndarray): As in `paired_bootstrap`.
    draws (int): How many times all sentences are swapped or not.
    seed (int): The random seed.
    RETURNS (float): The p-value, two-sided.
    RAISES (WeltError): As in `paired_bootstrap`.
    """
    kinds, sizes = _kinds(one, other)
    rng = np.random.default_rng(seed)
    total = sizes @ kinds
    # What a swapped sentence takes from the first model and gives to the second
    moves = kinds[:, 3:] - kinds[:, :3]
    found = []
    for start in range(0, draws, CHUNK):
        shape = (min(CHUNK, draws - start), len(sizes))
        moved = rng.binomial(sizes, 0.5, size=shape) @ moves
        found.append(f1(total[:3] + moved) - f1(total[3:] - moved))
    observed = abs(_difference(one, other))
    return _p_value(np.abs(np.concatenate(found)) >= observed - 1e-12)


def _kinds(one: Counts, other: Counts) -> tuple[Counts, Counts]:
    """The different rows of both, side by side, and how often each occurs."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.ndim != 2 or one.shape[1] != 3:
        raise WeltError(
            f"Counts of shape {one.shape} and {other.shape} are not of the same "
            "sentences: each needs (n_sentences, 3)"
        )
    if not len(one):
        raise WeltError("There are no sentences to compare")
    if (one[:, 2] != other[:, 2]).any():
        raise WeltError("The models were scored on different gold annotation")
    kinds, sizes = np.unique(np.hstack([one, other]), axis=0, return_counts=True)
    return kinds, sizes


def _difference(one: Counts, other: Counts) -> float:
    return float(f1(one.sum(axis=0)) - f1(other.sum(axis=0)))


def _p_value(beyond: NDArray[np.bool_]) -> float:
    # What was observed is one of the draws: never 0 (Davison and Hinkley 1997)
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
    draws (int): Resamples for the bootstrap interval, which is too narrow for fewer
        than about ten runs: a few runs show little of what others would.
    seed (int): The random seed.
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
    # Here, because every spaCy command imports this module and scipy is slow to import
    from scipy import stats

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

    scores (Mapping[str, Sequence[float]]): For each scheme its scores; the same
        place in each is the same corpus, encoder and seed. Seeds of one corpus are
        not independent corpora: with few corpora give one mean a corpus, or read the
        p-values as those of these corpora alone.
    baseline (str): The scheme to test against.
    RETURNS (dict[str, float]): The corrected p-value of every other scheme,
        two-sided; 1.0 where nothing differs.
    RAISES (WeltError): If the baseline is missing, or scores are not paired.
    """
    if baseline not in scores:
        raise WeltError(f"There is no scheme {baseline!r} among {', '.join(scores)}")
    base = np.asarray(scores[baseline], dtype="float64")
    found = {}
    from scipy import stats

    for name, values in scores.items():
        if name == baseline:
            continue
        if len(values) != len(base):
            raise WeltError(
                f"{name} has {len(values)} scores and {baseline} {len(base)}: each needs "
                "one for the same corpora and seeds"
            )
        gaps = np.asarray(values, dtype="float64") - base
        found[name] = float(stats.wilcoxon(gaps).pvalue) if gaps.any() else 1.0
    return dict(zip(found, holm(list(found.values()))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    p_values (Sequence[float]): The p-values.
    RETURNS (list[float]): The corrected ones, in the same order.
    """
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
    """How many seeds of each of two systems it takes to see a difference.

    difference (float): The difference of their means, in the unit of `sd`.
    sd (float): The standard deviation of a run, the same for both.
    power (float): The chance to see it.
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
    from scipy import stats

    def reached(n: int) -> bool:
        freedom = 2 * n - 2
        limit = stats.t.ppf(1 - alpha / 2, freedom)
        shift = abs(difference) / sd * (n / 2) ** 0.5
        seen = stats.nct.sf(limit, freedom, shift) + stats.nct.cdf(
            -limit, freedom, shift
        )
        return bool(seen >= power)

    high = 2
    while not reached(high):
        high *= 2
    low = high // 2
    while high - low > 1 and high > 2:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return max(high, 2)
