"""Does half of the sentences with entities do? Every strategy of `spacy welt select`, the same
number of update steps, `welt_ner` with the CPU config (vanilla weights, and WeLT's for some).

    python scripts/tiny_lm.py training/tiny_lm/weak corpus/*/train.spacy --width 128 --layers 2
    WELT_CORPORA_MIRROR=... python benchmarks/selection.py ncbi_disease --seeds 0 --seeds 1 --seeds 2

The weak model is a tiny one that has read nothing but training texts: what it finds hard
is not what a real one does. `random` draws anew for each seed. The tagger of the tagger
strategies is the model trained on all with seed 0.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import srsly
import typer
from common import ROOT, about, evaluate, format_mean_sd, prepare, run_trainings

from welt_spacy.scoring.significance import approximate_randomization

STRATEGIES = (
    *("all", "random", "hybrid_superfilter", "superfilter", "lowest_ifd"),
    *("longest", "most_mentions", "tagger_loss", "tagger_confidence"),
)
WITH_WELT = ("all", "random", "hybrid_superfilter")


def main(
    corpus: str,
    output: Path = Path("training/benchmarks/selection"),
    scorer_model: Path = Path("training/tiny_lm/weak"),
    piece_vectors: str = "training/minilm.vectors",
    strategies: list[str] = list(STRATEGIES),  # noqa: B006
    with_welt: list[str] = list(WITH_WELT),  # noqa: B006
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    keep: float = 0.5,
    steps: int = 1000,
    config: str = "welt_cpu",
    override: list[str] = [],  # noqa: B006
    n_jobs: int = 2,
) -> None:
    data = prepare(corpus, Path("corpus"))
    settings: dict[str, Any] = {
        "training.max_steps": steps,
        "training.eval_frequency": max(1, steps // 5),
        "paths.piece_vectors": piece_vectors,
        **dict(pair.split("=", 1) for pair in override),
    }
    if config != "welt_cpu":
        del settings["paths.piece_vectors"]
        output = output / config

    def job(strategy: str, scheme: str, seed: int, train: Path) -> dict[str, Any]:
        weighting = f"welt_spacy.{scheme}_weights.v1"
        return {
            "config": ROOT / "configs" / f"{config}.cfg",
            "data": data,
            "output": output / corpus / f"{strategy}-{scheme}-{seed}",
            "overrides": {
                **settings,
                "paths.train": train,
                "components.welt_ner.weighting.@misc": weighting,
                "system.seed": seed,
            },
            "threads": 1,
        }

    first = job("all", "vanilla", 0, data / "train.spacy")
    run_trainings([first], 1)
    jobs = {}
    for seed in seeds:
        for scheme in ("vanilla", "welt"):
            for strategy in strategies if scheme == "vanilla" else with_welt:
                train = data / "train.spacy"
                if strategy != "all":
                    tagger = first["output"] / "model-best"
                    train = select(
                        strategy,
                        data,
                        output / corpus,
                        seed,
                        keep,
                        scorer_model,
                        tagger,
                    )
                jobs[strategy, scheme, seed] = job(strategy, scheme, seed, train)
    run_trainings(list(jobs.values()), n_jobs)
    scores = {
        key: evaluate(
            one["output"] / "model-best", data / "test.spacy", data, one["output"]
        )
        for key, one in jobs.items()
    }
    print(
        f"\n{corpus}, {config}, {steps} steps, {len(seeds)} seeds, keep {keep:g}. "
        f"{about(['spacy', 'torch'])}\n"
    )
    print(
        "| strategy | weights | docs | mentions | F1 | strings F1 | unseen F1 | - random | p |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for scheme in ("vanilla", "welt"):
        for strategy in strategies if scheme == "vanilla" else with_welt:
            runs = [scores[strategy, scheme, seed] for seed in seeds]
            others = [scores["random", scheme, seed] for seed in seeds]
            f, strings = (
                [100 * r[way]["f"] for r in runs] for way in ("strict", "strings")
            )
            unseen = [
                100 * r["slices"]["mention in train"]["unseen"]["f"] for r in runs
            ]
            difference = np.mean(f) - np.mean([100 * r["strict"]["f"] for r in others])
            p = approximate_randomization(summed(runs), summed(others))
            n_docs, n_mentions = count_selected(strategy, output / corpus, seeds[0])
            print(
                f"| {strategy} | {scheme} | {n_docs} | {n_mentions} | {format_mean_sd(f)} | "
                f"{format_mean_sd(strings)} | {format_mean_sd(unseen)} | {difference:+.2f} | {p:.3f} |"
            )


def count_selected(strategy: str, output: Path, seed: int) -> tuple[str, str]:
    """Count the documents and mentions that a strategy selects."""
    if strategy == "all":
        return "all", "all"
    record = srsly.read_json(output / f"{name_of(strategy, seed)}.json")
    counts = record["summary"]["selected"]
    return f"{counts['docs']:,}", f"{sum(counts['mentions'].values()):,}"


def name_of(strategy: str, seed: int) -> str:
    return f"{strategy}-{seed}" if strategy == "random" else strategy


def select(
    strategy: str,
    data: Path,
    output: Path,
    seed: int,
    keep: float,
    scorer_model: Path,
    tagger: Path,
) -> Path:
    path = output / f"{name_of(strategy, seed)}.spacy"
    command = ["spacy", "welt", "select", str(data / "train.spacy"), str(path)]
    command += ["--strategy", strategy, "--keep", str(keep), "--seed", str(seed)]
    if "tagger" in strategy:
        command += ["--tagger", str(tagger)]
    elif "ifd" in strategy or "superfilter" in strategy:
        command += ["--scorer-model", str(scorer_model)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return path


def summed(runs: list[dict[str, Any]]) -> np.ndarray:
    """Sum the counts of each doc over all seeds, so that a test is of the docs."""
    return np.sum([np.array(run["by_doc"]) for run in runs], axis=0)


if __name__ == "__main__":
    typer.run(main)
