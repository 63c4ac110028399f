"""`spacy welt experiment`: corpora, schemes and seeds, one table."""

from pathlib import Path

import typer

from ..errors import WeltError
from ..experiments.grid import read_grid
from ..experiments.results import to_markdown
from ..experiments.runner import run_all
from ._util import GPU_ID, one_line_errors, sigterm_ends


@one_line_errors
def experiment_cli(
    experiment: Path = typer.Argument(
        ..., help="A YAML file, such as configs/experiments/schemes.yml."
    ),
    corpora: Path = typer.Option(
        Path("corpus"), "--corpora", "-c", help="The folder of converted corpora."
    ),
    output: Path = typer.Option(
        None, "--output", "-o", help="Where runs go; training/experiments/NAME."
    ),
    at_once: int = typer.Option(
        1, "--at-once", "-n", min=1, help="Runs that share the cores."
    ),
    gpu_id: int = GPU_ID,
) -> None:
    """Train and compare schemes, corpora and seeds.

    Every scheme is trained on every corpus with every seed, scored and tested.

    What was run before with the same settings, data and versions is not run again.
    """
    grid = read_grid(experiment)
    if output is None:
        output = Path("training/experiments") / experiment.stem
    with sigterm_ends():
        failed = run_all(
            grid,
            corpora,
            output,
            at_once=at_once,
            gpu_id=gpu_id,
            report=lambda line: typer.echo(line, err=True),
        )
    if failed:
        raise WeltError(f"{len(failed)} runs failed, the first: {failed[0]}")
    typer.echo(to_markdown(grid, output))
