"""What decides the result of a run, and whether the result is there.

A run has a folder below `runs`, named after it and the checksum of all that decides its
result, so a result can't be taken for that of other settings.
"""

import contextlib
import hashlib
import json
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import pooch
import srsly
from thinc.api import Config

from ..errors import WeltError
from .grid import Grid, Run

RUNS, FAILED, REASON = "runs", "failed", "reason.txt"
RECORD, METRICS, PLAN = "run.json", "metrics.json", "experiment.json"
PACKAGES = ("welt-spacy", "spacy", "thinc", "numpy", "torch", "transformers")
# What the paths of a config are at the time of training
PATHS = ("train", "dev")


class Job(NamedTuple):
    """A run, and what decides its result.

    run (Run): The run.
    config (Config): Its complete training config.
    settings (dict[str, Any]): The config, checksums of data and encoder, versions of packages.
    name (str): The name of its folder.
    """

    run: Run
    config: Config
    settings: dict[str, Any]
    name: str


def jobs_of(grid: Grid, corpora: Path) -> list[Job]:
    """Get all runs of an experiment with what decides their results.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    RETURNS (list[Job]): The runs.
    RAISES (WeltError): If a corpus is not there, or a config can't be made.
    """
    for corpus in grid.corpora:
        for split in splits_of(grid):
            path = corpora / corpus / f"{split}.spacy"
            if not path.is_file():
                raise WeltError(
                    f"{path} is missing: 'spacy welt corpora convert {corpus} --output "
                    f"{corpora}' makes it"
                )
    return [job_of(grid, run, corpora) for run in grid.runs()]


def splits_of(grid: Grid) -> tuple[str, ...]:
    """RETURNS (tuple[str, ...]): What is trained on, looked at in between, and scored.

    grid (Grid): The experiment.
    """
    return ("train_dev" if grid.train_on_dev else "train", "dev", "test")


def job_of(grid: Grid, run: Run, corpora: Path) -> Job:
    """Collect what decides the result of a run.

    grid (Grid): The experiment.
    run (Run): The run.
    corpora (Path): The folder of the converted corpora.
    RETURNS (Job): The run with its settings and its name.
    RAISES (WeltError): If a file can't be read.
    """
    config = grid.config_of(run)
    told = config.copy()
    for path in PATHS:
        told["paths"][path] = None
    selection = grid.selections.get(run.selection) or {}
    settings: dict[str, Any] = {
        "corpus": run.corpus,
        "tuned": list(run.tuned),
        "selection": {**selection, "seed": run.seed} if selection else {},
        "config": told.to_str(interpolate=False),
        "data": data_checksums(grid, run, corpora),
        "files": file_checksums(config),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    found = hashlib.sha256(to_json(settings).encode("utf8")).hexdigest()
    return Job(run, config, settings, f"{run.name}-{found[:16]}")


def data_checksums(grid: Grid, run: Run, corpora: Path) -> dict[str, str]:
    """RETURNS (dict[str, str]): SHA-256 of each split of the corpus of a run.

    grid (Grid): The experiment.
    run (Run): The run.
    corpora (Path): The folder of the converted corpora.
    RAISES (WeltError): If a file can't be read.
    """
    try:
        return {
            split: checksum(corpora / run.corpus / f"{split}.spacy")
            for split in splits_of(grid)
        }
    except OSError as err:
        raise WeltError(f"can't read the corpus: {err}") from None


def file_checksums(config: Config) -> dict[str, dict[str, str]]:
    """Get checksums of what a config names in its section `paths`: an encoder, vectors, a
    lexicon. A name on a model hub is not a path, and is left out.

    config (Config): The config; what it names as `train` and `dev` is not looked at.
    RETURNS (dict[str, dict[str, str]]): Key of `paths` -> file below it -> SHA-256.
    RAISES (WeltError): If a file can't be read.
    """
    found: dict[str, dict[str, str]] = {}
    for key, value in config["paths"].items():
        path = Path(str(value))
        if key in PATHS or not value or not path.exists():
            continue
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        try:
            found[key] = {
                file.relative_to(path).as_posix(): checksum(file)
                for file in files
                if file.is_file()
            }
        except OSError as err:
            raise WeltError(f"paths.{key}: can't read {path}: {err}") from None
    return found


def result_files(run: Run) -> list[str]:
    """RETURNS (list[str]): The files with the scores of a run.

    run (Run): The run.
    """
    return ["test.json", *(f"test-{knob}.json" for knob in run.tuned)]


def is_done(job: Job, output: Path) -> bool:
    """Tell whether a run need not be repeated.

    job (Job): The run.
    output (Path): The folder of the experiment.
    RETURNS (bool): Whether it was run with the same settings, data and versions, and
        its results are as they were written.
    """
    record = _record(output / RUNS / job.name)
    names = {*result_files(job.run), METRICS}
    return record.get("settings") == job.settings and names <= set(record["results"])


def is_whole(name: str, output: Path) -> bool:
    """Tell whether the results of a run are there as they were written, without looking at
    what decides them.

    name (str): The name of its folder.
    output (Path): The folder of the experiment.
    RETURNS (bool): Whether they are.
    """
    return bool(_record(output / RUNS / name))


def _record(folder: Path) -> dict[str, Any]:
    """What is told of a run; nothing if its results are damaged."""
    try:
        record = srsly.read_json(folder / RECORD)
        results = record["results"]
        if results and all(checksum(folder / n) == told for n, told in results.items()):
            return dict(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def failures(output: Path) -> dict[str, str]:
    """RETURNS (dict[str, str]): Runs that have failed and were not run since, with reasons.

    output (Path): The folder of the experiment.
    """
    found: dict[str, str] = {}
    for path in sorted((output / FAILED).glob(f"*/{REASON}")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[path.parent.name] = path.read_text(encoding="utf8").strip()
    return found


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def checksum(path: Path) -> str:
    """RETURNS (str): SHA-256 of a file.

    path (Path): The file.
    """
    stat = path.stat()
    return _checksum_of(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=4096)
def _checksum_of(path: Path, *state: int) -> str:
    """The checksum of a file that is read again only when it has changed."""
    return pooch.file_hash(str(path))


def to_json(record: Any) -> str:
    """RETURNS (str): JSON for people, the same for the same content.

    record (Any): What can be written as JSON.
    """
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
