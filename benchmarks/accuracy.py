"""Accuracy on one encoder at equal epochs: a bare PyTorch loop, spaCy's `ner` on
spacy-transformers, and `welt_ner` with vanilla and WeLT weights.

    python scripts/fetch_encoder.py
    python benchmarks/accuracy.py [--seeds 0 --seeds 1] [--epochs 2]

All have learning rate 1e-4, 100 steps of warm-up, linear decay, about 16 sentences
a batch and the best epoch on dev. About 25 minutes on 2 cores for one seed. What
`--variant "name: key=value key=value"` names is run too: `welt_ner` with vanilla
weights and other settings; `--sides` picks some of all.
"""

import json
import re
from pathlib import Path

import typer
from common import (
    ROOT,
    about,
    format_mean_sd,
    make_batcher,
    prepare,
    run_trainings,
    score,
)
from spacy.language import Language
from spacy.util import load_config, registry
from thinc.api import Config
from vs_spacy_ner import NER


def make_configs(folder: Path) -> dict[str, Path]:
    """Write the config of each side that spaCy trains."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(ROOT / "configs" / "welt_spacy_transformers.cfg")
    parser = Config().from_str(NER)["ner"]
    parser["model"]["tok2vec"] = config["components"]["welt_ner"]["model"]["tok2vec"]
    del config["components"]["welt_ner"]
    config["components"]["ner"] = parser
    config["nlp"]["pipeline"] = ["transformer", "ner"]
    config.to_disk(folder / "ner.cfg", interpolate=False)
    welt = ROOT / "configs" / "welt.cfg"
    return {"spaCy ner": folder / "ner.cfg", "vanilla": welt, "welt": welt}


def steps_per_epoch(path: Path, encoder: str, data: Path) -> int:
    """Count the batches of an epoch."""
    config = load_config(path, overrides={"paths.encoder": encoder})
    config["paths"]["train"] = str(data / "train.spacy")
    corpora = config.interpolate()["corpora"]
    reader = registry.resolve({"train": corpora["train"]})["train"]
    return sum(1 for _ in make_batcher(config)(reader(Language())))


def main(
    output: Path = Path("training/benchmarks/accuracy"),
    encoder: str = "assets/encoders/minilm",
    corpus: str = "bc5cdr_chemical",
    sides: list[str] = ["bare loop", "spaCy ner", "vanilla", "welt"],  # noqa: B006
    variant: list[str] = [],  # noqa: B006
    seeds: list[int] = [0, 1, 2],  # noqa: B006
    epochs: int = 2,
    learn_rate: float = 1e-4,
    n_jobs: int = 2,
) -> None:
    data = prepare(corpus, Path("corpus"))
    configs = make_configs(output)
    settings: dict[str, dict[str, str]] = {
        scheme: {
            "components.welt_ner.weighting.@misc": f"welt_spacy.{scheme}_weights.v1"
        }
        for scheme in ("vanilla", "welt")
    }
    for setting in variant:
        name, _, pairs = setting.partition(":")
        configs[name] = configs["vanilla"]
        settings[name] = {
            **settings["vanilla"],
            **dict(pair.split("=", 1) for pair in pairs.split()),
        }
        sides = [*sides, name]
    n_steps = {
        path: steps_per_epoch(path, encoder, data) for path in set(configs.values())
    }
    jobs = []
    for seed in seeds:
        for side in sides:
            job = {
                "data": data,
                "output": output / f"{side.replace(' ', '-')}-{epochs}-{seed}",
                "threads": max(1, 2 // n_jobs),
            }
            if side == "bare loop":
                job["config"] = ROOT / "benchmarks" / "bare_loop.py"
                job["overrides"] = {
                    "encoder": encoder,
                    "seed": seed,
                    "epochs": epochs,
                    "learn-rate": learn_rate,
                }
            else:
                config = configs[side]
                steps = n_steps[config]
                job["config"] = config
                job["overrides"] = {
                    "paths.encoder": encoder,
                    "system.seed": seed,
                    "training.max_epochs": 0,
                    "training.max_steps": steps * epochs,
                    "training.eval_frequency": steps,
                    "training.optimizer.learn_rate.initial_rate": learn_rate,
                    "training.optimizer.learn_rate.warmup_steps": 100,
                    "training.optimizer.learn_rate.total_steps": steps * epochs,
                    **settings.get(side, {}),
                }
            jobs.append(job)
    run_trainings(jobs, n_jobs)
    print(f"{encoder}, {corpus}, {epochs} epochs, seeds {', '.join(map(str, seeds))}\n")
    print("| | dev F1 by epoch | dev P / R / F1 | test P / R / F1 | minutes |")
    print("|---|---|---|---|---|")
    for side in sides:
        folders = [
            output / f"{side.replace(' ', '-')}-{epochs}-{seed}" for seed in seeds
        ]
        curves = [curve_of(folder) for folder in folders]
        cells = [", ".join(format_mean_sd(list(f1)) for f1 in zip(*curves))]
        for split in ("dev", "test"):
            scores = [score_of(folder, data, split) for folder in folders]
            cells.append(
                " / ".join(format_mean_sd([s[name] for s in scores]) for name in "prf")
            )
        seconds = [float((folder / "seconds").read_text()) for folder in folders]
        cells.append(format_mean_sd([s / 60 for s in seconds]))
        print(f"| {side} | {' | '.join(cells)} |")
    print(f"\nmean ± standard deviation; {about(['spacy', 'torch', 'transformers'])}")


def curve_of(folder: Path) -> list[float]:
    """Return the dev F1 after each epoch."""
    if (folder / "scores.json").is_file():
        return json.loads((folder / "scores.json").read_text())["curve"]
    log = (folder / "train.log").read_text()
    rows = re.findall(r"^ +\d+ +\d+ .*", log, re.MULTILINE)
    return [float(row.split()[-4]) for row in rows[1:]]


def score_of(folder: Path, data: Path, split: str) -> dict[str, float]:
    """Score the best epoch, in per cent."""
    if (folder / "scores.json").is_file():
        return json.loads((folder / "scores.json").read_text())[split]
    if split == "dev":  # which training has scored
        meta = json.loads((folder / "model-best" / "meta.json").read_text())
        return {name: 100 * meta["performance"][f"ents_{name}"] for name in "prf"}
    return score(folder / "model-best", data, split)


if __name__ == "__main__":
    typer.run(main)
