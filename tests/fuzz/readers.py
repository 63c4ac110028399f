"""Malformed input for every reader: corpora, pipelines, experiments, packages."""

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy

from welt_spacy.corpora.convert import convert_file
from welt_spacy.corpora.corpus_folder import is_converted
from welt_spacy.experiments.grid import read_grid
from welt_spacy.experiments.jobs import make_jobs
from welt_spacy.experiments.results import read_results
from welt_spacy.experiments.workspace import Workspace
from welt_spacy.formats.problems import Report
from welt_spacy.packaging.push import read_package, write_repository
from welt_spacy.tokens.docs import read_docs
from welt_spacy.util.pipelines import load_pipeline

from ..factories import change_dir
from .cases import Case, attempt, mutate
from .workplace import GRID, Workplace

Call = Callable[[], Any]
# Write damaged input into a folder, and return a call that reads it
Maker = Callable[[Workplace, Path, random.Random], Call]


def fuzz_reader(place: Workplace, seed: int) -> Case:
    """Call one reader with a damaged input."""
    rng = random.Random(seed)
    name, make_call = rng.choice(list(READERS.items()))
    with tempfile.TemporaryDirectory() as folder:
        call = make_call(place, Path(folder), rng)
        return attempt(f"reader of {name}", seed, call)


def _damage(path: Path, rng: random.Random) -> None:
    path.write_bytes(mutate(path.read_bytes(), rng))


def _read_corpus_file(name: str, format: str) -> Maker:
    def make_call(place: Workplace, folder: Path, rng: random.Random) -> Call:
        path = folder / name
        path.write_bytes(mutate((place.folder / name).read_bytes(), rng))
        settings: dict[str, Any] = {
            "n_sents": rng.choice([0, 1, 3]),
            "types": rng.choice([None, {"Chemical": "X"}]),
            "label": rng.choice([None, "L"]),
            "report": Report(strict=rng.random() < 0.2),
        }
        return lambda: convert_file(path, format, **settings)

    return make_call


def _read_brat(place: Workplace, folder: Path, rng: random.Random) -> Call:
    for name in ("x.ann", "x.txt"):
        data = (place.folder / "brat" / name).read_bytes()
        (folder / name).write_bytes(mutate(data, rng))
    return lambda: convert_file(folder, "brat")


def _read_docs(place: Workplace, folder: Path, rng: random.Random) -> Call:
    path = folder / "x.spacy"
    path.write_bytes(mutate(place.data.read_bytes(), rng))
    return lambda: read_docs(path, spacy.blank("en").vocab)


def _load_pipeline(place: Workplace, folder: Path, rng: random.Random) -> Call:
    model = shutil.copytree(place.model, folder / "model")
    _damage(rng.choice(sorted(p for p in model.rglob("*") if p.is_file())), rng)
    return lambda: load_pipeline(model)("Aspirin helps.")


def _read_grid(place: Workplace, folder: Path, rng: random.Random) -> Call:
    path = folder / "grid.yml"
    path.write_bytes(mutate(GRID.encode("utf8"), rng))

    def read() -> None:
        with change_dir(place.folder):
            read_grid(path).runs()

    return read


def _read_package(place: Workplace, folder: Path, rng: random.Random) -> Call:
    path = folder / place.wheel.name
    path.write_bytes(mutate(place.wheel.read_bytes(), rng))
    return lambda: write_repository(read_package(path), folder / "hub")


def _check_converted(place: Workplace, folder: Path, rng: random.Random) -> Call:
    output = shutil.copytree(place.folder / "data" / "bc5cdr", folder / "corpus")
    path = rng.choice(sorted(output.iterdir()))
    before = path.read_bytes()
    path.write_bytes(mutate(before, rng))
    is_unchanged = path.read_bytes() == before

    def check() -> None:
        if is_converted(place.corpus, place.files, output):
            assert is_unchanged or path.name == "welt.json", path.name

    return check


def _read_results(place: Workplace, folder: Path, rng: random.Random) -> Call:
    workspace = Workspace(folder, place.folder / "data")
    with change_dir(place.folder):
        job = make_jobs(place.grid, workspace)[0]
    scores = {f"{kind}_{key}": 0.5 for kind in ("strict", "fair") for key in "prf"}
    keys = ("corpus", "encoder", "selection", "scheme", "seed")
    row = {key: getattr(job.run, key) for key in keys}
    row.update(scores, tuned="", by_doc=[[1, 2, 2]], train_seconds=1.0, peak_mb=1)
    row.update(docs=1, seconds=2.0)
    with workspace.get_run(job.name).open() as output:
        output.start(job.fingerprint)
        metrics = json.dumps([row]).encode("utf8")
        output.add("metrics.json", mutate(metrics, rng))
        output.finish()
    if rng.random() < 0.5:
        _damage(output.path / "run.json", rng)

    def read() -> None:
        with change_dir(place.folder):
            read_results(place.grid, workspace)

    return read


READERS: dict[str, Maker] = {
    "IOB": _read_corpus_file("x.tsv", "iob"),
    "PubTator": _read_corpus_file("x.pubtator", "pubtator"),
    "BioC": _read_corpus_file("x.xml", "bioc"),
    "brat": _read_brat,
    ".spacy": _read_docs,
    "pipelines": _load_pipeline,
    "experiments": _read_grid,
    "packages": _read_package,
    "converted corpora": _check_converted,
    "results": _read_results,
}
