"""Hand out the jobs of an experiment to a pool of workers, together with other drivers.

Each run is locked by the worker that runs it, so any number of drivers can work in one folder.
A driver leaves the runs of others alone, and waits for their results at the end.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..corpora.catalog import CATALOG
from ..corpora.corpus_folder import convert_corpus
from ..corpora.fetch import fetch
from ..errors import WeltError
from ..parallel.pool import Event
from ..util.files import exclusive_lock
from .grid import Grid
from .jobs import Job, cache_encoders, make_jobs
from .layout import ERROR
from .workspace import Workspace

Report = Callable[[str], None]

# Seconds to wait for another process that converts the same corpus
CONVERSION_WAIT = 3600.0


@dataclass(frozen=True)
class ExperimentStatus:
    """The state of an experiment.

    runs, done (int): Number of runs, and of those that are done.
    running (list[str]): The runs that a process has locked.
    failed (dict[str, str]): Runs that failed the last time -> reason.
    """

    runs: int
    done: int
    running: list[str]
    failed: dict[str, str]


def get_status(workspace: Workspace) -> ExperimentStatus:
    """Return the state of an experiment, from its folder alone. Raise a `WeltError` if it was
    not started there.
    """
    names, _ = workspace.read_plan()
    folders = {name: workspace.get_run(name) for name in names}
    done = {name for name, folder in folders.items() if folder.open().is_intact()}
    errors = {name: folder.read_error() for name, folder in folders.items()}
    return ExperimentStatus(
        len(names),
        len(done),
        [name for name, folder in folders.items() if folder.is_locked()],
        {name: error for name, error in errors.items() if error and name not in done},
    )


def prepare_jobs(
    grid: Grid, workspace: Workspace, *, report: Report = print
) -> list[Job]:
    """Convert missing corpora, fetch the runs of other machines, and write the plan."""
    convert_missing(grid, workspace, report=report)
    for name in cache_encoders(grid):
        report(
            f"{name}: its commit is not known, because it is neither in the local cache nor "
            "can it be fetched. Runs are not repeated if it changes"
        )
    jobs = make_jobs(grid, workspace)
    names = [job.name for job in jobs]
    if workspace.remote is not None:
        workspace.remote.fetch_all(workspace.output)
    workspace.write_plan(names)
    if workspace.remote is not None:
        workspace.remote.send_missing(names, workspace.output)
    return jobs


def convert_missing(
    grid: Grid, workspace: Workspace, *, report: Report = print
) -> None:
    """Fetch and convert the corpora of an experiment that are missing. Existing files are not
    changed.
    """

    def is_there(corpus: str) -> bool:
        paths = (workspace.get_split(corpus, split) for split in grid.splits)
        return all(path.is_file() for path in paths)

    for name in grid.corpora:
        if is_there(name):
            continue
        folder = workspace.corpora / name
        # Not the lock of the conversion itself, which does not wait
        with exclusive_lock(folder.with_name(f"{name}.fetched"), wait=CONVERSION_WAIT):
            if is_there(name):
                continue
            if name not in CATALOG:
                raise WeltError(
                    f"{folder} lacks {', '.join(grid.splits)} (.spacy), and no corpus that "
                    f"can be fetched is called {name!r}. Convert it first"
                )
            report(f"{folder} is missing: it is fetched and converted")
            convert_corpus(CATALOG[name], fetch(CATALOG[name]), folder)


class Driver:
    """Runs jobs with a pool until all are done or have failed.

    jobs (list[Job]): The jobs.
    workspace (Workspace): The places of the experiment.
    report (Callable[[str], None]): Called with a line about each run.
    """

    def __init__(self, jobs: list[Job], workspace: Workspace, *, report: Report):
        self.workspace, self.report = workspace, report
        self.failed: dict[str, str] = {}
        self._n_jobs = len(jobs)
        self.waiting = deque(job for job in jobs if not job.is_done(workspace))
        self._n_ended = len(jobs) - len(self.waiting)
        self._errors = {job.name: self._get_error_time(job) for job in self.waiting}
        report(f"{self._n_jobs} runs, {self._n_ended} of them done before")

    def run(self, pool: Any, make_task: Callable[[Job], Any]) -> list[str]:
        """Run the jobs and return a line for each that failed."""
        running: list[tuple[Any, Job]] = []
        while self.waiting or pool.n_unfinished:
            for _ in range(len(self.waiting)):
                if not pool.n_free:
                    break
                job = self.waiting.popleft()
                if self._is_over(job):
                    continue
                if self.workspace.get_run(job.name).is_locked():
                    self.waiting.append(job)
                    continue
                running.append((make_task(job), job))
                pool.submit(running[-1][0])
            for event in pool.wait():
                job = next(job for task, job in running if task is event.task)
                if event.is_last:
                    running = [pair for pair in running if pair[1] is not job]
                self._handle(job, event)
        return [f"{name}: {message}" for name, message in self.failed.items()]

    def _is_over(self, job: Job) -> bool:
        """Return whether another driver has ended the run since this one began."""
        if job.is_done(self.workspace):
            self._end(job, "✔", "was run by another process")
            return True
        if self._get_error_time(job) not in (None, self._errors[job.name]):
            self._fail(job, self.workspace.get_run(job.name).read_error())
            return True
        return False

    def _get_error_time(self, job: Job) -> int | None:
        try:
            path = self.workspace.get_run(job.name).path / ERROR
            return path.stat().st_mtime_ns
        except OSError:
            return None

    def _handle(self, job: Job, event: Event) -> None:
        if event.kind == "done" and event.value == "busy":
            self.waiting.append(job)
        elif event.kind == "done":
            is_new = event.value == "new"
            self._end(job, "✔", "done" if is_new else "was run by another process")
        elif event.kind == "restarted":
            self.report(f"⚠ {job.run.name}: {event.value}. It is run again")
        elif event.is_last:
            folder = self.workspace.get_run(job.name)
            if not folder.read_error():  # a lost worker can't write it
                folder.write_error(event.value)
            self._fail(job, event.value)

    def _fail(self, job: Job, message: str) -> None:
        path = self.workspace.get_run(job.name).path
        self.failed[job.run.name] = f"{message.rstrip('.')} (see {path})"
        self._end(job, "✘", self.failed[job.run.name])

    def _end(self, job: Job, sign: str, message: str) -> None:
        self._n_ended += 1
        self.report(
            f"{sign} {job.run.name}: {message} ({self._n_ended} of {self._n_jobs})"
        )
