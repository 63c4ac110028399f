"""`spacy welt package`: package a trained pipeline as a wheel."""

from pathlib import Path

import typer

from ._util import one_line_errors


@one_line_errors
def package_cli(
    model: Path = typer.Argument(..., help="The folder of the trained pipeline."),
    metrics: Path = typer.Argument(
        ..., help="Its scores on test data: the file of 'spacy welt evaluate --json'."
    ),
    output: Path = typer.Argument(Path("packages"), help="The folder to write to."),
    corpus: Path | None = typer.Option(
        None,
        "--corpus",
        "-c",
        help="The corpus.json of its data, for source, licence and citation.",
    ),
    name: str | None = typer.Option(
        None, "--name", "-n", help="Name of the package, without the language."
    ),
    version: str | None = typer.Option(
        None, "--version", "-v", help="Version of the package."
    ),
) -> None:
    """Package a trained pipeline as a wheel, with its scores and a model card.

    The wheel can be installed with pip, and uploaded with 'spacy welt push'.
    """
    from ..packaging.package import package_pipeline

    packaged = package_pipeline(
        model, metrics, output, corpus=corpus, name=name, version=version
    )
    typer.echo(f"✔ {packaged.wheel}\n✔ {packaged.card}, the card for a model hub")
