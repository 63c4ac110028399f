"""One run of an experiment: the commands that make it, in a process of its own.

It is made beside its place below `runs` and renamed into it, so a folder there is whole.
"""

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import srsly

from ..errors import WeltError, first_line
from ..parallel.processes import start_module
from ..util.files import exclusive_lock, partial_path, replace_dir, write_atomically
from .grid import Grid, Run
from .jobs import (
    FAILED,
    METRICS,
    REASON,
    RECORD,
    RUNS,
    Job,
    checksum,
    data_checksums,
    file_checksums,
    is_done,
    result_files,
    splits_of,
    to_json,
)
from .remote import Storage

SELECTED, CONFIG, PREDICTIONS = "selected", "config.cfg", "predictions.spacy"
# What each command took
USAGE = ".usage.json"

Commands = dict[str, list[str]]


def make(
    job: Job,
    grid: Grid,
    corpora: Path,
    output: Path,
    storage: Storage | None = None,
    **options: Any,
) -> None:
    """Get a run from where others have kept it, or execute it and keep it there.

    job (Job): The run.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment.
    storage (Storage | None): Where runs of all machines are kept, besides `output`.
    options (Any): Of `execute`.
    RAISES (WeltError): As `execute`, or if the storage can't be read or written.
    """
    if storage is not None:
        storage.fetch_run(job.name, output)
        if is_done(job, output):
            return
    try:
        execute(job, grid, corpora, output, **options)
    except WeltError:
        if storage is not None:
            storage.send_failure(job.name, output)
        raise
    if storage is not None:
        storage.send_run(job.name, output)


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
) -> None:
    """Train, tune and score. The folder of the run appears when all is done.

    job (Job): The run.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment.
    threads (int): Threads of the process.
    gpu_id (int): As of `spacy train`.
    started (Callable[[Popen], None]): Is given the process when it has started; what it
        raises ends the run.
    stopped (Callable[[], bool]): Whether the run was ended on purpose, which is no failure.
    RAISES (WeltError): If a command fails, with the reason from its log, which is kept
        below `failed`; or if the data have changed meanwhile.
    """
    run = job.run
    work = partial_path(output / RUNS / job.name)
    begun = time.perf_counter()

    def call(commands: Commands) -> None:
        _call(commands, work, threads, started)

    try:
        work.mkdir(parents=True)
        (work / CONFIG).write_text(
            job.config.to_str(interpolate=False), encoding="utf8"
        )
        train, dev, test = (
            corpora / run.corpus / f"{split}.spacy" for split in splits_of(grid)
        )
        if job.settings["selection"]:
            train = _selected(job, train, output, call)
        call(_commands(run, work, train, dev, test, gpu_id))
        data, files = data_checksums(grid, run, corpora), file_checksums(job.config)
        if (data, files) != (job.settings["data"], job.settings["files"]):
            raise WeltError("the corpus, or a file of the config, changed in between")
        if not grid.keep_models:
            for path in work.glob("model-*"):
                shutil.rmtree(path)
        wall = round(time.perf_counter() - begun, 1)
        write_atomically(work / METRICS, to_json(_metrics(job, work, wall)))
        results = [METRICS, *result_files(run)]
        results += [path.name for path in work.glob(PREDICTIONS.replace(".", "*."))]
        record = {
            "name": run.name,
            "run": vars(run),
            "settings": job.settings,
            "wall": wall,
            "results": {name: checksum(work / name) for name in sorted(results)},
        }
        write_atomically(work / RECORD, to_json(record))
        replace_dir(work, output / RUNS / job.name)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(output / FAILED / job.name)
    except BaseException as err:
        if isinstance(err, OSError):
            err = WeltError(f"{work}: can't write here: {err.strerror or err}")
        if isinstance(err, WeltError) and not stopped():
            _keep_failed(work, output / FAILED / job.name, str(err))
        shutil.rmtree(work, ignore_errors=True)
        raise err from None


def _keep_failed(work: Path, folder: Path, reason: str) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in (*work.glob("*.log"), work / CONFIG):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        write_atomically(folder / REASON, reason + "\n")


def _selected(
    job: Job, train: Path, output: Path, call: Callable[[Commands], None]
) -> Path:
    """What is selected of the training data: once for all runs that want the same."""
    settings = job.settings["selection"]
    told = to_json([settings, job.settings["data"]])
    name = hashlib.sha256(told.encode("utf8")).hexdigest()[:16]
    path = output / SELECTED / f"{job.run.corpus}-{name}.spacy"
    # Not the lock of `select` itself, which holds its own
    with exclusive_lock(path.with_suffix(".selection"), wait=24 * 3600):
        options = [
            f"--{key.replace('_', '-')}={value}"
            for key, value in settings.items()
            if key != "diverse" and value is not None
        ]
        if settings.get("diverse"):
            options.append("--diverse")
        # The command does nothing if its output is up to date
        call({"select": ["welt", "select", str(train), str(path), *options]})
    return path


def _commands(
    run: Run, folder: Path, train: Path, dev: Path, test: Path, gpu_id: int
) -> Commands:
    best = folder / "model-best"
    gpu = ["--gpu-id", str(gpu_id)]
    commands: Commands = {
        "train": [
            *("train", str(folder / CONFIG), "--output", str(folder), *gpu),
            *(f"--paths.train={train}", f"--paths.dev={dev}"),
        ]
    }
    scored = {"test": best}
    for knob in run.tuned:
        model = folder / f"model-{knob}"
        commands[f"tune-{knob}"] = [
            *("welt", "tune", str(best), str(dev), str(model)),
            *("--knob", knob, *gpu),
        ]
        scored[f"test-{knob}"] = model
    for name, model in scored.items():
        predictions = folder / PREDICTIONS.replace(".", f"{name[4:]}.")
        commands[f"evaluate-{name}"] = [
            *("welt", "evaluate", str(model), str(test), *gpu),
            *("--train", str(train), "--json", str(folder / f"{name}.json")),
            *("--predictions", str(predictions)),
        ]
    return commands


def _call(
    commands: Commands,
    folder: Path,
    threads: int,
    started: Callable[[subprocess.Popen], None],
) -> None:
    """Run commands in one process, each with a log of its own."""
    logs = [folder / f"{name}.log" for name in commands]
    with logs[0].open("w", encoding="utf8") as file:
        process = start_module(
            "welt_spacy.experiments._subprocess",
            [str(folder), json.dumps(commands)],
            threads=threads,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        started(process)
        process.wait()
    if process.returncode:
        log = [log for log in logs if log.is_file()][-1]
        raise WeltError(f"{log.stem}: {reason_in(log)}")


def _metrics(job: Job, work: Path, wall: float) -> list[dict[str, Any]]:
    """A row for each scored pipeline of the run, flat, for a table of all runs."""
    run = job.run
    usage = {
        path.name.replace(USAGE, ""): srsly.read_json(path)
        for path in work.glob(f"*{USAGE}")
    }
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
                "seconds": wall,
                "train_seconds": usage["train"]["seconds"],
                **{
                    key: max(one[key] or 0 for one in usage.values())
                    for key in ("peak_mb", "peak_gpu_mb")
                },
                "revision": _revision(),
                "versions": job.settings["versions"],
                "checksum": job.name.rsplit("-", 1)[-1],
            }
        )
    return rows


def _weights(found: dict[str, Any]) -> dict[str, float]:
    """The class weights of the only component that has them."""
    for told in found.values():
        return dict(told.get("weights", {}))
    return {}


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
