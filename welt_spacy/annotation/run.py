"""Annotate files: the Python counterpart of `spacy welt annotate`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WeltError
from ..formats.registry import SUFFIXES
from ..formats.streams import find_files
from ..formats.writers import check_format
from ..parallel.pool import Event, WorkerPool
from ..parallel.ray import RayActorPool, connect_ray
from .folder import AnnotationFolder, read_name
from .plan import Plan, Settings, Shard
from .report import Summary
from .shards import REJECTS, Job, Progress
from .worker import Worker, worker_arguments


@dataclass(frozen=True)
class Resources:
    """The processes that annotate.

    workers (int): Number of processes; 0 for one, or one for each GPU.
    gpu_ids (Sequence[int]): GPUs that the processes share; none for the CPU.
    engine (str): "local", or "ray" for a Ray cluster.
    address (str): The Ray cluster; "local" starts one on this machine. Not used where Ray is
        connected already.
    num_cpus, num_gpus (float): CPUs and GPUs of each process on Ray.
    """

    workers: int = 0
    gpu_ids: Sequence[int] = ()
    engine: str = "local"
    address: str = "auto"
    num_cpus: float = 1.0
    num_gpus: float = 0.0

    @property
    def n_workers(self) -> int:
        """The number of processes."""
        return self.workers or max(1, len(self.gpu_ids))


@dataclass
class Status:
    """The state of a run.

    plan (Plan): The plan.
    done (dict[str, Progress]): Progress of the shards that are done.
    running (dict[str, Progress]): Progress of the shards that are being annotated.
    """

    plan: Plan
    done: dict[str, Progress]
    running: dict[str, Progress] = field(default_factory=dict)

    @property
    def progress(self) -> Progress:
        """The sum of all shards."""
        return sum((*self.done.values(), *self.running.values()), Progress())


def annotate_files(
    models: Sequence[str | Path],
    inputs: Sequence[str],
    output: Path,
    settings: Settings = Settings(),
    *,
    resources: Resources = Resources(),
    shard: str | None = None,
    max_errors: int | None = None,
    report: bool = False,
    on_scan: Callable[[int, int], None] = lambda n, n_files: None,
    on_update: Callable[[Status], None] = lambda status: None,
) -> Summary:
    """Annotate any number of texts into a folder, exactly once. A run that was ended, even by
    a power cut, continues where it was and writes the same bytes.

    models (Sequence[str | Path]): Pipelines that set `doc.ents`: names or folders.
    inputs (Sequence[str]): Files, folders and addresses.
    output (Path): The folder to write.
    settings (Settings): Settings that decide the output.
    resources (Resources): The processes that annotate.
    shard (str | None): The shards to annotate, such as "3/16" for one of 16 processes that
        share the work; None for all.
    max_errors (int | None): Maximum number of rejected documents; None for any number.
    report (bool): Whether to write report.html.
    on_scan (Callable[[int, int], None]): Called with the number of files that are scanned,
        and of all files, while the run is planned.
    on_update (Callable[[Status], None]): Called at the start, at each event and twice a second.
    RETURNS (Summary): The counts of all shards that are done.
    RAISES (WeltError): If the run can't continue. Finished shards are kept.
    """
    check_format(settings.format, len(models))
    job = Job(output.absolute(), [_absolute(model) for model in models], settings)
    names = [read_name(model) for model in job.models]
    if len(set(names)) < len(names):
        raise WeltError(
            f"two pipelines are called {names[0]}, so their entities could not be "
            "distinguished. Give one another name or version in its meta.json"
        )
    files = find_files(inputs, SUFFIXES)
    folder = AnnotationFolder(
        job,
        files,
        shard=shard,
        processes=resources.n_workers,
        report=lambda n: on_scan(n, len(files)),
    )
    with folder:
        status = Status(folder.plan, folder.done)
        on_update(status)
        _check_rejects(output, status, max_errors)
        for event in _run_shards(job, folder.pending, resources):
            _handle(event, status)
            _check_rejects(output, status, max_errors)
            on_update(status)
        return folder.finish(report=report)


def _absolute(model: str | Path) -> str:
    return str(Path(model).absolute() if Path(model).is_dir() else model)


def _run_shards(
    job: Job, shards: Sequence[Shard], resources: Resources
) -> Iterator[Event | None]:
    """Yield the events of the workers, and None if there is none for a while."""
    if not shards:
        return
    with _make_pool(job, min(resources.n_workers, len(shards)), resources) as pool:
        for shard in shards:
            pool.submit(asdict(shard))
        while pool.n_unfinished:
            yield from pool.wait() or [None]


@contextlib.contextmanager
def _make_pool(job: Job, workers: int, resources: Resources) -> Iterator[Any]:
    threads = job.settings.threads
    if resources.engine == "local":
        gpu_ids = resources.gpu_ids or [-1]
        arguments = [
            worker_arguments(job, gpu_ids[i % len(gpu_ids)]) for i in range(workers)
        ]
        module = "welt_spacy.annotation.worker"
        with WorkerPool(module, arguments, threads=threads) as pool:
            yield pool
        return
    needs = {"CPU": resources.num_cpus, "GPU": resources.num_gpus}
    # Ray shows a process its own GPU alone
    gpu_id = 0 if resources.num_gpus else -1
    with (
        connect_ray(resources.address) as ray,
        RayActorPool(
            ray,
            lambda: Worker(job, gpu_id),
            workers=workers,
            needs=needs,
            threads=threads,
        ) as pool,
    ):
        yield pool


def _handle(event: Event | None, status: Status) -> None:
    if event is None:
        return
    name = event.task["name"]
    if event.kind == "failed":
        raise WeltError(event.value)
    if event.kind == "lost":
        raise WeltError(
            f"shard {name}: {event.value}. Finished shards are kept: run the same command "
            "again"
        )
    if event.kind == "progress":
        status.running[name] = Progress(**event.value)
        return
    status.running.pop(name, None)
    if event.kind == "done":
        status.done[name] = Progress(**event.value)


def _check_rejects(output: Path, status: Status, max_errors: int | None) -> None:
    n = sum(progress.rejects for progress in status.done.values())
    if max_errors is not None and n > max_errors:
        raise WeltError(
            f"{n:,} documents were rejected, more than --max-errors {max_errors:,}: see "
            f"{output / REJECTS}. Run it again with a higher number to continue"
        )
