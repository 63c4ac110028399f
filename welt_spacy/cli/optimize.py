"""`spacy welt optimize`: faster prediction."""

from pathlib import Path

import typer

from ..packaging.optimize import MAX_LOSS, optimize
from ._util import one_line_errors, print_table


@one_line_errors
def optimize_cli(
    model: Path = typer.Argument(..., help="The pipeline: a folder, or its name."),
    output: Path | None = typer.Argument(
        None, help="The folder to write; MODEL-int8 and so on if not given."
    ),
    to: str = typer.Option(
        "int8",
        "--to",
        "-t",
        help="onnx: ONNX Runtime, full precision; int8: the same, 8 bits; "
        "bf16: bfloat16, for CPUs and GPUs that have it; auto: the fastest that keeps "
        "F1.",
    ),
    dev: Path | None = typer.Option(
        None,
        "--dev",
        "-d",
        help="The .spacy file to compare on; paths.dev of the pipeline's config if "
        "not given.",
    ),
    max_loss: float = typer.Option(
        MAX_LOSS, "--max-loss", help="Points of F1 on dev that may be lost."
    ),
    force: bool = typer.Option(
        False,
        "--force",
        "-F",
        help="Replace OUTPUT, and take what is slower on this machine.",
    ),
) -> None:
    """Make a pipeline with a transformer faster.

    It is refused if it loses F1 on dev, or is slower than before on this machine. In
    ONNX and int8 it runs on the CPU, without torch and transformers.
    """
    if output is None:
        output = model.parent / f"{model.name}-{to}"
    found = optimize(model, output, to, dev, max_loss=max_loss, force=force)
    rows = [
        [
            name,
            *(f"{100 * scores[key]:.2f}" for key in ("ents_p", "ents_r", "ents_f")),
            f"{scores['speed']:,.0f}",
        ]
        for name, scores in ((str(model), found.before), (str(output), found.after))
    ]
    print_table(f"On {found.dev}", ["pipeline", "P", "R", "F1", "words/s"], rows)
    for form, why in found.tried.items():
        typer.echo(f"  {form}: {why}")
    change = 0.0 - round(found.loss, 2)  # 0.0, not -0.0
    typer.echo(
        f"✔ {output}: {found.to}, {found.ratio:.2f} times as fast, {change:+.2f} F1"
    )
