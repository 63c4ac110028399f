"""Run an experiment with worker processes on this machine."""

from collections.abc import Sequence

from ..parallel.pool import WorkerPool
from ..parallel.processes import n_cores
from ..parallel.shard import parse_shard, take_shard
from .driver import Driver, Report, prepare_jobs
from .grid import Grid
from .jobs import Job
from .worker import MODULE, get_arguments
from .workspace import Workspace

# Number of lost processes after which a run has failed
MAX_LOSSES = 1


def run_local(
    grid: Grid,
    workspace: Workspace,
    *,
    n_jobs: int = 1,
    gpus: Sequence[int] = (),
    shard: str | None = None,
    report: Report = print,
) -> list[str]:
    """Run all runs of an experiment that are not done. Several calls can work in one folder at
    the same time, on any machines: each run is done by one of them.

    grid (Grid): The experiment.
    workspace (Workspace): Its places.
    n_jobs (int): Number of runs at the same time; they share the cores.
    gpus (Sequence[int]): The GPUs of these, in turns; none for the CPU.
    shard (str | None): The shard of the runs, such as "3/16"; None for all.
    report (Callable[[str], None]): Called with a line about each run.
    RETURNS (list[str]): A line for each run that failed.
    RAISES (WeltError): As `prepare_jobs`.
    """
    parse_shard(shard)
    jobs = take_shard(prepare_jobs(grid, workspace, report=report), shard)
    return run_jobs(jobs, workspace, n_jobs=n_jobs, gpus=gpus, report=report)


def run_jobs(
    jobs: list[Job],
    workspace: Workspace,
    *,
    n_jobs: int = 1,
    gpus: Sequence[int] = (),
    threads: int | None = None,
    report: Report = print,
) -> list[str]:
    """Run jobs, each in a process of its own; see `run_local`. The cores are divided among them
    if the number of threads is not given.
    """
    driver = Driver(jobs, workspace, report=report)
    arguments = [
        get_arguments(workspace, gpus[i % len(gpus)] if gpus else -1)
        for i in range(n_jobs)
    ]
    threads = threads or max(1, n_cores() // n_jobs)
    with WorkerPool(
        MODULE, arguments, threads=threads, max_losses=MAX_LOSSES, max_tasks=1
    ) as pool:
        return driver.run(pool, Job.to_dict)
