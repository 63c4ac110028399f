"""Who trains which run: threads of this process, together with any number of processes.

Each run is an ordinary subprocess and gives the same files whoever starts it. Claims keep two
processes from the same run; where they fail, a run is made twice, and put in place once.
"""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import srsly

from ..corpora.catalog import CATALOG
from ..corpora.convert import convert_corpus
from ..corpora.fetch import fetch
from ..errors import WeltError
from ..parallel.claims import Claim, Claims, part, share_work
from ..parallel.processes import end_all, n_cores
from ..util.files import exclusive_lock, write_atomically
from .grid import Grid
from .jobs import (
    FAILED,
    PLAN,
    REASON,
    RUNS,
    Job,
    failures,
    is_done,
    is_whole,
    jobs_of,
    splits_of,
    to_json,
)
from .remote import Storage
from .runs import make

CLAIMS = "claims"


class Status(NamedTuple):
    """How far an experiment is.

    runs, done (int): How many there are, and how many of them are done.
    running (dict[str, dict[str, Any]]): What is being trained, and by which process.
    failed (dict[str, str]): What has failed and was not run since, with reasons.
    """

    runs: int
    done: int
    running: dict[str, dict[str, Any]]
    failed: dict[str, str]


def prepare(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    storage: Storage | None = None,
    report: Callable[[str], None] = print,
) -> list[Job]:
    """Get ready to run: corpora that are not there are converted, once whoever else wants
    them, runs that others have made are fetched, and the list of runs is written, for
    `status`.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment.
    storage (Storage | None): Where runs of all machines are kept, besides `output`.
    report (Callable[[str], None]): Is given a line about each corpus.
    RETURNS (list[Job]): All runs.
    RAISES (WeltError): If a corpus can't be made, a config can't be made, or a folder or
        the storage can't be written to.
    """
    convert_missing(grid, corpora, report=report)
    jobs = jobs_of(grid, corpora)
    names = [job.name for job in jobs]
    if storage is not None:
        storage.fetch_all(output)
    write_atomically(output / PLAN, to_json({"runs": names}))
    if storage is not None:
        storage.send_missing(names, output)
    return jobs


def convert_missing(
    grid: Grid, corpora: Path, *, report: Callable[[str], None] = print
) -> None:
    """Fetch and convert the corpora of an experiment that are not there. What is there is
    left as it is, however it was made.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    report (Callable[[str], None]): Is given a line about each.
    RAISES (WeltError): If one can't be fetched or converted.
    """

    def is_there(name: str) -> bool:
        return all((corpora / name / f"{s}.spacy").is_file() for s in splits_of(grid))

    for name in grid.corpora:
        if is_there(name):
            continue
        # Not the lock of the conversion itself, which holds its own
        with exclusive_lock(corpora / f"{name}.fetched", wait=3600):
            if not is_there(name):
                if name not in CATALOG:
                    raise WeltError(
                        f"{corpora / name} lacks {', '.join(splits_of(grid))} (.spacy), and "
                        f"no corpus that can be fetched is called {name!r}"
                    )
                report(f"{corpora / name} is missing: it is fetched and converted")
                corpus = CATALOG[name]
                convert_corpus(corpus, fetch(corpus), corpora / name)


def status(output: Path) -> Status:
    """Tell how far an experiment is, from its folder alone.

    output (Path): Its folder.
    RETURNS (Status): How far it is.
    RAISES (WeltError): If nothing was started there.
    """
    try:
        names = list(map(str, srsly.read_json(output / PLAN)["runs"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise WeltError(
            f"{output}: no experiment was started here: 'spacy welt experiment run' does"
        ) from None
    claims = Claims(output / CLAIMS)
    held = set(claims.held())
    running = {
        name: told
        for name, told in claims.told().items()
        if name in names and name in held
    }
    failed = failures(output)
    return Status(
        len(names),
        sum(is_whole(name, output) for name in names),
        running,
        {name: failed[name] for name in names if name in failed},
    )


def run_all(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    at_once: int = 1,
    gpus: list[int] | None = None,
    own: str | None = None,
    storage: Storage | None = None,
    report: Callable[[str], None] = print,
) -> list[str]:
    """Run what has not been run yet. Several of these can work on one folder, on any
    machines: each run is trained by one of them, and each waits for the others' runs.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment. See `runs.execute` for what is in it.
    at_once (int): How many runs share the cores; they are divided among them.
    gpus (list[int] | None): A GPU for each of these, in turns; None: the CPU.
    own (str | None): Which part of the runs, such as "3/16"; None: all.
    storage (Storage | None): Where runs of all machines are kept, besides `output`.
    report (Callable[[str], None]): Is given a line about each run.
    RETURNS (list[str]): What failed, a line a run.
    RAISES (WeltError): As `prepare`.
    """
    number, n_parts = part(own)
    jobs = prepare(grid, corpora, output, storage=storage, report=report)
    places = (grid, corpora, output, storage)
    return _Runner(*places, jobs[number::n_parts], at_once, gpus, report).run()


class _Runner:
    def __init__(
        self,
        grid: Grid,
        corpora: Path,
        output: Path,
        storage: Storage | None,
        jobs: list[Job],
        at_once: int,
        gpus: list[int] | None,
        report: Callable[[str], None],
    ):
        self.grid, self.corpora = grid, corpora
        self.output, self.storage = output, storage
        self.jobs = {job.name: job for job in jobs}
        self.at_once, self.gpus, self.report = at_once, gpus, report
        self.threads = max(1, n_cores() // at_once)
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        self.processes: set[subprocess.Popen] = set()
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self.begun = time.time()

    def run(self) -> list[str]:
        Claims(self.output / CLAIMS).clean(self.output / RUNS)
        for name, job in self.jobs.items():
            if is_done(job, self.output):
                self.done.add(name)
        self.report(f"{len(self.jobs)} runs, {len(self.done)} of them done before")
        with ThreadPoolExecutor(self.at_once) as pool:
            workers = [pool.submit(self._work, i) for i in range(self.at_once)]
            try:
                for worker in workers:
                    worker.result()
            finally:
                self._stop()
        Claims(self.output / CLAIMS).clean(self.output / RUNS)
        return [
            f"{self.jobs[name].run.name}: {told}" for name, told in self.failed.items()
        ]

    def _work(self, number: int) -> None:
        gpu = self.gpus[number % len(self.gpus)] if self.gpus else -1
        try:
            share_work(
                Claims(self.output / CLAIMS),
                list(self.jobs),
                self._is_over,
                lambda name, claim: self._execute(name, claim, gpu),
                stopped=self.stopped.is_set,
            )
        except BaseException:
            self.stopped.set()
            raise

    def _is_over(self, name: str) -> bool:
        """Whether nothing is left to do for a run: it is done, or it has failed since this
        began, here or elsewhere.
        """
        with self.lock:
            if name in self.done or name in self.failed:
                return True
            if is_done(self.jobs[name], self.output):
                self._tell(name, "✔", "was run by another process")
                return True
            reason = self.output / FAILED / name / REASON
            with contextlib.suppress(OSError):
                if reason.stat().st_mtime > self.begun:
                    self._tell(name, "✘", reason.read_text(encoding="utf8").strip())
                    return True
            return False

    def _execute(self, name: str, claim: Claim, gpu: int) -> None:
        started = time.perf_counter()
        try:
            make(
                self.jobs[name],
                self.grid,
                self.corpora,
                self.output,
                self.storage,
                threads=self.threads,
                gpu_id=gpu,
                started=self._started,
                stopped=self.stopped.is_set,
            )
            self._tell(name, "✔", f"{time.perf_counter() - started:.0f} s")
        except WeltError as err:
            if not self.stopped.is_set():
                logs = self.output / FAILED / name
                told = f"{err} (see {logs})" if logs.is_dir() else str(err)
                self._tell(name, "✘", told)

    def _started(self, process: subprocess.Popen) -> None:
        with self.lock:
            self.processes = {p for p in self.processes if p.poll() is None}
            self.processes.add(process)
            stopped = self.stopped.is_set()
        if stopped:
            process.kill()
            raise KeyboardInterrupt

    def _tell(self, name: str, sign: str, told: str) -> None:
        with self.lock:
            if name in self.done or name in self.failed:
                return
            if sign == "✘":
                self.failed[name] = told
            else:
                self.done.add(name)
            n = len(self.done) + len(self.failed)
            run = self.jobs[name].run.name
            self.report(f"{sign} {run}: {told} ({n} of {len(self.jobs)})")

    def _stop(self) -> None:
        with self.lock:
            self.stopped.set()
            running = list(self.processes)
        end_all(running)
