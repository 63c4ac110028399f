"""`spacy welt push`: a packaged pipeline to the model hub."""

from pathlib import Path

import typer

from ..packaging.push import check_repo, push, read_package, write_repository
from ._util import one_line_errors


@one_line_errors
def push_cli(
    package: Path = typer.Argument(..., help="The wheel of a packaged pipeline."),
    repo: str = typer.Option(..., "--repo", "-r", help="The repository, ORG/NAME."),
    private: bool = typer.Option(
        False, "--private", help="Make a new repository private."
    ),
    revision: str | None = typer.Option(
        None, "--revision", help="The branch to push to; main if not given."
    ),
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Write the folder that would be uploaded, and stop."
    ),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="That folder; PACKAGE-hub beside the wheel."
    ),
) -> None:
    """Push a packaged pipeline to the model hub.

    With a model card whose scores the hub can read.
    """
    if not dry_run:
        url = push(package, repo, private=private, revision=revision)
        typer.echo(f"✔ {url}")
        return
    check_repo(repo)
    if output is None:
        output = package.with_name(f"{package.name.removesuffix('.whl')}-hub")
    write_repository(read_package(package), output)
    typer.echo(f"✔ {output}: nothing was uploaded")
