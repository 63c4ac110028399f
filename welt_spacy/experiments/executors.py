"""Who trains which run: threads of this process, any number of processes, or Ray.

Each run is an ordinary subprocess and gives the same files whoever starts it. Claims keep two
processes from the same run; where they fail, a run is made twice, and put in place once.
"""

import contextlib
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

from ..claims import Claim, Claims, part, share_work
from ..errors import WeltError
from ..processes import end_all
from .grid import Grid
from .runs import FAILED, RUNS, Job, execute, failures, is_done, jobs_of

CLAIMS = "claims"


class Status(NamedTuple):
    """How far an experiment is.

    runs, done, failed (int): How many.
    running (Dict[str, Dict[str, Any]]): What is being trained, and by which process.
    """

    runs: int
    done: int
    failed: int
    running: Dict[str, Dict[str, Any]]


def status(jobs: List[Job], output: Path) -> Status:
    """Tell how far an experiment is, from its folder alone.

    jobs (List[Job]): Its runs.
    output (Path): Its folder.
    RETURNS (Status): How far it is.
    """
    names = {job.name for job in jobs}
    claims = Claims(output / CLAIMS)
    held = set(claims.held())
    running = {
        name: told
        for name, told in claims.told().items()
        if name in names and name in held
    }
    done = sum(is_done(job, output) for job in jobs)
    return Status(len(jobs), done, len(names & set(failures(output))), running)


def run_all(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    at_once: int = 1,
    gpus: Optional[List[int]] = None,
    own: Optional[str] = None,
    report: Callable[[str], None] = print,
) -> List[str]:
    """Run what has not been run yet. Several of these can work on one folder, on any
    machines: each run is trained by one of them, and each waits for the others' runs.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment. See `runs.execute` for what is in it.
    at_once (int): How many runs share the cores; they are divided among them.
    gpus (Optional[List[int]]): A GPU for each of these, in turns; None: the CPU.
    own (Optional[str]): Which part of the runs, such as "3/16"; None: all.
    report (Callable[[str], None]): Is given a line about each run.
    RETURNS (List[str]): What failed, a line a run.
    RAISES (WeltError): If a corpus is not there, or the folder can't be written to.
    """
    number, n_parts = part(own)
    jobs = jobs_of(grid, corpora)[number::n_parts]
    return _Runner(grid, corpora, output, jobs, at_once, gpus, report).run()


class _Runner:
    def __init__(
        self,
        grid: Grid,
        corpora: Path,
        output: Path,
        jobs: List[Job],
        at_once: int,
        gpus: Optional[List[int]],
        report: Callable[[str], None],
    ):
        self.grid, self.corpora, self.output = grid, corpora, output
        self.jobs = {job.name: job for job in jobs}
        self.at_once, self.gpus, self.report = at_once, gpus, report
        self.threads = max(1, (os.cpu_count() or 1) // at_once)
        self.done: Set[str] = set()
        self.failed: Dict[str, str] = {}
        self.processes: Set[subprocess.Popen] = set()
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self.begun = time.time()

    def run(self) -> List[str]:
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
            reason = self.output / FAILED / name / "reason.txt"
            with contextlib.suppress(OSError):
                if reason.stat().st_mtime > self.begun:
                    self._tell(name, "✘", reason.read_text(encoding="utf8").strip())
                    return True
            return False

    def _execute(self, name: str, claim: Claim, gpu: int) -> None:
        started = time.perf_counter()
        try:
            execute(
                self.jobs[name],
                self.grid,
                self.corpora,
                self.output,
                threads=self.threads,
                gpu_id=gpu,
                started=self._started,
                stopped=self.stopped.is_set,
            )
            self._tell(name, "✔", f"{time.perf_counter() - started:.0f} s")
        except WeltError as err:
            if not self.stopped.is_set():
                told = f"{err} (see {self.output / FAILED / name})"
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


def run_ray(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    connect: Callable[[], Any],
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    report: Callable[[str], None] = print,
) -> List[str]:
    """Run what has not been run yet, on a Ray cluster: a task a run.

    A task whose node is lost is given out again; one that fails is not.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora, which all nodes see.
    output (Path): The folder of the experiment, likewise.
    connect (Callable[[], Any]): Gets the connected module `ray`.
    num_cpus, num_gpus (float): What each run needs; a GPU may be shared.
    report (Callable[[str], None]): Is given a line about each run.
    RETURNS (List[str]): What failed, a line a run.
    RAISES (WeltError): If a corpus is not there.
    """
    jobs = [job for job in jobs_of(grid, corpora) if not is_done(job, output)]
    total = len(grid.runs())
    report(f"{total} runs, {total - len(jobs)} of them done before")
    if not jobs:
        return []
    ray = connect()
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=3, max_calls=1)(
        _run_task
    )
    places = (corpora.resolve(), output.resolve(), Path.cwd())
    # Not all at once: a window of what can run, and as much again
    cpus = ray.cluster_resources().get("CPU", 1.0)
    window = max(2, int(2 * cpus / max(num_cpus, 0.01)))
    left, n = jobs[::-1], total - len(jobs)
    waiting: Dict[Any, Job] = {}
    failed: List[str] = []
    while left or waiting:
        while left and len(waiting) < window:
            job = left.pop()
            waiting[
                task.remote(job, grid, *places, int(num_cpus) or 1, num_gpus > 0)
            ] = job
        ready, _ = ray.wait(list(waiting), timeout=1.0)
        for result in ready:
            job, n = waiting.pop(result), n + 1
            try:
                told = ray.get(result)
            except ray.exceptions.RayError as err:
                told = " ".join(str(err).split())[:200]
            sign = "✘" if told else "✔"
            if told:
                failed.append(f"{job.run.name}: {told}")
            report(
                f"{sign} {job.run.name}{': ' if told else ''}{told} ({n} of {total})"
            )
    return failed


def _run_task(
    job: Job,
    grid: Grid,
    corpora: Path,
    output: Path,
    folder: Path,
    threads: int,
    gpu: bool,
) -> str:
    """Why a run failed; empty if it did not. An exception would be retried by nobody."""
    # Paths of the experiment begin where its command runs
    os.chdir(folder)
    if is_done(job, output):
        return ""
    with Claims(output / CLAIMS).take(job.name):
        try:
            execute(
                job, grid, corpora, output, threads=threads, gpu_id=0 if gpu else -1
            )
        except WeltError as err:
            return str(err)
    return ""
