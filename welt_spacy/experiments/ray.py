"""Run an experiment on a Ray cluster, a task for each run."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..corpora.fetch import default_cache
from ..errors import WeltError
from ..parallel.pool import WorkerPool
from ..parallel.ray import RayTaskPool, has_node
from .driver import Driver, Report, prepare_jobs
from .grid import Grid
from .jobs import Job
from .local import MAX_LOSSES
from .remote import CORPORA, Storage
from .worker import MODULE, get_arguments
from .workspace import Workspace

# Number of lost nodes after which a run has failed
MAX_NODE_LOSSES = 3


def run_ray(
    grid: Grid,
    workspace: Workspace,
    *,
    connect: Callable[[], Any],
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    report: Report = print,
) -> list[str]:
    """Run all runs of an experiment that are not done, on a Ray cluster.

    A run whose node is lost is run again; a run that fails is not.

    grid (Grid): The experiment.
    workspace (Workspace): Its places. Without a remote storage, all nodes see both folders
        under the same names.
    connect (Callable[[], Any]): Returns the connected module `ray`; not called if all is done.
    num_cpus, num_gpus (float): Resources of a run; a GPU may be shared.
    report (Callable[[str], None]): Called with a line about each run.
    RETURNS (list[str]): A line for each run that failed.
    RAISES (WeltError): As `prepare_jobs`.
    """
    jobs = prepare_jobs(grid, workspace, report=report)
    driver = Driver(jobs, workspace, report=report)
    if not driver.waiting:
        return []
    remote = workspace.remote
    if remote is not None:
        for corpus in {job.run.corpus for job in driver.waiting}:
            remote.send_corpus(corpus, grid.splits, workspace.corpora)
    ray = connect()
    needs = {"CPU": num_cpus, "GPU": num_gpus}
    if not has_node(ray, needs):
        names = ", ".join(f"{need:g} {name}s" for name, need in needs.items() if need)
        report(f"No node of the cluster has {names}: waiting for one")
    run = partial(
        run_task,
        output=workspace.output.resolve(),
        corpora=workspace.corpora.resolve(),
        folder=Path.cwd(),
        address=remote.address if remote else None,
        threads=int(num_cpus) or 1,
        gpu_id=0 if num_gpus else -1,  # Ray shows a process its own GPU alone
    )
    with RayTaskPool(ray, run, needs=needs, max_losses=MAX_NODE_LOSSES) as pool:
        failed = driver.run(pool, lambda job: job)
    if remote is not None:
        remote.fetch_all(workspace.output)
    return failed


def run_task(
    job: Job,
    *,
    output: Path,
    corpora: Path,
    folder: Path,
    address: str | None,
    threads: int,
    gpu_id: int,
) -> str:
    """Run a job on a node, in a process of its own, and return the outcome of `run_job`."""
    workspace = Workspace(output, corpora)
    if address is not None:
        storage = Storage(address)
        # The files of this node's user are not touched
        output = default_cache() / "experiments" / storage.name
        workspace = Workspace(output, output / CORPORA, storage)
        files = job.fingerprint.files
        checksums = {split: files[split] for split in job.splits}
        storage.fetch_corpus(job.run.corpus, checksums, workspace.corpora)
    outcome = _run_in_worker(job, workspace, folder, threads, gpu_id)
    if address is not None and outcome != "busy":
        # It is in the storage, and pipelines would fill the disk of the node
        shutil.rmtree(workspace.get_run(job.name).path, ignore_errors=True)
    return outcome


def _run_in_worker(
    job: Job, workspace: Workspace, folder: Path, threads: int, gpu_id: int
) -> str:
    with WorkerPool(
        MODULE,
        [get_arguments(workspace, gpu_id)],
        threads=threads,
        max_losses=MAX_LOSSES,
        # Paths of the experiment begin in the folder of its driver
        folder=folder if folder.is_dir() else None,
    ) as pool:
        pool.submit(job.to_dict())
        while True:
            for event in pool.wait():
                if event.kind == "done":
                    return str(event.value)
                if event.is_last:
                    raise WeltError(event.value)
