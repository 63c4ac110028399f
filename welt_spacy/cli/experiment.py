"""`spacy welt experiment`: grids of trainings, and tables of their results."""

import sys
import tempfile
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import WeltError
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
    warn,
)

if TYPE_CHECKING:
    from ..experiments.estimate import Estimate
    from ..experiments.workspace import Workspace

EXPERIMENT = typer.Argument(
    ..., help="A YAML file, such as configs/experiments/schemes.yml."
)
CORPORA = typer.Option(
    Path("corpus"), "--corpora", "-c", help="Folder of converted corpora."
)
OUTPUT = typer.Option(
    None,
    "--output",
    "-o",
    help="Folder of the runs; by default training/experiments/NAME.",
)
STORAGE = typer.Option(
    None,
    "--storage",
    help="Address that fsspec knows, such as s3://bucket/experiment, with the runs of all "
    "machines. OUTPUT is then this machine's copy.",
)
JOBS = typer.Option(
    0,
    "--jobs",
    "-n",
    min=0,
    help="Number of runs at the same time; 0 for one, or one for each GPU.",
)

experiment_app = typer.Typer(
    name="experiment",
    help="Corpora, encoders, schemes and seeds: train, compare, compare with the paper.",
    no_args_is_help=True,
)


class Format(str, Enum):
    """Formats of tables."""

    tests = "tests"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    html = "html"
    parquet = "parquet"


@experiment_app.command("plan")
@one_line_errors
def plan_cli(
    experiment: Path = EXPERIMENT,
    corpora: Path = CORPORA,
    output: Path | None = OUTPUT,
    measure: bool = typer.Option(
        False, "--measure", help="Train each encoder for a few steps to measure time."
    ),
    n_jobs: int = JOBS,
    gpu_id: int = typer.Option(-1, "--gpu-id", "-g", min=-1, help="GPU of --measure."),
    names: bool = typer.Option(False, "--names", help="List the runs."),
) -> None:
    """Show the planned runs and an estimate of their duration. Nothing is trained unless
    --measure is given.
    """
    from ..experiments.driver import convert_missing
    from ..experiments.estimate import estimate, measure_rates
    from ..experiments.grid import read_grid
    from ..experiments.jobs import make_jobs
    from ..experiments.workspace import Workspace
    from ..parallel.processes import n_cores

    grid, workspace = read_grid(experiment), _open(experiment, corpora, output)
    convert_missing(grid, workspace, report=_print_progress)
    jobs = make_jobs(grid, workspace)
    n_jobs = max(1, n_jobs)
    rates = None
    if measure:
        with tempfile.TemporaryDirectory() as folder, sigterm_ends():
            rates = measure_rates(
                jobs,
                Workspace(Path(folder), corpora),
                gpu_id=gpu_id,
                threads=max(1, n_cores() // n_jobs),
                report=_print_progress,
            )
    estimates = estimate(jobs, workspace, rates=rates)
    if names:
        for job in jobs:
            typer.echo(job.name)
    _print_estimates(estimates, n_jobs)


@experiment_app.command("run")
@one_line_errors
def run_cli(
    experiment: Path = EXPERIMENT,
    corpora: Path = CORPORA,
    output: Path | None = OUTPUT,
    n_jobs: int = JOBS,
    gpu_id: list[int] = typer.Option(
        [], "--gpu-id", "-g", min=-1, help="GPU to run on; may be given several times."
    ),
    shard: str | None = SHARD,
    engine: str = ENGINE,
    address: str = RAY_ADDRESS,
    num_cpus: float = NUM_CPUS,
    num_gpus: float = NUM_GPUS,
    storage: str | None = STORAGE,
) -> None:
    """Train and compare schemes, encoders, corpora and seeds.

    Every scheme is trained with every encoder on every corpus with every seed, and evaluated.
    Runs that are done with the same settings, data and versions are not repeated. Any number
    of these commands can work in one folder at the same time. A run that fails is listed and
    stops no other.
    """
    from ..experiments.grid import read_grid
    from ..experiments.local import run_local
    from ..experiments.ray import run_ray
    from ..parallel.ray import connect_ray

    grid, workspace = read_grid(experiment), _open(experiment, corpora, output, storage)
    check_engine(engine, {"--shard": shard, "--jobs": n_jobs, "--gpu-id": gpu_id})
    gpus = [gpu for gpu in gpu_id if gpu >= 0]
    with sigterm_ends():
        if engine == "ray":
            with connect_ray(address) as ray:
                failed = run_ray(
                    grid,
                    workspace,
                    connect=lambda: ray,
                    num_cpus=num_cpus,
                    num_gpus=num_gpus,
                    report=_print_progress,
                )
        else:
            failed = run_local(
                grid,
                workspace,
                n_jobs=n_jobs or max(1, len(gpus)),
                gpus=gpus,
                shard=shard,
                report=_print_progress,
            )
    if failed:
        for line in failed:
            _print_progress(f"  {line}")
        raise WeltError(f"{len(failed)} runs failed, the first: {failed[0]}")
    if shard is None:
        typer.echo(_render(experiment, workspace, Format.tests))


@experiment_app.command("status")
@one_line_errors
def status_cli(
    experiment: Path = EXPERIMENT,
    output: Path | None = OUTPUT,
    storage: str | None = STORAGE,
) -> None:
    """Show the state of an experiment, from its folder alone."""
    from ..experiments.driver import get_status
    from ..experiments.grid import read_grid

    read_grid(experiment)
    workspace = _open(experiment, Path("corpus"), output, storage, fetch=True)
    status = get_status(workspace)
    typer.echo(
        f"{status.done:,} of {status.runs:,} runs are done, {len(status.running):,} running, "
        f"{len(status.failed):,} failed"
    )
    for name in status.running:
        typer.echo(f"  {name}")
    for name, reason in status.failed.items():
        typer.echo(f"✘ {name}: {reason}")


@experiment_app.command("results")
@one_line_errors
def results_cli(
    experiment: Path = EXPERIMENT,
    corpora: Path = CORPORA,
    output: Path | None = OUTPUT,
    format_: Format = typer.Option(
        Format.tests,
        "--format",
        "-f",
        help="tests: spread and significance, as Markdown. markdown, csv, latex, html: the "
        "layout of the paper's tables. parquet: a data set, a file for each run.",
    ),
    to: Path | None = typer.Option(None, "--to", help="File to write."),
    storage: str | None = STORAGE,
) -> None:
    """Write tables of the runs that are done, without training."""
    from ..experiments.grid import read_grid
    from ..experiments.results import read_results, write_parquet
    from ..util.files import write_atomically

    workspace = _open(experiment, corpora, output, storage, fetch=True)
    if format_ is Format.parquet:
        results = read_results(read_grid(experiment), workspace)
        _warn_of_gaps(results.describe_gaps())
        write_parquet(results, workspace.results)
        typer.echo(f"✔ {workspace.results}")
        return
    text = _render(experiment, workspace, format_)
    if to is None:
        sys.stdout.write(text)
    else:
        write_atomically(to, text)
        typer.echo(f"✔ {to}")


@experiment_app.command("compare-paper")
@one_line_errors
def compare_paper_cli(
    experiment: Path = EXPERIMENT,
    corpora: Path = CORPORA,
    output: Path | None = OUTPUT,
    storage: str | None = STORAGE,
) -> None:
    """Compare the runs that are done with the paper's figures (Mobasher et al. 2023), cell by
    cell: the difference, and whether the paper's figure lies where a further run is expected.
    """
    from ..experiments.grid import read_grid
    from ..experiments.paper_comparison import compare_with_paper, render_comparisons
    from ..experiments.results import read_results

    workspace = _open(experiment, corpora, output, storage, fetch=True)
    results = read_results(read_grid(experiment), workspace)
    _warn_of_gaps(results.describe_gaps())
    comparisons = compare_with_paper(results)
    if not comparisons:
        raise WeltError(
            "no run is of a cell of the paper. Corpora, encoders and schemes must have its "
            "names, as in configs/experiments/paper.yml"
        )
    typer.echo(render_comparisons(comparisons))


def _open(
    experiment: Path,
    corpora: Path,
    output: Path | None,
    storage: str | None = None,
    *,
    fetch: bool = False,
) -> "Workspace":
    from ..experiments.remote import Storage
    from ..experiments.workspace import Workspace

    output = output or Path("training/experiments") / experiment.stem
    remote = None if storage is None else Storage(storage)
    workspace = Workspace(output, corpora, remote)
    if remote is not None and fetch:
        remote.fetch_all(output)
    return workspace


def _render(experiment: Path, workspace: "Workspace", format_: Format) -> str:
    from ..experiments import paper_tables
    from ..experiments.grid import read_grid
    from ..experiments.results import read_results
    from ..experiments.significance_tables import render_tests

    grid = read_grid(experiment)
    results = read_results(grid, workspace)
    _warn_of_gaps(results.describe_gaps())
    if format_ is Format.tests:
        return render_tests(results, next(iter(grid.schemes)))
    rows = paper_tables.make_rows(results)
    if format_ is Format.html:
        return paper_tables.to_html(rows, experiment.stem)
    renderers = {
        Format.markdown: paper_tables.to_markdown,
        Format.csv: paper_tables.to_csv,
        Format.latex: paper_tables.to_latex,
    }
    return renderers[format_](rows)


def _print_progress(line: str) -> None:
    typer.echo(line, err=True)


def _warn_of_gaps(lines: list[str]) -> None:
    for line in lines:
        warn(line)


def _print_estimates(estimates: "list[Estimate]", n_jobs: int) -> None:
    print_table(
        f"{sum(cell.runs for cell in estimates)} runs",
        ["corpus", "encoder", "runs", "left", "words", "hours", "MB", "GPU MB", "from"],
        [
            [
                *(cell.corpus, cell.encoder, cell.runs, cell.left, f"{cell.words:,}"),
                "?" if cell.hours is None else f"{cell.hours:.2f}",
                "?" if cell.peak_mb is None else f"{cell.peak_mb:,.0f}",
                "?" if cell.peak_gpu_mb is None else f"{cell.peak_gpu_mb:,.0f}",
                cell.source,
            ]
            for cell in estimates
        ],
    )
    hours = [cell.hours for cell in estimates if cell.hours is not None]
    if len(hours) < len(estimates):
        typer.echo("Some runs were not measured: use --measure, or run one of each")
        return
    typer.echo(
        f"{sum(cell.left for cell in estimates):,} runs are left: {sum(hours):.1f} hours one "
        f"after another, {sum(hours) / n_jobs:.1f} with --jobs {n_jobs}"
    )
