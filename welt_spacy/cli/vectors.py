"""`spacy welt vectors`: static vectors of word pieces for small models."""

from pathlib import Path

import typer

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
    """Compute static vectors of word pieces with an encoder.

    A small model without a transformer reads them with welt_spacy.PieceVectors.v1.
    """
    from ..ml.piece_vectors import write_vectors
    from ..training.vectors import make_vectors
    from ..util.files import write_atomically

    with progress() as bar:
        task = bar.add_task("word pieces", total=None)
        vectors = make_vectors(
            encoder,
            width=width,
            report=lambda done, n: bar.update(task, completed=done, total=n),
        )
    content = write_vectors(vectors, {"encoder": encoder})
    write_atomically(output, content)
    n_pieces, n_columns = vectors.array.shape
    typer.echo(
        f"✔ {output}: {n_pieces:,} word pieces, {n_columns} wide, {len(content) >> 20} MB"
    )
