"""A worker process, which annotates shards.

python -m welt_spacy.annotation.worker DRIVER_PID OUTPUT MODELS SETTINGS GPU_ID
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..parallel.pool import serve_tasks
from ..util.pipelines import load_pipeline
from .annotator import Pipelines, name_pipeline
from .plan import Settings, Shard
from .shards import Job, Progress, annotate_shard

Report = Callable[[Any], None]


class Worker:
    """Annotates shards of a job. The pipelines are loaded for the first one.

    job (Job): The job.
    gpu_id (int): The GPU; -1 for the CPU.
    """

    def __init__(self, job: Job, gpu_id: int) -> None:
        self._job, self._gpu_id = job, gpu_id
        self._pipelines: Pipelines | None = None

    def __call__(
        self, shard: dict[str, Any], report: Report = lambda progress: None
    ) -> dict[str, int]:
        """Annotate a shard and return its progress. All values are JSON data."""
        if self._pipelines is None:
            self._pipelines = load_pipelines(self._job, self._gpu_id)

        def send(progress: Progress) -> None:
            report(asdict(progress))

        record = annotate_shard(
            self._job, Shard.from_dict(shard), self._pipelines, send
        )
        return asdict(record.progress)


def load_pipelines(job: Job, gpu_id: int = -1) -> Pipelines:
    """Load the pipelines of a job."""
    pipelines = [
        name_pipeline(load_pipeline(Path(model), gpu_id=gpu_id)) for model in job.models
    ]
    return Pipelines(pipelines, max_chars=job.settings.max_chars)


def worker_arguments(job: Job, gpu_id: int) -> list[str]:
    """Return the command line arguments of a worker, after the process id."""
    values = job.models, asdict(job.settings)
    return [str(job.output), *map(json.dumps, values), str(gpu_id)]


def main() -> None:
    """Run tasks until the driver closes the pipe."""
    output, models, settings, gpu_id = sys.argv[2:]
    job = Job(Path(output), json.loads(models), Settings(**json.loads(settings)))
    serve_tasks(Worker(job, int(gpu_id)))


if __name__ == "__main__":
    main()
