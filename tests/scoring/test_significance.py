"""Significance tests against cases computed by hand, by enumeration and by scipy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from welt_spacy.errors import WeltError
from welt_spacy.scoring.significance import (
    approximate_randomization,
    compare_schemes,
    count_sentences,
    f1,
    holm,
    paired_bootstrap,
    seeds_needed,
    summarize,
)


def make_counts(n, quality, seed, gold=None):
    """Return counts of sentences with a few entities, each predicted with a probability."""
    rng = np.random.default_rng(seed)
    gold = rng.poisson(1.1, n) if gold is None else gold
    right = rng.binomial(gold, quality)
    predicted = right + rng.binomial(gold, 0.15)
    return np.column_stack([right, predicted, gold])


def test_counts_of_sentences():
    gold = [[("x", 0, 2), ("y", 3, 4)], [], [("x", 1, 2)]]
    predicted = [[("x", 0, 2), ("x", 3, 4)], [("x", 0, 1)], []]
    counts = count_sentences(gold, predicted)
    assert counts.tolist() == [[1, 2, 2], [0, 1, 0], [0, 0, 1]]
    assert f1(counts.sum(axis=0)) == pytest.approx(2 * 1 / (3 + 3))
    with pytest.raises(WeltError, match="3 documents .* 1 with"):
        count_sentences(gold, [[]])


def test_randomization_is_that_of_all_swaps():
    a = np.array([[2, 2, 2], [1, 1, 1], [0, 0, 1], [1, 1, 2], [1, 2, 1]])
    b = np.array([[1, 2, 2], [0, 1, 1], [0, 1, 1], [1, 1, 2], [0, 0, 1]])
    observed = abs(f1(a.sum(0)) - f1(b.sum(0)))
    hits = 0
    for swaps in product([False, True], repeat=len(a)):
        swapped = np.array(swaps)[:, None]
        first, second = np.where(swapped, b, a), np.where(swapped, a, b)
        hits += abs(f1(first.sum(0)) - f1(second.sum(0))) >= observed - 1e-12
    exact = hits / 2 ** len(a)
    p_value = approximate_randomization(a, b, draws=40_000)
    assert p_value == pytest.approx(exact, abs=0.01)


def test_bootstrap_is_that_of_resampled_sentences():
    a = make_counts(80, 0.8, 0)
    b = make_counts(80, 0.7, 1, a[:, 2])
    rng = np.random.default_rng(5)
    rows = rng.integers(80, size=(20_000, 80))
    plain = f1(a[rows].sum(1)) - f1(b[rows].sum(1))
    difference = paired_bootstrap(a, b, draws=20_000)
    assert difference.value == pytest.approx(f1(a.sum(0)) - f1(b.sum(0)))
    assert difference.interval == pytest.approx(
        np.percentile(plain, [2.5, 97.5]), abs=0.004
    )
    beyond = np.mean(np.abs(plain - difference.value) >= abs(difference.value))
    assert difference.p_value == pytest.approx(beyond, abs=0.01)


def test_the_same_model_is_no_better():
    a = make_counts(200, 0.8, 0)
    assert paired_bootstrap(a, a) == (0.0, 1.0, (0.0, 0.0))
    assert approximate_randomization(a, a) == 1.0


def test_order_of_the_models_turns_the_sign():
    a = make_counts(300, 0.85, 0)
    b = make_counts(300, 0.8, 1, a[:, 2])
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert there.value == -back.value
    assert there.p_value == pytest.approx(back.p_value, abs=0.02)
    assert approximate_randomization(a, b) == pytest.approx(there.p_value, abs=0.1)


def test_a_large_difference_is_significant():
    """Compare as many sentences as in BC5CDR's test split."""
    a = make_counts(4797, 0.88, 0)
    b = make_counts(4797, 0.84, 1, a[:, 2])
    difference = paired_bootstrap(a, b)
    p_value = approximate_randomization(a, b)
    assert difference.p_value < 0.001 and p_value < 0.001
    assert difference.interval[0] > 0


def test_level_of_the_tests():
    """Check that equally good models differ in 10 % of the tests at the 10 % level."""
    n = 200
    hits = {"bootstrap": 0, "randomization": 0}
    for seed in range(n):
        a = make_counts(400, 0.8, 2 * seed)
        b = make_counts(400, 0.8, 2 * seed + 1, a[:, 2])
        hits["bootstrap"] += paired_bootstrap(a, b, draws=500).p_value < 0.1
        hits["randomization"] += approximate_randomization(a, b, draws=500) < 0.1
    for name, count in hits.items():
        # 4.5 standard deviations of a binomial
        assert count == pytest.approx(0.1 * n, abs=4.5 * (n * 0.09) ** 0.5), name


@pytest.mark.parametrize(
    "a, b, message",
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), "not of the same sentences"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no sentences"),
        (np.array([[0, 0, 1]]), np.array([[0, 0, 2]]), "different gold"),
    ],
)
def test_counts_that_can_not_be_compared(a, b, message):
    for test in (paired_bootstrap, approximate_randomization):
        with pytest.raises(WeltError, match=message):
            test(a.astype(int), b.astype(int))


def test_summary_of_seeds():
    scores = [84.1, 84.9, 84.4, 85.0, 83.8]
    summary = summarize(scores)
    assert (summary.mean, summary.sd) == pytest.approx(
        (np.mean(scores), np.std(scores, ddof=1))
    )
    t = stats.ttest_1samp(scores, 0).confidence_interval()
    assert summary.t_interval == pytest.approx((t.low, t.high))
    low, high = summary.bootstrap_interval
    assert summary.t_interval[0] < low < summary.mean < high < summary.t_interval[1]
    assert np.isnan(summarize([84.0]).sd)
    with pytest.raises(WeltError, match="no scores"):
        summarize([])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_holm_is_between_nothing_and_bonferroni(p_values):
    for raw, corrected in zip(p_values, holm(p_values)):
        assert raw <= corrected + 1e-12
        assert corrected <= min(1.0, raw * len(p_values)) + 1e-12
    smallest = int(np.argmin(p_values))
    assert holm(p_values)[smallest] == pytest.approx(
        min(1.0, p_values[smallest] * len(p_values))
    )


def test_schemes_against_a_baseline():
    rng = np.random.default_rng(0)
    base = rng.normal(84, 1, size=12)
    scores = {
        "vanilla": base,
        "better": base + rng.normal(0.5, 0.1, size=12),
        "same": base,
        "noise": base + rng.normal(0, 0.3, size=12),
    }
    p_values = compare_schemes(scores, "vanilla")
    assert (
        p_values["better"] < 0.01
        and p_values["same"] == 1.0
        and p_values["noise"] > 0.05
    )
    raw = stats.wilcoxon(scores["better"] - base).pvalue
    assert p_values["better"] == pytest.approx(3 * raw)
    with pytest.raises(WeltError, match="no scheme 'ens'"):
        compare_schemes(scores, "ens")
    with pytest.raises(WeltError, match="same corpora and seeds"):
        compare_schemes({"a": [1.0], "b": [1.0, 2.0]}, "a")


def test_seeds_needed_as_in_the_tables():
    # Cohen (1988): d = 0.5 takes 64 in each group, d = 0.8 takes 26
    assert seeds_needed(0.5, 1.0) == 64
    assert seeds_needed(0.8, 1.0) == 26
    assert seeds_needed(-0.8, 1.0) == 26
    assert seeds_needed(10.0, 1.0) == seeds_needed(1.0, 0.0) == 2
    with pytest.raises(WeltError, match="must not be 0"):
        seeds_needed(0.0, 1.0)


def test_power_by_simulation():
    n = seeds_needed(0.45, 0.5)
    rng = np.random.default_rng(0)
    a = rng.normal(0.45, 0.5, size=(4000, n))
    b = rng.normal(0.0, 0.5, size=(4000, n))
    power = np.mean(stats.ttest_ind(a, b, axis=1).pvalue < 0.05)
    assert 0.78 < power < 0.86
