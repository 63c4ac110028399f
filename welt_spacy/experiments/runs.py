"""Run a job, in a worker process of its own."""

import contextlib
import shutil
import time
from pathlib import Path
from typing import Literal

from ..errors import WeltError, first_line
from ..training.selection.select_file import select_file
from ..util.files import Busy, write_atomically
from ..util.fingerprint import fingerprint
from .jobs import Job
from .layout import CONFIG, METRICS, RunFolder, to_json
from .metrics import collect_metrics
from .steps import evaluate_pipeline, log_step, train_pipeline, tune_pipeline
from .workspace import Workspace

# Seconds to wait for another run that selects the same training data
SELECTION_WAIT = 24 * 3600.0

Outcome = Literal["new", "present", "busy"]


def run_job(job: Job, workspace: Workspace, *, gpu_id: int = -1) -> Outcome:
    """Train, tune and evaluate, unless the results are there.

    The output of a process can't be divided among threads, so this is called in a process of
    its own.

    job (Job): The run.
    workspace (Workspace): The places of the experiment.
    gpu_id (int): The GPU; -1 for the CPU.
    RETURNS (str): "new"; "present" if the results are there; "busy" if another process is at
        work on them.
    RAISES (WeltError): If a step fails. The error and the logs stay in the folder of the run.
    """
    folder = workspace.get_run(job.name)
    with contextlib.ExitStack() as stack:
        try:
            output = stack.enter_context(folder.open())
        except Busy:
            return "busy"
        if workspace.remote is not None and not output.is_current(job.fingerprint):
            workspace.remote.fetch_run(folder)
            output = folder.open()
        if output.is_current(job.fingerprint):
            return "present"
        try:
            folder.clear()
            output.start(job.fingerprint, job.outputs, force=True)
            _run_steps(job, workspace, folder, gpu_id)
            output.finish({"name": job.run.name})
        except Exception as err:
            if isinstance(err, WeltError):
                message = str(err)
            else:
                message = f"{folder.path}: {type(err).__name__}: {first_line(err)}"
            folder.write_error(message)
            if workspace.remote is not None:
                workspace.remote.send_failure(folder)
            raise WeltError(message) from None
        if workspace.remote is not None:
            workspace.remote.send_run(folder)
    return "new"


def _run_steps(job: Job, workspace: Workspace, folder: RunFolder, gpu_id: int) -> None:
    started = time.perf_counter()
    place = folder.path
    (place / CONFIG).write_text(job.config, encoding="utf8")
    train, dev, test = (
        workspace.get_split(job.run.corpus, split) for split in job.splits
    )
    if job.selection is not None:
        with log_step(place, "select"):
            train = _select(job, workspace, train, gpu_id)
    best = place / "model-best"
    with log_step(place, "train"):
        train_pipeline(place / CONFIG, train, dev, place, gpu_id=gpu_id)
    for parameter in job.run.tuned:
        with log_step(place, f"tune-{parameter}"):
            model = place / f"model-{parameter}"
            tune_pipeline(best, dev, model, parameter, gpu_id=gpu_id)
    for parameter, suffix in job.scored.items():
        with log_step(place, f"test{suffix}"):
            evaluate_pipeline(
                place / f"model-{parameter or 'best'}",
                train,
                test,
                place / f"test{suffix}.json",
                place / f"predictions{suffix}.spacy",
                gpu_id=gpu_id,
            )
    job.check_inputs(workspace)
    if not job.keep_models:
        for path in place.glob("model-*"):
            shutil.rmtree(path)
    rows = collect_metrics(job, place, round(time.perf_counter() - started, 1))
    write_atomically(place / METRICS, to_json([row.model_dump() for row in rows]))


def _select(job: Job, workspace: Workspace, train: Path, gpu_id: int) -> Path:
    """Select training data, once for all runs with the same selection and seed."""
    assert job.selection is not None
    settings = job.selection.to_settings(job.run.seed)
    files = {
        role: value
        for role, value in job.fingerprint.files.items()
        if role == job.splits[0] or role.startswith("selection.")
    }
    parts = {"selection": job.fingerprint.settings["selection"], "files": files}
    digest = fingerprint(parts).digest
    path = workspace.get_selected(job.run.corpus, digest)
    select_file(train, path, settings, gpu_id=gpu_id, wait=SELECTION_WAIT)
    return path
