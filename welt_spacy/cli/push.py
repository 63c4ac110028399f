"""`spacy welt push`: publish a packaged pipeline on the model hub."""

from pathlib import Path

import typer

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
        False, "--dry-run", help="Write the folder to be uploaded, and stop."
    ),
    output: Path | None = typer.Option(
        None,
        "--output",
        "-o",
        help="The folder of --dry-run; PACKAGE-hub beside the wheel if not given.",
    ),
) -> None:
    """Push a packaged pipeline to the model hub.

    The repository gets a model card with scores that the hub can read.
    """
    from ..packaging.push import check_repo, push, read_package, write_repository

    if not dry_run:
        url = push(package, repo, private=private, revision=revision)
        typer.echo(f"✔ {url}")
        return
    check_repo(repo)
    if output is None:
        output = package.with_name(f"{package.name.removesuffix('.whl')}-hub")
    write_repository(read_package(package), output)
    typer.echo(f"✔ {output}: nothing was uploaded")
