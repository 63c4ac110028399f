"""The embedding of the small CPU pipeline: hashed attributes, affixes beside them, static
vectors of word pieces besides.

    python scripts/fetch_encoder.py
    spacy welt vectors assets/encoders/minilm training/minilm.vectors
    python benchmarks/embedding.py

BC5CDR, both types, vanilla weights, `configs/welt_cpu.cfg`, three seeds each, two trainings
at a time in turns. What an interrupted benchmark has trained is kept.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Optional

import spacy
import typer
from common import about, prepare, run_trainings, spread
from spacy.tokens import DocBin
from thinc.api import Config

from welt_spacy.experiments.configuration import make_config


def make_variants(vectors: Path, steps: int) -> Dict[str, Config]:
    """The configs, by what they are called."""
    found = {}
    for name in ("hashed attributes", "with affixes", "with affixes and vectors"):
        config = Config().from_str(
            make_config(encoder="cpu", scheme="vanilla"), interpolate=False
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
            embed["vectors"] = {
                "@architectures": "welt_spacy.PieceVectors.v1",
                "path": str(vectors.resolve()),
            }
        found[name] = config
    return found


def evaluate(model: Path, data: Path, split: str) -> Dict[str, Any]:
    output = model.parent / f"{split}.json"
    command = ["spacy", "welt", "evaluate", str(model), str(data / f"{split}.spacy")]
    command += ["--train", str(data / "train.spacy"), "--json", str(output)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return json.loads(output.read_text())


def measure_speed(models: Dict[str, Path], data: Path) -> Dict[str, float]:
    """Words a second of `nlp.pipe` over the raw text of test, in turns; the median."""
    pipelines = {name: spacy.load(path) for name, path in models.items()}
    vocab = spacy.blank("en").vocab
    docs = list(DocBin().from_disk(data / "test.spacy").get_docs(vocab))
    texts = [doc.text for doc in docs]
    n_words = sum(map(len, docs))
    rates: Dict[str, List[float]] = {name: [] for name in pipelines}
    for _ in range(6):
        for name, nlp in pipelines.items():
            started = time.perf_counter()
            for _ in nlp.pipe(texts):
                pass
            rates[name].append(n_words / (time.perf_counter() - started))
    return {name: median(found[1:]) for name, found in rates.items()}  # not the first


def main(
    seeds: str = "0,1,2",
    steps: int = 2000,
    at_once: int = 2,
    vectors: Path = Path("training/minilm.vectors"),
    only: Optional[str] = None,
    output: Path = Path("training/benchmarks/embedding"),
) -> None:
    data = prepare("bc5cdr", Path("corpus"))
    output.mkdir(parents=True, exist_ok=True)
    variants = make_variants(vectors, steps)
    jobs: Dict[str, List[dict]] = {
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
    run_trainings(turns, at_once)
    speeds = measure_speed(
        {name: group[0]["output"] / "model-best" for name, group in jobs.items()}, data
    )
    base = next(iter(speeds.values()))
    print("| embedding | dev F1 | test P / R / F1 | unseen F1 | words/s | ratio | MB |")
    print("|---|---|---|---|---|---|---|")
    for name, group in jobs.items():
        models = [job["output"] / "model-best" for job in group]
        dev = [evaluate(model, data, "dev") for model in models]
        test = [evaluate(model, data, "test") for model in models]
        told = [spread([100 * one["strict"][key] for one in test]) for key in "prf"]
        unseen = [
            100 * one["slices"]["mention in train"]["unseen"]["f"] for one in test
        ]
        size = (
            sum(p.stat().st_size for p in models[0].rglob("*") if p.is_file()) / 2**20
        )
        print(
            f"| {name} | {spread([100 * one['strict']['f'] for one in dev])} "
            f"| {' / '.join(told)} | {spread(unseen)} "
            f"| {speeds[name]:,.0f} | {speeds[name] / base:.2f} | {size:.0f} |",
            flush=True,
        )
    print(f"\n{about(['spacy', 'thinc', 'numpy'])}")


if __name__ == "__main__":
    typer.run(main)
