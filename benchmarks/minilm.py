"""WeLT and vanilla weights on MiniLM-L6, BC5CDR-chemical: F1 on dev after each
epoch, and on dev and test at the end.

    python benchmarks/minilm.py [--config welt] [--seeds 0] [--epochs 3]

Takes about 25 minutes on 2 cores for one seed of both schemes.
"""

import re
from pathlib import Path
from typing import List

import typer
from common import ROOT, about, prepare, run_trainings, score, spread

# configs/welt.cfg makes 274 or 275 batches an epoch of BC5CDR.
STEPS_PER_EPOCH = 275


def main(
    output: Path = Path("training/benchmarks/minilm"),
    encoder: Path = Path("assets/encoders/minilm"),
    corpus: str = "bc5cdr_chemical",
    config: str = "welt",
    schemes: List[str] = ["vanilla", "welt"],  # noqa: B006
    seeds: List[int] = [0],  # noqa: B006
    epochs: int = 3,
    at_once: int = 2,
) -> None:
    data = prepare(corpus, Path("corpus"))
    runs = [(seed, scheme) for seed in seeds for scheme in schemes]
    run_trainings(
        [
            {
                "config": ROOT / "configs" / f"{config}.cfg",
                "data": data,
                "output": output / config / f"{scheme}-{seed}",
                "overrides": {
                    "paths.encoder": str(encoder),
                    "system.seed": str(seed),
                    "components.welt_ner.weighting.@misc": f"welt_spacy.{scheme}_weights.v1",
                    "training.max_epochs": "0",
                    "training.max_steps": str(STEPS_PER_EPOCH * epochs),
                    "training.eval_frequency": str(STEPS_PER_EPOCH),
                    "training.optimizer.learn_rate.initial_rate": "1e-4",
                    "training.optimizer.learn_rate.warmup_steps": "100",
                    "training.optimizer.learn_rate.total_steps": str(
                        STEPS_PER_EPOCH * epochs
                    ),
                },
                "threads": max(1, 2 // at_once),
            }
            for seed, scheme in runs
        ],
        at_once,
    )
    print(
        "| scheme | dev F1 by evaluation | dev P / R / F1 | test P / R / F1 | minutes |"
    )
    print("|---|---|---|---|---|")
    for scheme in schemes:
        curve, minutes, scores = [], [], {"dev": [], "test": []}
        for seed in seeds:
            folder = output / config / f"{scheme}-{seed}"
            rows = re.findall(
                r"^ +\d+ +\d+ .*", (folder / "train.log").read_text(), re.MULTILINE
            )
            curve.append(", ".join(row.split()[-4] for row in rows[1:]))
            minutes.append(float((folder / "seconds").read_text()) / 60)
            for split, found in scores.items():
                found.append(score(folder / "model-best", data, split))
        cells = [
            " / ".join(spread([s[name] for s in scores[split]]) for name in "prf")
            for split in scores
        ]
        print(
            f"| {scheme} | {'; '.join(curve)} | {' | '.join(cells)} "
            f"| {spread(minutes)} |"
        )
    print(f"\n{len(seeds)} seed(s); {about(['spacy', 'spacy-transformers', 'torch'])}")


if __name__ == "__main__":
    typer.run(main)
