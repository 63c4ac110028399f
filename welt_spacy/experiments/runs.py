"""One run of an experiment: what decides its result, and the commands that make it.

A run has a folder below `runs`, named after it and the checksum of all that decides its
result. It is made beside that place and renamed into it, so a folder under this name is whole.
"""

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import subprocess
import time
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pooch
import srsly
from thinc.api import Config

from ..errors import WeltError, first_line
from ..files import one_writer, write_atomically
from ..processes import start_module
from .grid import Grid, Run

RUNS, FAILED, SELECTED = "runs", "failed", "selected"
RECORD, CONFIG, METRICS, PREDICTIONS = (
    "run.json",
    "config.cfg",
    "metrics.json",
    "predictions.spacy",
)
PACKAGES = ("welt-spacy", "spacy", "thinc", "numpy", "torch", "transformers")
# What the paths of a config are at the time of training
PATHS = ("train", "dev")


class Job(NamedTuple):
    """A run, and what decides its result.

    run (Run): The run.
    config (Config): Its complete training config.
    settings (Dict[str, Any]): The config, checksums of data and encoder, versions of packages.
    name (str): The name of its folder.
    """

    run: Run
    config: Config
    settings: Dict[str, Any]
    name: str


def jobs_of(grid: Grid, corpora: Path) -> List[Job]:
    """Get all runs of an experiment with what decides their results.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    RETURNS (List[Job]): The runs.
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


def splits_of(grid: Grid) -> Tuple[str, ...]:
    """RETURNS (Tuple[str, ...]): What is trained on, looked at in between, and scored.

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
    try:
        data = {
            split: _sha256(corpora / run.corpus / f"{split}.spacy")
            for split in splits_of(grid)
        }
        folder = Path(str(config["paths"].get("encoder") or "(none)"))
        encoder = {
            path.relative_to(folder).as_posix(): _sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        vectors = Path(str(config["paths"].get("piece_vectors") or "(none)"))
        if vectors.is_file():
            encoder[vectors.name] = _sha256(vectors)
    except OSError as err:
        raise WeltError(f"can't read the corpus or encoder: {err}") from None
    settings: Dict[str, Any] = {
        "corpus": run.corpus,
        "tuned": list(run.tuned),
        "selection": grid.selections.get(run.selection) or {},
        "config": told.to_str(interpolate=False),
        "data": data,
        "encoder": encoder,
        "versions": {name: _version(name) for name in PACKAGES},
    }
    if settings["selection"]:
        settings["selection"] = {**settings["selection"], "seed": run.seed}
    checksum = hashlib.sha256(_json(settings).encode("utf8")).hexdigest()
    return Job(run, config, settings, f"{run.name}-{checksum[:16]}")


def result_files(run: Run) -> List[str]:
    """RETURNS (List[str]): The files with the scores of a run.

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
    folder = output / RUNS / job.name
    try:
        record = srsly.read_json(folder / RECORD)
        if record["settings"] != job.settings:
            return False
        names = [*result_files(job.run), METRICS]
        return {name: _sha256(folder / name) for name in names} == {
            name: record["results"][name] for name in names
        }
    except (OSError, ValueError, KeyError, TypeError):
        return False


def execute(
    job: Job,
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    threads: int = 1,
    gpu_id: int = -1,
    started: Callable[[subprocess.Popen], None] = lambda process: None,
    stopped: Callable[[], bool] = lambda: False,
    check: bool = True,
) -> None:
    """Train, tune and score. The folder of the run appears when all is done.

    job (Job): The run.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment.
    threads (int): Threads of each command.
    gpu_id (int): As of `spacy train`.
    started (Callable[[Popen], None]): Is given each process when it has started; what it
        raises ends the run.
    stopped (Callable[[], bool]): Whether the run was ended on purpose, which is no failure.
    check (bool): Whether the settings must still be those of the experiment in the end.
    RAISES (WeltError): If a command fails, with the reason from its log, which is kept
        below `failed`; or if the data have changed meanwhile.
    """
    run = job.run
    work = output / RUNS / f".{job.name}.{secrets.token_hex(4)}"
    final = output / RUNS / job.name
    begun = time.perf_counter()
    seconds: Dict[str, float] = {}
    try:
        work.mkdir(parents=True)
        (work / CONFIG).write_text(
            job.config.to_str(interpolate=False), encoding="utf8"
        )
        data = {
            split: corpora / run.corpus / f"{split}.spacy" for split in splits_of(grid)
        }
        train, dev, test = data.values()
        if job.settings["selection"]:
            train = _selected(
                job, train, output, lambda c: _call(c, work, "select", threads, started)
            )
        for name, command in _commands(run, work, train, dev, test, gpu_id):
            since = time.perf_counter()
            _call(command, work, name, threads, started)
            seconds[name] = round(time.perf_counter() - since, 1)
        if check and job_of(grid, run, corpora).settings != job.settings:
            raise WeltError("the corpus or the config changed during the run")
        if not grid.keep_models:
            for path in work.glob("model-*"):
                shutil.rmtree(path)
        metrics = _metrics(job, work, seconds)
        write_atomically(work / METRICS, _json(metrics))
        names = [*result_files(run), METRICS]
        record = {
            "name": run.name,
            "run": vars(run),
            "settings": job.settings,
            "seconds": seconds,
            "wall": round(time.perf_counter() - begun, 1),
            "results": {name: _sha256(work / name) for name in names},
        }
        write_atomically(work / RECORD, _json(record))
        _publish(work, final)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(output / FAILED / job.name)
    except BaseException as err:
        if isinstance(err, OSError):
            err = WeltError(f"{work}: can't write here: {err.strerror or err}")
        if isinstance(err, WeltError) and not stopped():
            _keep_failed(work, output / FAILED / job.name, str(err))
        shutil.rmtree(work, ignore_errors=True)
        raise err from None


def failures(output: Path) -> Dict[str, str]:
    """RETURNS (Dict[str, str]): Runs that have failed and were not run since, with reasons.

    output (Path): The folder of the experiment.
    """
    found: Dict[str, str] = {}
    for path in sorted((output / FAILED).glob("*/reason.txt")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[path.parent.name] = path.read_text(encoding="utf8").strip()
    return found


def _publish(work: Path, final: Path) -> None:
    if final.exists():
        # Damaged, or made by another process in the meantime
        old = final.with_name(f".{final.name}.old-{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            final.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    work.rename(final)


def _keep_failed(work: Path, folder: Path, reason: str) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in (*work.glob("*.log"), work / CONFIG):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        write_atomically(folder / "reason.txt", reason + "\n")


def _selected(
    job: Job, train: Path, output: Path, call: Callable[[List[str]], None]
) -> Path:
    """What is selected of the training data: once for all runs that want the same."""
    settings = job.settings["selection"]
    told = _json([settings, job.settings["data"]])
    name = hashlib.sha256(told.encode("utf8")).hexdigest()[:16]
    path = output / SELECTED / f"{job.run.corpus}-{name}.spacy"
    # Not the lock of `select` itself, which holds its own
    with one_writer(path.with_suffix(".selection"), wait=24 * 3600):
        if not path.with_suffix(".json").is_file():
            options = [
                f"--{key}={value}"
                for key, value in settings.items()
                if key != "diverse" and value is not None
            ]
            if settings.get("diverse"):
                options.append("--diverse")
            call(["welt", "select", str(train), str(path), *options])
    return path


def _commands(
    run: Run, folder: Path, train: Path, dev: Path, test: Path, gpu_id: int
) -> Iterator[Tuple[str, List[str]]]:
    best = folder / "model-best"
    gpu = ["--gpu-id", str(gpu_id)]
    yield (
        "train",
        [
            *("train", str(folder / CONFIG), "--output", str(folder), *gpu),
            *(f"--paths.train={train}", f"--paths.dev={dev}"),
        ],
    )
    scored = {"test": best}
    for knob in run.tuned:
        model = folder / f"model-{knob}"
        yield (
            f"tune-{knob}",
            [
                *("welt", "tune", str(best), str(dev), str(model)),
                *("--knob", knob, *gpu),
            ],
        )
        scored[f"test-{knob}"] = model
    for name, model in scored.items():
        predictions = folder / PREDICTIONS.replace(".", f"{name[4:]}.")
        yield (
            f"evaluate-{name}",
            [
                *("welt", "evaluate", str(model), str(test), *gpu),
                *("--train", str(train), "--json", str(folder / f"{name}.json")),
                *("--predictions", str(predictions)),
            ],
        )


def _call(
    command: List[str],
    folder: Path,
    name: str,
    threads: int,
    started: Callable[[subprocess.Popen], None],
) -> None:
    log = folder / f"{name}.log"
    with log.open("w", encoding="utf8") as file:
        process = start_module(
            "welt_spacy.experiments.step",
            [str(folder / f"{name}.usage.json"), *command],
            threads=threads,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        started(process)
        process.wait()
    if process.returncode:
        raise WeltError(f"{name}: {reason_in(log)}")


def _metrics(job: Job, work: Path, seconds: Dict[str, float]) -> List[Dict[str, Any]]:
    """A row for each scored pipeline of the run, flat, for a table of all runs."""
    run = job.run
    usage = [srsly.read_json(path) for path in sorted(work.glob("*.usage.json"))]
    rows = []
    for knob, name in zip(("", *run.tuned), result_files(run)):
        found = srsly.read_json(work / name)
        rows.append(
            {
                "corpus": run.corpus,
                "encoder": run.encoder,
                "selection": run.selection,
                "scheme": run.scheme,
                "tuned": knob,
                "seed": run.seed,
                **{f"strict_{key}": found["strict"][key] for key in "prf"},
                **{f"fair_{key}": found["fair"][key] for key in "prf"},
                "per_type": {
                    label: told["strict"]["f"]
                    for label, told in found["per_type"].items()
                },
                "weights": _weights(found["class_weights"]),
                "docs": found["docs"],
                "by_doc": found["by_doc"],
                "words_s": found.get("speed"),
                "seconds": sum(seconds.values()),
                "train_seconds": seconds["train"],
                "peak_mb": max((one["peak_mb"] or 0 for one in usage), default=0),
                "revision": _revision(),
                "versions": job.settings["versions"],
                "checksum": job.name.rsplit("-", 1)[-1],
            }
        )
    return rows


def _weights(found: Dict[str, Any]) -> Dict[str, float]:
    """The class weights of the only component that has them."""
    for told in found.values():
        return dict(told.get("weights", {}))
    return {}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@cache
def _revision() -> str:
    """The revision of the git repository that the command runs in, if it does."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=4096)
def _sha256_of(path: Path, *state: int) -> str:
    """The checksum of a file that is read again only when it has changed."""
    return pooch.file_hash(str(path))


def _json(record: Any) -> str:
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


# Of a traceback and of spaCy's own messages, after colours are taken off
_REASON = re.compile(r"^(✘ .+|[\w.]*(Error|Exception|Interrupt|Exit)\b.*)$")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def reason_in(log: Path) -> str:
    """Find out why a command failed.

    log (Path): What it printed.
    RETURNS (str): The last line that tells of an error, or the last line of all.
    """
    text = _COLOR.sub("", log.read_text(encoding="utf8", errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if _REASON.match(line)] or lines or ["no output"]
    return first_line(ValueError(told[-1]))
