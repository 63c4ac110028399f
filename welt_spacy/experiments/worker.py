"""A worker process that runs jobs.

python -m welt_spacy.experiments.worker DRIVER OUTPUT CORPORA REMOTE GPU_ID
"""

import sys
from pathlib import Path
from typing import Any

from ..parallel.pool import serve_tasks
from .jobs import Job
from .remote import Storage
from .runs import run_job
from .workspace import Workspace

MODULE = "welt_spacy.experiments.worker"


def get_arguments(workspace: Workspace, gpu_id: int) -> list[str]:
    """Return the command line arguments of a worker."""
    remote = workspace.remote.address if workspace.remote else ""
    return [str(workspace.output), str(workspace.corpora), remote, str(gpu_id)]


def main() -> None:
    """Run the jobs that the driver sends."""
    output, corpora, remote, gpu_id = sys.argv[2:]
    workspace = Workspace(
        Path(output), Path(corpora), Storage(remote) if remote else None
    )

    def run(task: dict[str, Any], report: Any) -> str:
        return run_job(Job.from_dict(task), workspace, gpu_id=int(gpu_id))

    serve_tasks(run)


if __name__ == "__main__":
    main()
