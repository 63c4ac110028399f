"""Runs on a Ray cluster: a task a run."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..corpora.fetch import default_cache
from ..errors import WeltError
from ..parallel.claims import Claims, share_work
from ..parallel.ray import RayTaskPool, has_node
from .grid import Grid
from .jobs import RUNS, Job, is_done, splits_of
from .local import CLAIMS, prepare
from .remote import CORPORA, Storage
from .runs import make

# How often a task is given out again when its node, or its process, is lost
MOST_LOSSES = 3


def run_ray(
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    connect: Callable[[], Any],
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    storage: Storage | None = None,
    report: Callable[[str], None] = print,
) -> list[str]:
    """Run what has not been run yet, on a Ray cluster: a task a run.

    A task whose node is lost is given out again; one that fails is not.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): The folder of the experiment. Without a storage, all nodes see both
        folders under the same names.
    connect (Callable[[], Any]): Gets the connected module `ray`.
    num_cpus, num_gpus (float): What each run needs; a GPU may be shared.
    storage (Storage | None): Where runs and corpora are kept for all nodes, which
        then need no file system in common.
    report (Callable[[str], None]): Is given a line about each run.
    RETURNS (list[str]): What failed, a line a run.
    RAISES (WeltError): As `executors.prepare`.
    """
    jobs = prepare(grid, corpora, output, storage=storage, report=report)
    claims = Claims(output / CLAIMS)
    claims.clean(output / RUNS)
    total = len(jobs)
    jobs = [job for job in jobs if not is_done(job, output)]
    n = total - len(jobs)
    report(f"{total} runs, {n} of them done before")
    if not jobs:
        return []
    address = None
    if storage is not None:
        address = storage.address
        for corpus in {job.run.corpus for job in jobs}:
            storage.send_corpus(corpus, splits_of(grid), corpora)
    ray = connect()
    needs = {"CPU": num_cpus, "GPU": num_gpus}
    if not has_node(ray, needs):
        told = ", ".join(f"{need:g} {name}s" for name, need in needs.items() if need)
        report(f"No node of the cluster has {told}: waiting for one")
    run = partial(
        _run_task,
        grid=grid,
        corpora=corpora.resolve(),
        output=output.resolve(),
        folder=Path.cwd(),
        address=address,
        threads=int(num_cpus) or 1,
        gpu=num_gpus > 0,
    )
    failed: dict[str, str] = {}
    with RayTaskPool(ray, run, needs=needs, max_losses=MOST_LOSSES) as pool:
        for job in jobs:
            pool.submit(job)
        while pool.n_unfinished:
            for event in filter(lambda event: event.is_last, pool.wait()):
                n += 1
                name = event.task.run.name
                if event.value:
                    failed[name] = event.value
                end = f": {event.value}" if event.value else ""
                report(f"{'✘' if event.value else '✔'} {name}{end} ({n} of {total})")
    if storage is not None:
        storage.fetch_all(output)
    claims.clean(output / RUNS)
    return [f"{name}: {told}" for name, told in failed.items()]


def _run_task(
    job: Job,
    *,
    grid: Grid,
    corpora: Path,
    output: Path,
    folder: Path,
    address: str | None,
    threads: int,
    gpu: bool,
) -> str:
    """Why a run failed; empty if it did not. An exception would be retried by nobody."""
    if folder.is_dir():
        # Paths of the experiment begin where its command runs
        os.chdir(folder)
    storage = None
    failed: list[str] = []
    try:
        if address is not None:
            storage = Storage(address)
            # Nothing of this node's user is touched
            output = default_cache() / "experiments" / storage.name
            corpora = output / CORPORA
            storage.fetch_corpus(job.run.corpus, job.settings["data"], corpora)

        def do(name: str, claim: Any) -> None:
            try:
                make(
                    *(job, grid, corpora, output, storage),
                    threads=threads,
                    # Ray shows the process its own GPU alone
                    gpu_id=0 if gpu else -1,
                )
            except WeltError as err:
                failed.append(str(err))

        # Another driver may be at the same run
        share_work(
            Claims(output / CLAIMS),
            [job.name],
            lambda name: bool(failed) or is_done(job, output),
            do,
        )
        if storage is not None and not failed:
            # It is in the storage; pipelines would fill the disk of the node
            shutil.rmtree(output / RUNS / job.name, ignore_errors=True)
    except WeltError as err:
        failed.append(str(err))
    return "".join(failed)
