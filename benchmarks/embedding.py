"""The embedding of the small CPU pipeline: hashed attributes, affixes beside them, static
vectors of word pieces besides.

    python scripts/fetch_encoder.py
    spacy welt vectors assets/encoders/minilm training/minilm.vectors
    python benchmarks/embedding.py

BC5CDR, both types, vanilla weights, `configs/welt_cpu.cfg`, three seeds each, two trainings
at a time in turns. What an interrupted benchmark has trained is kept.
"""

from pathlib import Path

import typer
from common import (
    about,
    evaluate,
    format_mean_sd,
    measure_speed,
    prepare,
    run_trainings,
    size_of,
)
from thinc.api import Config

from welt_spacy.training.config import ConfigSettings, make_config


def make_variants(vectors: Path, steps: int) -> dict[str, Config]:
    """Create the configs by name."""
    configs = {}
    for name in ("hashed attributes", "with affixes", "with affixes and vectors"):
        config = Config().from_str(
            make_config(ConfigSettings(encoder="cpu", scheme="vanilla")),
            interpolate=False,
        )
        config["training"]["max_steps"] = steps
        embed = config["components"]["tok2vec"]["model"]["embed"]
        if name == "hashed attributes":
            for key in ("prefixes", "suffixes", "subword_rows", "subword_width"):
                embed.pop(key)
            embed.pop("vectors")
            embed["@architectures"] = "spacy.MultiHashEmbed.v2"
            embed["include_static_vectors"] = False
        if "vectors" in name:
            config["paths"]["piece_vectors"] = str(vectors.resolve())
        configs[name] = config
    return configs


def main(
    seeds: str = "0,1,2",
    steps: int = 2000,
    n_jobs: int = 2,
    vectors: Path = Path("training/minilm.vectors"),
    only: str | None = None,
    output: Path = Path("training/benchmarks/embedding"),
) -> None:
    data = prepare("bc5cdr", Path("corpus"))
    output.mkdir(parents=True, exist_ok=True)
    variants = make_variants(vectors, steps)
    jobs: dict[str, list[dict]] = {
        name: [] for name in variants if not only or only in name
    }
    for name in jobs:
        path = output / f"{name}.cfg"
        variants[name].to_disk(path)
        for seed in seeds.split(","):
            jobs[name].append(
                {
                    "config": path,
                    "data": data,
                    "output": output / f"{name} {steps} {seed}",
                    "overrides": {"system.seed": int(seed)},
                    "threads": 1,
                }
            )
    turns = [job for group in zip(*jobs.values()) for job in group]
    run_trainings(turns, n_jobs)
    speeds = measure_speed(
        {name: group[0]["output"] / "model-best" for name, group in jobs.items()}, data
    )
    base = next(iter(speeds.values()))
    print("| embedding | dev F1 | test P / R / F1 | unseen F1 | words/s | ratio | MB |")
    print("|---|---|---|---|---|---|---|")
    for name, group in jobs.items():
        models = [job["output"] / "model-best" for job in group]
        dev = [
            evaluate(model, data / "dev.spacy", data, model.parent) for model in models
        ]
        test = [
            evaluate(model, data / "test.spacy", data, model.parent) for model in models
        ]
        figures = [
            format_mean_sd([100 * one["strict"][key] for one in test]) for key in "prf"
        ]
        unseen = [
            100 * one["slices"]["mention in train"]["unseen"]["f"] for one in test
        ]
        size = size_of(models[0])
        print(
            f"| {name} | {format_mean_sd([100 * one['strict']['f'] for one in dev])} "
            f"| {' / '.join(figures)} | {format_mean_sd(unseen)} "
            f"| {speeds[name]:,.0f} | {speeds[name] / base:.2f} | {size:.0f} |",
            flush=True,
        )
    print(f"\n{about(['spacy', 'thinc', 'numpy'])}")


if __name__ == "__main__":
    typer.run(main)
