"""Run an experiment: the commands that anyone would type, one run after another."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterator, List, Sequence, Set, Tuple

import pooch
import srsly
from thinc.api import Config

from ..errors import WeltError, first_line
from ..files import Busy, one_writer, write_atomically
from ..processes import end_all, start_module
from .grid import Grid, Run
from .step import STEP, WAIT

RECORD = "run.json"
# Made first, so that a folder is known as that of a run before it is finished
STARTED = "started.json"
SPLITS = ("train", "dev", "test")
PACKAGES = ("welt-spacy", "spacy", "thinc", "numpy", "torch", "transformers")
# Seconds until a run that another runner is at is looked at again
PAUSE = 0.5


def run_all(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    at_once: int = 1,
    gpu_id: int = -1,
    report: Callable[[str], None] = print,
) -> List[str]:
    """Run what has not been run yet. Several runners can work on one folder: each run
    is trained by one of them, and each of them waits for the others' runs.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment. A run has a folder in it, with
        `model-best`, `test.json` (what `spacy welt evaluate` writes), `train.log`, and
        at last `run.json`. A run that has this with the same settings, data and
        versions, and undamaged results, is not repeated.
    at_once (int): How many runs share the cores; they are divided among them.
    gpu_id (int): As of `spacy train`.
    report (Callable[[str], None]): Is given a line about each run.
    RETURNS (List[str]): What failed, a line a run.
    RAISES (WeltError): If a corpus is not there.
    """
    for corpus in grid.corpora:
        for split in SPLITS:
            path = corpora / corpus / f"{split}.spacy"
            if not path.is_file():
                raise WeltError(
                    f"{path} is missing: 'spacy welt corpora convert {corpus} --output "
                    f"{corpora}' makes it"
                )
    return _Runner(grid, corpora, output, at_once, gpu_id, report).run()


class _Runner:
    def __init__(
        self,
        grid: Grid,
        corpora: Path,
        output: Path,
        at_once: int,
        gpu_id: int,
        report: Callable[[str], None],
    ):
        self.grid, self.corpora, self.output = grid, corpora, output
        self.at_once, self.gpu_id, self.report = at_once, gpu_id, report
        self.threads = max(1, (os.cpu_count() or 1) // at_once)
        self.todo: Deque[Run] = deque()
        self.done = 0
        self.failed: List[str] = []
        self.processes: Set[subprocess.Popen] = set()
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def run(self) -> List[str]:
        runs = self.grid.runs()
        self.todo.extend(r for r in runs if not self.is_done(r))
        self.done = len(runs) - len(self.todo)
        self.report(f"{len(runs)} runs, {self.done} of them done before")
        with ThreadPoolExecutor(self.at_once) as pool:
            workers = [pool.submit(self._work) for _ in range(self.at_once)]
            try:
                for worker in workers:
                    worker.result()
            finally:
                self._stop()
        return self.failed

    def is_done(self, run: Run) -> bool:
        return is_done(self.grid, run, self.corpora, self.output)

    def _work(self) -> None:
        while not self.stopped.is_set():
            with self.lock:
                if not self.todo:
                    return
                run = self.todo.popleft()
            started = time.perf_counter()
            try:
                with one_writer(self.output / run.name):
                    if self.is_done(run):  # by another runner, in the meantime
                        self._tell(run, "✔", "was run by another process")
                        continue
                    self._run(run)
                self._tell(run, "✔", f"{time.perf_counter() - started:.0f} s")
            except Busy:
                with self.lock:
                    self.todo.append(run)
                self.stopped.wait(PAUSE)
            except WeltError as err:
                if not self.stopped.is_set():
                    self._tell(run, "✘", str(err))

    def _tell(self, run: Run, sign: str, told: str) -> None:
        with self.lock:
            self.done += 1
            if sign == "✘":
                self.failed.append(f"{run.name}: {told}")
            n = len(self.grid.runs())
            self.report(f"{sign} {run.name}: {told} ({self.done} of {n})")

    def _run(self, run: Run) -> None:
        """Train, tune and score.

        RAISES (WeltError): If a command fails, with the reason from its log.
        """
        folder = self.output / run.name
        settings = settings_of(self.grid, run, self.corpora)
        # The training of a runner that was killed may take a moment to end
        with one_writer(folder / STEP, wait=WAIT):
            _prepare(folder)
        record: Dict[str, Any] = {"settings": settings}
        write_atomically(folder / STARTED, _json(record))
        started = time.perf_counter()
        commands = _commands(
            self.grid, run, self.corpora / run.corpus, folder, self.gpu_id
        )
        for name, command in commands:
            self._call(command, folder, name)
            if name == "train":
                record["seconds"] = round(time.perf_counter() - started, 1)
        if settings_of(self.grid, run, self.corpora) != settings:
            raise WeltError("the corpus or the config changed during the run")
        record["results"] = {name: _sha256(folder / name) for name in result_files(run)}
        write_atomically(folder / RECORD, _json(record))
        (folder / STARTED).unlink(missing_ok=True)

    def _call(self, command: Sequence[str], folder: Path, name: str) -> None:
        log = folder / f"{name}.log"
        with log.open("w", encoding="utf8") as file:
            with self.lock:
                if self.stopped.is_set():
                    raise WeltError("stopped")
                process = start_module(
                    "welt_spacy.experiments.step",
                    [str(folder), *command],
                    threads=self.threads,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
                self.processes.add(process)
            process.wait()
        with self.lock:
            self.processes.discard(process)
        if process.returncode:
            raise WeltError(f"{reason_in(log)} (see {log})")

    def _stop(self) -> None:
        with self.lock:
            self.stopped.set()
            running = list(self.processes)
        end_all(running)


def is_done(grid: Grid, run: Run, corpora: Path, output: Path) -> bool:
    """Tell whether a run need not be repeated.

    grid (Grid): The experiment.
    run (Run): One of its runs.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment.
    RETURNS (bool): Whether it was run with the same settings, data and versions, and
        its results are as they were written.
    """
    folder = output / run.name
    try:
        record = srsly.read_json(folder / RECORD)
        if record["settings"] != settings_of(grid, run, corpora):
            return False
        names = result_files(run)
        return {name: _sha256(folder / name) for name in names} == record["results"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def result_files(run: Run) -> List[str]:
    """RETURNS (List[str]): The files with the scores of a run."""
    return ["test.json", *(f"test-{knob}.json" for knob in run.tuned)]


def settings_of(grid: Grid, run: Run, corpora: Path) -> Dict[str, Any]:
    """Collect what decides the result of a run.

    grid (Grid): The experiment.
    run (Run): The run.
    corpora (Path): The folder of the converted corpora.
    RETURNS (Dict[str, Any]): The config, what is changed in it, checksums of the data
        and of a local encoder, and versions of packages.
    RAISES (WeltError): If a file can't be read.
    """
    try:
        config = grid.config.read_text(encoding="utf8")
        data = {
            split: _sha256(corpora / run.corpus / f"{split}.spacy") for split in SPLITS
        }
        folder = _encoder(config, grid.overrides)
        encoder = {
            path.relative_to(folder).as_posix(): _sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    except (OSError, UnicodeDecodeError) as err:
        raise WeltError(f"can't read the config, corpus or encoder: {err}") from None
    return {
        "corpus": run.corpus,
        "overrides": _overrides(grid, run),
        "tuned": list(run.tuned),
        "config": config,
        "data": data,
        "encoder": encoder,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _encoder(config: str, overrides: Dict[str, Any]) -> Path:
    told = overrides.get("paths.encoder")
    if told is None:
        try:
            told = Config().from_str(config, interpolate=False)["paths"]["encoder"]
        except (ValueError, KeyError):
            told = None
    return Path(str(told or "(none)"))


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=1024)
def _sha256_of(path: Path, *state: int) -> str:
    """The checksum of a file that is read again only when it has changed."""
    return pooch.file_hash(str(path))


def _prepare(folder: Path) -> None:
    """Make the folder of a run, and take away what an earlier run left in it."""
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        names.discard(f".{STEP}.lock")
        if names and not names & {RECORD, STARTED}:
            raise WeltError(
                f"{folder} has files that are not those of a run: use another --output"
            )
        folder.mkdir(parents=True, exist_ok=True)
        # The record first: what it says is not true from here on
        (folder / RECORD).unlink(missing_ok=True)
        for path in folder.glob("model-*"):
            shutil.rmtree(path)
        for pattern in ("test*.json", "*.log"):
            for path in folder.glob(pattern):
                path.unlink()
    except OSError as err:
        raise WeltError(f"{folder}: can't write here: {err.strerror}") from None


def _json(record: Dict[str, Any]) -> str:
    return srsly.json_dumps(record, indent=2) + "\n"


def _commands(
    grid: Grid, run: Run, data: Path, folder: Path, gpu_id: int
) -> Iterator[Tuple[str, List[str]]]:
    best = folder / "model-best"
    gpu = ["--gpu-id", str(gpu_id)]
    yield (
        "train",
        [
            *("train", str(grid.config), "--output", str(folder), *gpu),
            *_overrides(grid, run),
            *(f"--paths.{split}={data / split}.spacy" for split in ("train", "dev")),
        ],
    )
    scored = {"test": best}
    for knob in run.tuned:
        model = folder / f"model-{knob}"
        yield (
            f"tune-{knob}",
            [
                *("welt", "tune", str(best), str(data / "dev.spacy"), str(model)),
                *("--knob", knob, *gpu),
            ],
        )
        scored[f"test-{knob}"] = model
    for name, model in scored.items():
        scores = folder / f"{name}.json"
        yield (
            f"evaluate-{name}",
            [
                *("welt", "evaluate", str(model), str(data / "test.spacy"), *gpu),
                *("--train", str(data / "train.spacy"), "--json", str(scores)),
            ],
        )


def _overrides(grid: Grid, run: Run) -> List[str]:
    settings = {
        "system.seed": run.seed,
        **{f"components.welt_ner.weighting.{k}": v for k, v in run.weighting.items()},
        **grid.overrides,
    }
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in settings.items()
    ]


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
