"""Class weights, or a shift of O without retraining? At the same recall on dev.

    spacy welt experiment run configs/experiments/schemes.yml
    python benchmarks/bias_or_weights.py [--runs training/experiments/schemes]

For each seed the vanilla pipeline of the experiment gets the `o_bias` that has the
best precision among those with at least the recall that the WeLT pipeline has on dev
(its threshold stays), and for comparison the `o_bias` and threshold of the best F1.
Scores on test.
"""

from pathlib import Path

import spacy
import typer
from common import about, format_mean_sd

from welt_spacy.evaluation.tuning.decoding import Point, sweep_o_bias, tune_decoding
from welt_spacy.evaluation.tuning.objective import Objective
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.pipeline.inference import get_welt_ner
from welt_spacy.tokens.docs import read_examples


def score(nlp, path: Path) -> Point:
    """Score a pipeline with its own settings."""
    bias = get_welt_ner(nlp).o_bias
    (point,) = sweep_o_bias(predict_dev(nlp, read_examples(nlp, path)), [bias])
    return point


def latest(runs: Path, name: str) -> Path:
    """Return the folder of a run, the newest of several."""
    folders = (runs / "runs").glob(f"{name}-*")
    return max(folders, key=lambda path: (path / "run.json").stat().st_mtime)


def main(
    corpora: list[str] = ["bc5cdr_chemical", "bc5cdr_disease", "linnaeus"],  # noqa: B006
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    runs: Path = Path("training/experiments/schemes"),
    data: Path = Path("corpus"),
) -> None:
    print("| | | test P | R | F1 | `o_bias` by seed |")
    print("|---|---|---|---|---|---|")
    for corpus in corpora:
        dev, test = (data / corpus / f"{split}.spacy" for split in ("dev", "test"))
        by_side: dict[str, list[Point]] = {}
        for seed in seeds:
            vanilla, welt = (
                spacy.load(latest(runs, f"{corpus}-{scheme}-{seed}") / "model-best")
                for scheme in ("vanilla", "welt")
            )
            by_side.setdefault("WeLT", []).append(score(welt, test))
            by_side.setdefault("vanilla", []).append(score(vanilla, test))
            sought = Objective(at_least=("r", score(welt, dev).r))
            predictions = predict_dev(vanilla, read_examples(vanilla, dev))
            tune_decoding(predictions, sought, keep_threshold=True)
            by_side.setdefault("vanilla, WeLT's recall on dev", []).append(
                score(vanilla, test)
            )
            tune_decoding(predictions, Objective())
            by_side.setdefault("vanilla, best F1 on dev", []).append(
                score(vanilla, test)
            )
        for side, points in by_side.items():
            cells = [
                format_mean_sd([100 * getattr(p, name) for p in points])
                for name in "prf"
            ]
            biases = ", ".join(f"{point.o_bias:+.2f}" for point in points)
            print(f"| {corpus} | {side} | {' | '.join(cells)} | {biases} |", flush=True)
    print(f"\nSeeds {', '.join(map(str, seeds))}; mean ± standard deviation; "
          f"{about(['spacy', 'thinc'])}")  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
