"""Results of an experiment: the runs that are of its file, as plain data and as Parquet."""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import WeltError, extra_needed, first_line
from ..util.files import write_atomically
from ..util.fingerprint import Fingerprint, get_versions
from .grid import Grid
from .jobs import Job, iterate_jobs
from .layout import METRICS, RunFolder
from .metrics import Metrics, read_metrics
from .workspace import Workspace

# Fields of `Metrics` that are costs
COSTS = ("seconds", "train_seconds", "peak_mb")


class Scored(NamedTuple):
    """A scored pipeline.

    strict, fair (dict[str, float]): "p", "r" and "f", in per cent.
    by_doc (ndarray): Shape (n_docs, 3), int64: right, predicted, gold.
    """

    strict: dict[str, float]
    fair: dict[str, float]
    by_doc: np.ndarray


class Group(NamedTuple):
    """The runs within which schemes are compared: those of a corpus, encoder and selection."""

    corpus: str
    encoder: str = ""
    selection: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, self))


Scores = dict[Group, dict[str, dict[int, Scored]]]


@dataclass(frozen=True)
class Results:
    """Results of an experiment.

    scores (dict[Group, dict[str, dict[int, Scored]]]): Group -> scheme -> seed -> scores. A
        scheme with a tuned parameter is another one, "vanilla + o_bias".
    metrics (dict[str, list[Metrics]]): Folder of each run -> its rows.
    outdated (dict[str, list[str]]): Folder of each run in the workspace that is left out ->
        the values in which its fingerprint differs from that of the experiment.
    missing (list[str]): Runs of the experiment without results.
    """

    scores: Scores
    metrics: dict[str, list[Metrics]]
    outdated: dict[str, list[str]]
    missing: list[str]

    def describe_gaps(self) -> list[str]:
        """Return a line about outdated runs and one about missing ones, if there are any."""
        lines = []
        if self.outdated:
            runs = [
                f"{name} ({', '.join(names[:3])})" if names else name
                for name, names in self.outdated.items()
            ]
            lines.append(
                f"{len(runs)} runs are out of date and not shown: {_enumerate(runs)}"
            )
        if self.missing:
            lines.append(
                f"{len(self.missing)} runs are not done: {_enumerate(self.missing)}"
            )
        return lines


def read_results(grid: Grid, workspace: Workspace) -> Results:
    """Read the results of the runs of an experiment.

    A run counts if it was done with the settings of the experiment, with the files that are
    here, and with the package versions of the last call of `run`. Other runs are left out.
    """
    folders = {folder.name: folder for folder in workspace.find_runs()}
    records = {name: folder.open() for name, folder in folders.items()}
    fingerprints = {
        name: record.fingerprint
        for name, record in records.items()
        if record.is_finished and record.fingerprint is not None
    }
    versions = _get_versions(workspace)
    scores: Scores = {}
    metrics: dict[str, list[Metrics]] = {}
    differences: dict[str, list[str]] = {}
    missing = []
    for job in iterate_jobs(grid, workspace):
        run = job.run
        schemes = scores.setdefault(Group(run.corpus, run.encoder, run.selection), {})
        pattern = re.compile(f"{re.escape(run.name)}-[0-9a-f]{{16}}")
        missing.append(run.name)
        for name in filter(pattern.fullmatch, fingerprints):
            names = _compare(job, fingerprints[name], versions)
            if names:
                differences[name] = names
                continue
            missing.remove(run.name)
            metrics[name] = rows = _read_rows(folders[name])
            for row in rows:
                scheme = f"{run.scheme} + {row.tuned}" if row.tuned else run.scheme
                schemes.setdefault(scheme, {})[run.seed] = _to_scored(row)
            break
    outdated = {
        name: differences.get(name, []) for name in fingerprints if name not in metrics
    }
    results = Results(scores, metrics, outdated, missing)
    if not metrics:
        lines = "".join(f". {line}" for line in results.describe_gaps()[:1])
        raise WeltError(f"{workspace.output}: no run of this experiment is done{lines}")
    return results


def read_all_rows(workspace: Workspace) -> list[Metrics]:
    """Return the rows of all runs in a workspace, of any settings."""
    return [row for folder in workspace.find_runs() for row in _read_rows(folder)]


def _get_versions(workspace: Workspace) -> dict[str, str]:
    try:
        return workspace.read_plan()[1]
    except WeltError:
        return get_versions()


def _compare(job: Job, fingerprint: Fingerprint, versions: dict[str, str]) -> list[str]:
    """Name the values in which a run differs from a job. Files that are not here are not
    compared.
    """
    files = {role: fingerprint.files.get(role, "") for role in job.fingerprint.files}
    expected = Fingerprint(job.fingerprint.settings, job.fingerprint.files, versions)
    run = Fingerprint(fingerprint.settings, files, fingerprint.versions)
    return expected.differences(run)


def _read_rows(folder: RunFolder) -> list[Metrics]:
    try:
        if not folder.open().has(METRICS):
            raise WeltError("they were changed or are incomplete")
        return read_metrics(folder.path / METRICS)
    except (OSError, ValueError) as err:
        raise WeltError(
            f"{folder.path / METRICS}: can't read these scores: {first_line(err)}. Run the "
            "experiment again"
        ) from None


def _to_scored(row: Metrics) -> Scored:
    return Scored(
        {key: 100 * getattr(row, f"strict_{key}") for key in "prf"},
        {key: 100 * getattr(row, f"fair_{key}") for key in "prf"},
        np.array(row.by_doc, dtype="int64").reshape(-1, 3),
    )


def _enumerate(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def write_parquet(results: Results, folder: Path) -> None:
    """Write metrics as a Parquet data set, a file for each run."""
    with extra_needed("a Parquet data set", "annotation"):
        import pyarrow
        from pyarrow.parquet import write_table
    text, number = pyarrow.string(), pyarrow.float64()
    by_name = pyarrow.map_(text, number)
    schema = pyarrow.schema(
        [
            *((key, text) for key in ("corpus", "encoder", "selection", "scheme")),
            ("tuned", text),
            ("seed", pyarrow.int64()),
            *((f"{way}_{key}", number) for way in ("strict", "fair") for key in "prf"),
            ("per_type", by_name),
            ("weights", by_name),
            ("docs", pyarrow.int64()),
            ("by_doc", pyarrow.list_(pyarrow.list_(pyarrow.int32()))),
            *((key, number) for key in ("words_s", "seconds", "train_seconds")),
            *((key, number) for key in ("peak_mb", "peak_gpu_mb")),
            ("revision", text),
            ("versions", pyarrow.map_(text, text)),
            ("checksum", text),
        ]
    )
    for path in folder.glob("*.parquet"):
        is_run = re.search("-[0-9a-f]{16}$", path.stem)
        if is_run and path.stem not in results.metrics:
            path.unlink()
    for name, rows in results.metrics.items():
        content = BytesIO()
        records = list(map(_flatten, rows))
        write_table(pyarrow.Table.from_pylist(records, schema=schema), content)
        write_atomically(folder / f"{name}.parquet", content.getvalue())


def _flatten(row: Metrics) -> dict[str, object]:
    """Return a row with dictionaries as pairs, as pyarrow reads maps."""
    return {
        key: list(value.items()) if isinstance(value, dict) else value
        for key, value in row.model_dump().items()
    }
