"""Train and score pipelines and print tables, for all benchmarks."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import load_model_from_config, registry
from thinc.api import Config, Optimizer
from weasel.util.hashing import get_checksum

from welt_spacy.experiments.significance_tables import format_mean_sd  # noqa: F401

SPEED_DOCS = 1200  # of the test data, for words a second
ROOT = Path(__file__).parents[1]


def prepare(corpus: str, output: Path) -> Path:
    """Fetch and convert a corpus (WELT_CORPORA_MIRROR is asked first)."""
    command = ["spacy", "welt", "corpora", "convert", corpus, "--output", str(output)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    return output / corpus


def start_training(
    config: Path, data: Path, output: Path, overrides: dict[str, Any], threads: int
) -> subprocess.Popen:
    """Start `spacy train`, or a training script, with its own share of the cores."""
    output.mkdir(parents=True, exist_ok=True)
    arguments = [f"--{key}={value}" for key, value in overrides.items()]
    if config.suffix == ".py":
        command = [str(config), str(data), str(output)]
    else:
        command = ["-m", "spacy", "train", str(config), "--output", str(output)]
        command += [f"--paths.{s}={data / s}.spacy" for s in ("train", "dev")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
    with (output / "train.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, *command, *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def run_trainings(jobs: list[dict], n_jobs: int) -> None:
    """Run trainings, a few at a time, in the order given: where configurations
    alternate in the list, both sides see the machine in the same state. What an
    interrupted benchmark has trained already is not trained again."""
    running: list[tuple] = []
    todo = [job for job in jobs if _record(job) != _read(job["output"] / "job.json")]
    while todo or running:
        while todo and len(running) < n_jobs:
            job = todo.pop(0)
            started = time.perf_counter()
            running.append((job, start_training(**job), started))
            print(f"... {job['output']}", file=sys.stderr)
        for entry in list(running):
            job, process, started = entry
            if process.poll() is None:
                continue
            running.remove(entry)
            if process.returncode != 0:
                log = (job["output"] / "train.log").read_text()
                sys.exit(f"✘ Training of {job['output']} failed:\n{log[-2000:]}")
            seconds = time.perf_counter() - started
            (job["output"] / "seconds").write_text(f"{seconds:.1f}")
            (job["output"] / "job.json").write_text(_record(job))
        time.sleep(0.5)


def _record(job: dict) -> str:
    # What decides the result of a training.
    settings = {
        key: str(job[key]) for key in ("config", "data", "overrides", "threads")
    }
    settings["config text"] = _read(job["config"]) or ""
    settings["checksum of the data"] = get_checksum(job["data"])
    settings["version"] = version("welt-spacy")
    return json.dumps(settings, indent=2)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf8") if path.is_file() else None


def score(model: Path, data: Path, split: str) -> dict[str, float]:
    """Score a trained pipeline with `spacy evaluate`, in per cent."""
    output = model.parent / f"{split}.json"
    inputs = model.parent / f"{split}.inputs.json"
    checksums = json.dumps([get_checksum(model), get_checksum(data / f"{split}.spacy")])
    if not output.is_file() or _read(inputs) != checksums:
        subprocess.run(
            [
                *(sys.executable, "-m", "spacy", "evaluate", str(model)),
                *(str(data / f"{split}.spacy"), "--output", str(output)),
            ],
            check=True,
            capture_output=True,
        )
        inputs.write_text(checksums)
    scores = json.loads(output.read_text())
    figures = {name: 100 * scores[f"ents_{name}"] for name in "prf"}
    return {**figures, "speed": scores["speed"]}


def evaluate(model: Path, data: Path, corpus: Path, output: Path) -> dict[str, Any]:
    """Run `spacy welt evaluate` on a pipeline.

    model (Path): The pipeline.
    data (Path): The .spacy file.
    corpus (Path): The folder of the training data, for seen and unseen mentions.
    output (Path): Where the figures are kept.
    """
    path = output / f"{data.stem}.json"
    command = ["spacy", "welt", "evaluate", str(model), str(data)]
    command += ["--train", str(corpus / "train.spacy"), "--json", str(path)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return json.loads(path.read_text())


def measure_speed(models: dict[str, Path], data: Path) -> dict[str, float]:
    """Measure the median words/s of `nlp.pipe` on the raw test texts, in turns."""
    pipelines = {name: spacy.load(path) for name, path in models.items()}
    vocab = spacy.blank("en").vocab
    docs = list(DocBin().from_disk(data / "test.spacy").get_docs(vocab))
    docs = docs[:SPEED_DOCS]
    texts = [doc.text for doc in docs]
    n_words = sum(map(len, docs))
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(6):
        for name, nlp in pipelines.items():
            started = time.perf_counter()
            for _ in nlp.pipe(texts):
                pass
            rates[name].append(n_words / (time.perf_counter() - started))
    return {name: median(values[1:]) for name, values in rates.items()}  # not the first


def size_of(model: Path) -> float:
    """Measure the size of a pipeline in MB."""
    return sum(p.stat().st_size for p in model.rglob("*") if p.is_file()) / 2**20


def make_batcher(config: Config) -> Callable:
    """Create the batcher of a training config."""
    batching = config.interpolate()["training"]["batcher"]
    return registry.resolve({"batcher": batching})["batcher"]


def start_pipeline(config: Config) -> tuple[Language, Optimizer]:
    """Initialize a pipeline with one label."""
    nlp = load_model_from_config(config, auto_fill=True)
    gold = nlp.make_doc("Aspirin helps.")
    gold.set_ents([gold.char_span(0, 7, label="Chemical")])
    example = Example(nlp.make_doc("Aspirin helps."), gold)
    return nlp, nlp.initialize(lambda: [example])


def about(packages: list[str]) -> str:
    """Describe the machine and the versions, below a table."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"
