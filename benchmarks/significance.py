"""Tests of significance on simulated data: how often they see a difference.

    python benchmarks/significance.py [--rounds 1000]

Two models predict 1,000 sentences of about one entity each; sentences differ in how
hard they are, for both models alike. Where the models are equally good, a test at
the level of 5 % should see a difference in 5 % of the rounds (type I error); where
one finds more, as often as possible (power). Then seeds: runs scatter with a standard
deviation of 0.5 F1 and the means are 0.5 apart; with as many seeds as `seeds_needed`
says, Student's t should see it in 80 % of the rounds.
"""

import time
from statistics import mean

import numpy as np
import typer
from common import about
from scipy import stats

from welt_spacy.scoring.significance import (
    approximate_randomization,
    f1,
    paired_bootstrap,
    seeds_needed,
)

LEVEL = 0.05


def simulate(rng: np.random.Generator, n: int, recall: float, spurious: float):
    """Simulate the counts of a model on n sentences, as `count_sentences` gives them, and what
    makes sentences hard."""
    gold = rng.poisson(1.1, size=n)
    hard = rng.beta(4, 1, size=n)

    def model(recall: float, spurious: float):
        right = rng.binomial(gold, np.clip(hard * recall / 0.8, 0, 1))
        return np.stack([right, right + rng.poisson(spurious, size=n), gold], axis=1)

    return model(0.85, 0.15), model(recall, spurious)


def main(
    rounds: int = 1000, sentences: int = 1000, draws: int = 1000, seed: int = 0
) -> None:
    rng = np.random.default_rng(seed)
    print(
        "| second model | F1 over the first | bootstrap sees it | randomization | ms |"
    )
    print("|---|---|---|---|---|")
    for name, recall, spurious in (
        ("equally good", 0.85, 0.15),
        ("2 points of recall more", 0.87, 0.15),
        ("4 points of recall more", 0.89, 0.15),
        ("fewer spurious (0.15 to 0.10 a sentence)", 0.85, 0.10),
    ):
        gaps, seen, seconds = [], {"bootstrap": 0, "randomization": 0}, 0.0
        for i in range(rounds):
            one, other = simulate(rng, sentences, recall, spurious)
            gaps.append(float(f1(other.sum(axis=0)) - f1(one.sum(axis=0))))
            started = time.perf_counter()
            result = paired_bootstrap(other, one, draws=draws, seed=i)
            seen["bootstrap"] += result.p_value < LEVEL
            p = approximate_randomization(other, one, draws=draws, seed=i)
            seen["randomization"] += p < LEVEL
            seconds += time.perf_counter() - started
        shares = " | ".join(f"{n / rounds:.1%}" for n in seen.values())
        print(
            f"| {name} | {100 * mean(gaps):+.2f} | {shares} "
            f"| {1000 * seconds / rounds:.0f} |",
            flush=True,
        )
    n = seeds_needed(0.5, 0.5)
    print(
        f"\n| seeds of each | means apart by | t-test sees it, of {10 * rounds:,} rounds |"
    )
    print("|---|---|---|")
    for count, gap in ((n, 0.5), (n - 1, 0.5), (n, 0.0)):
        runs = rng.normal(80, 0.5, size=(2, 10 * rounds, count))
        runs[1] += gap
        p_values = stats.ttest_ind(runs[0], runs[1], axis=1).pvalue
        print(f"| {count} | {gap} | {(p_values < LEVEL).mean():.1%} |")
    error = 1.96 * (LEVEL * (1 - LEVEL) / rounds) ** 0.5
    print(
        f"\n{rounds:,} rounds: a true 5 % shows as 5 ± {100 * error:.1f} %. "
        f"{about(['numpy', 'scipy'])}"
    )


if __name__ == "__main__":
    typer.run(main)
