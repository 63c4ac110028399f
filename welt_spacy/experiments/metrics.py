"""Metrics of a run: a flat row for each scored pipeline."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import srsly
from pydantic import BaseModel, Field, TypeAdapter

from ..evaluation.records import Evaluation
from .jobs import Job
from .steps import USAGE


class Metrics(BaseModel):
    """Scores and costs of a scored pipeline.

    corpus, encoder, selection, scheme, seed: As in `Run`.
    tuned (str): The parameter that was tuned on dev; empty for none.
    strict_p ... fair_f (float): Precision, recall and F1 in [0, 1].
    per_type (dict[str, float]): Label -> strict F1.
    weights (dict[str, float]): Tag -> class weight.
    docs (int): Number of documents.
    by_doc (list[list[int]]): For each document: right, predicted, gold.
    words_s (float | None): Words per second of the evaluation.
    seconds, train_seconds (float): Duration of the run and of the training.
    peak_mb, peak_gpu_mb (float): Memory of the process, and of torch on the GPU.
    revision (str): The commit of the git repository of the current folder, if it is one.
    versions (dict[str, str]): Versions of packages.
    checksum (str): Digest of the fingerprint.
    """

    corpus: str
    encoder: str
    selection: str
    scheme: str
    seed: int
    tuned: str
    strict_p: float
    strict_r: float
    strict_f: float
    fair_p: float
    fair_r: float
    fair_f: float
    per_type: dict[str, float] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)
    docs: int
    by_doc: list[tuple[int, int, int]]
    words_s: float | None = None
    seconds: float
    train_seconds: float
    peak_mb: float
    peak_gpu_mb: float = 0
    revision: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    checksum: str = ""


METRICS_ROWS = TypeAdapter(list[Metrics])


def read_metrics(path: Path) -> list[Metrics]:
    """Read the rows of a run. Raise an `OSError` or `ValueError` if that is not possible."""
    return METRICS_ROWS.validate_json(path.read_bytes(), strict=True)


def collect_metrics(job: Job, folder: Path, seconds: float) -> list[Metrics]:
    """Collect the rows of a run from the results in its folder."""
    run = job.run
    usage = {
        path.name.removesuffix(USAGE): srsly.read_json(path)
        for path in folder.glob(f"*{USAGE}")
    }
    costs: dict[str, Any] = {
        key: max(record[key] or 0 for record in usage.values())
        for key in ("peak_mb", "peak_gpu_mb")
    }
    rows = []
    for parameter, suffix in job.scored.items():
        evaluation = Evaluation.from_dict(
            srsly.read_json(folder / f"test{suffix}.json")
        )
        strict, fair = evaluation.strict._asdict(), evaluation.fair._asdict()
        class_weights = next(iter(evaluation.class_weights.values()), None)
        rows.append(
            Metrics(
                corpus=run.corpus,
                encoder=run.encoder,
                selection=run.selection,
                scheme=run.scheme,
                seed=run.seed,
                tuned=parameter,
                **{f"strict_{key}": value for key, value in strict.items()},
                **{f"fair_{key}": value for key, value in fair.items()},
                per_type={
                    label: part.strict.f for label, part in evaluation.per_type.items()
                },
                weights={} if class_weights is None else class_weights.weights,
                docs=evaluation.docs,
                by_doc=[tuple(counts) for counts in evaluation.by_doc],
                words_s=evaluation.speed,
                seconds=seconds,
                train_seconds=usage["train"]["seconds"],
                **costs,
                revision=_get_revision(),
                versions=job.fingerprint.versions,
                checksum=job.fingerprint.digest[:16],
            )
        )
    return rows


@cache
def _get_revision() -> str:
    try:
        git = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return git.stdout.strip() if git.returncode == 0 else ""
