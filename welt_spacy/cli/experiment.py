"""`spacy welt experiment`: corpora, encoders, schemes and seeds, and their tables."""

import sys
import tempfile
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from ..errors import WeltError
from ..experiments.estimate import estimate, measure
from ..experiments.grid import Grid, read_grid
from ..experiments.jobs import jobs_of
from ..experiments.local import convert_missing, run_all, status
from ..experiments.ray import run_ray
from ..experiments.remote import Storage
from ..experiments.results import read_results, to_markdown, write_parquet
from ..experiments.tables import (
    beside_markdown,
    beside_paper,
    layout_csv,
    layout_html,
    layout_latex,
    layout_markdown,
    rows_of,
)
from ..parallel.processes import n_cores
from ..parallel.ray import connect_ray
from ..util.files import write_atomically
from ._util import (
    ENGINE,
    NUM_CPUS,
    NUM_GPUS,
    RAY_ADDRESS,
    SHARD,
    check_engine,
    one_line_errors,
    print_table,
    sigterm_ends,
)

EXPERIMENT = typer.Argument(
    ..., help="A YAML file, such as configs/experiments/schemes.yml."
)
CORPORA = typer.Option(
    Path("corpus"), "--corpora", "-c", help="The folder of converted corpora."
)
OUTPUT = typer.Option(
    None, "--output", "-o", help="Where runs go; training/experiments/NAME."
)
STORAGE = typer.Option(
    None,
    "--storage",
    help="An address that fsspec knows, such as s3://bucket/experiment, where runs of all "
    "machines are kept. OUTPUT is then this machine's copy.",
)

experiment_app = typer.Typer(
    name="experiment",
    help="Corpora, encoders, schemes and seeds: train, compare, set beside the paper.",
    no_args_is_help=True,
)


class Form(str, Enum):
    """Forms of tables."""

    tests = "tests"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    html = "html"
    parquet = "parquet"


def _read(
    experiment: Path, output: Path | None, storage: str | None = None
) -> tuple[Grid, Path]:
    grid = read_grid(experiment)
    output = output or Path("training/experiments") / experiment.stem
    if storage is not None:
        Storage(storage).fetch_all(output)
    return grid, output


def _say(line: str) -> None:
    typer.echo(line, err=True)


@experiment_app.command("plan")
@one_line_errors
def plan_cli(
    experiment: Path = EXPERIMENT,
    corpora: Path = CORPORA,
    output: Path | None = OUTPUT,
    measured: bool = typer.Option(
        False, "--measure", help="Train each encoder for a few steps, to know how long."
    ),
    at_once: int = typer.Option(1, "--at-once", "-n", min=1),
    gpu_id: int = typer.Option(-1, "--gpu-id", "-g", min=-1),
    names: bool = typer.Option(False, "--names", help="List the runs."),
) -> None:
    """Tell what would be run, and how long it would take. Nothing is asked, and nothing
    but --measure is trained.
    """
    grid, output = _read(experiment, output)
    convert_missing(grid, corpora, report=_say)
    jobs = jobs_of(grid, corpora)
    rates = None
    if measured:
        threads = max(1, n_cores() // at_once)
        with tempfile.TemporaryDirectory() as folder, sigterm_ends():
            rates = measure(
                *(jobs, grid, corpora, Path(folder)),
                threads=threads,
                gpu_id=gpu_id,
                report=_say,
            )
    found = estimate(jobs, grid, corpora, output, rates=rates)
    if names:
        for job in jobs:
            typer.echo(job.name)
    print_table(
        f"{len(jobs)} runs",
        ["corpus", "encoder", "runs", "left", "words", "hours", "MB", "GPU MB", "from"],
        [
            [
                *(one.corpus, one.encoder, one.runs, one.left, f"{one.words:,}"),
                "?" if one.hours is None else f"{one.hours:.2f}",
                "?" if one.peak_mb is None else f"{one.peak_mb:,.0f}",
                "?" if one.peak_gpu_mb is None else f"{one.peak_gpu_mb:,.0f}",
                one.source,
            ]
            for one in found
        ],
    )
    known = [one.hours for one in found if one.hours is not None]
    if len(known) == len(found):
        typer.echo(
            f"{sum(one.left for one in found):,} runs are left: {sum(known):.1f} hours one "
            f"after another, {sum(known) / at_once:.1f} with {at_once} at once"
        )
    else:
        typer.echo("Some were not measured: use --measure, or run one of each")


@experiment_app.command("run")
@one_line_errors
def run_cli(
    experiment: Path = EXPERIMENT,
    corpora: Path = CORPORA,
    output: Path | None = OUTPUT,
    at_once: int = typer.Option(
        0, "--at-once", "-n", min=0, help="Runs at once; 0: one, or one for each GPU."
    ),
    gpu_id: list[int] = typer.Option(
        [],
        "--gpu-id",
        "-g",
        min=-1,
        help="A GPU to run on; may be given several times.",
    ),
    claim: bool = typer.Option(
        False,
        "--claim",
        help="For jobs of a cluster. Any number of processes may work in one folder, with "
        "this or without: each takes runs that no other is at. With it, no tables.",
    ),
    shard: str | None = SHARD,
    engine: str = ENGINE,
    address: str = RAY_ADDRESS,
    num_cpus: float = NUM_CPUS,
    num_gpus: float = NUM_GPUS,
    storage: str | None = STORAGE,
) -> None:
    """Train and compare schemes, encoders, corpora and seeds.

    Every scheme is trained with every encoder on every corpus with every seed, scored and
    tested. What was run before with the same settings, data and versions is not run again.
    Runs that fail are listed, and stop nothing.
    """
    grid, output = _read(experiment, output)
    gpus = [gpu for gpu in gpu_id if gpu >= 0]
    kept = None if storage is None else Storage(storage)
    of_local = {"--claim": claim, "--shard": shard, "--at-once": at_once}
    check_engine(engine, {**of_local, "--gpu-id": gpu_id})
    with sigterm_ends():
        if engine == "ray":
            with connect_ray(address) as ray:
                failed = run_ray(
                    *(grid, corpora, output),
                    connect=lambda: ray,
                    num_cpus=num_cpus,
                    num_gpus=num_gpus,
                    storage=kept,
                    report=_say,
                )
        else:
            failed = run_all(
                *(grid, corpora, output),
                at_once=at_once or max(1, len(gpus)),
                gpus=gpus or None,
                own=shard,
                storage=kept,
                report=_say,
            )
    if failed:
        for line in failed:
            _say(f"  {line}")
        raise WeltError(f"{len(failed)} runs failed, the first: {failed[0]}")
    if not claim and not shard:
        typer.echo(to_markdown(grid, output))


@experiment_app.command("status")
@one_line_errors
def status_cli(
    experiment: Path = EXPERIMENT,
    output: Path | None = OUTPUT,
    storage: str | None = STORAGE,
) -> None:
    """Tell how far an experiment is, from its folder alone."""
    _, output = _read(experiment, output, storage)
    found = status(output)
    typer.echo(
        f"{found.done:,} of {found.runs:,} runs are done, {len(found.running):,} running, "
        f"{len(found.failed):,} failed"
    )
    for name, told in found.running.items():
        typer.echo(f"  {name}: {told.get('host')}, process {told.get('pid')}")
    for name, reason in found.failed.items():
        typer.echo(f"✘ {name}: {reason}")


@experiment_app.command("results")
@one_line_errors
def results_cli(
    experiment: Path = EXPERIMENT,
    output: Path | None = OUTPUT,
    form: Form = typer.Option(
        Form.tests,
        "--form",
        "-f",
        help="tests: spread and significance, as Markdown. markdown, csv, latex, html: the "
        "layout of the paper's tables. parquet: a data set, a file a run.",
    ),
    to: Path | None = typer.Option(None, "--to", help="A file to write."),
    storage: str | None = STORAGE,
) -> None:
    """Make tables of the runs that exist, without training."""
    grid, output = _read(experiment, output, storage)
    if form is Form.parquet:
        typer.echo(f"✔ {write_parquet(output)}")
        return
    if form is Form.tests:
        told = to_markdown(grid, output)
    else:
        rows = rows_of(read_results(grid, output))
        forms: Any = {
            Form.markdown: layout_markdown,
            Form.csv: layout_csv,
            Form.latex: layout_latex,
            Form.html: lambda rows: layout_html(rows, experiment.stem),
        }
        told = forms[form](rows)
    if to is None:
        sys.stdout.write(told)
    else:
        write_atomically(to, told)
        typer.echo(f"✔ {to}")


@experiment_app.command("compare-paper")
@one_line_errors
def compare_paper_cli(
    experiment: Path = EXPERIMENT,
    output: Path | None = OUTPUT,
    storage: str | None = STORAGE,
) -> None:
    """Set the runs that exist beside the paper's figures (Mobasher et al. 2023), cell by
    cell: the difference, and whether the paper's lies where a further run is expected.
    """
    grid, output = _read(experiment, output, storage)
    cells = beside_paper(read_results(grid, output))
    if not cells:
        raise WeltError(
            "no run is of a cell of the paper: corpora, encoders and schemes must have its "
            "names, as in configs/experiments/paper.yml"
        )
    typer.echo(beside_markdown(cells))
