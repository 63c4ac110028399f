"""`spacy welt vectors`: static vectors of word pieces for small models."""

from pathlib import Path

import typer

from ..ml.piece_vectors import write_vectors
from ..training.vectors import make_vectors
from ..util.files import write_atomically
from ._util import one_line_errors, progress


@one_line_errors
def vectors_cli(
    encoder: str = typer.Argument(
        ..., help="A pre-trained encoder: a folder, or its name on the model hub."
    ),
    output: Path = typer.Argument(..., help="The file to write."),
    width: int = typer.Option(
        128, "--width", "-w", min=1, help="Half of the width of the vectors."
    ),
) -> None:
    """Make static vectors of word pieces from an encoder.

    For welt_spacy.PieceVectors.v1: a small model without a transformer gets what the
    encoder knows of each word piece by itself.
    """
    with progress() as bar:
        task = bar.add_task("word pieces", total=None)
        found = make_vectors(
            encoder,
            width=width,
            report=lambda done, n: bar.update(task, completed=done, total=n),
        )
    content = write_vectors(found, {"encoder": encoder})
    write_atomically(output, content)
    rows, columns = found.array.shape
    typer.echo(
        f"✔ {output}: {rows:,} word pieces, {columns} wide, {len(content) >> 20} MB"
    )
