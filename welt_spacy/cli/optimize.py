"""`spacy welt optimize`: speed up prediction."""

from pathlib import Path

import typer

from ._util import one_line_errors, print_table


@one_line_errors
def optimize_cli(
    model: Path = typer.Argument(..., help="The pipeline: a folder, or its name."),
    output: Path | None = typer.Argument(
        None, help="The folder to write; MODEL-int8 and so on if not given."
    ),
    encoder_format: str = typer.Option(
        "int8",
        "--format",
        "-f",
        help="onnx: ONNX Runtime, full precision; int8: ONNX Runtime, 8 bits; "
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
        0.5, "--max-loss", help="Maximum loss of F1 on dev in points."
    ),
    force: bool = typer.Option(
        False,
        "--force",
        "-F",
        help="Replace OUTPUT, and accept a pipeline that is slower on this machine.",
    ),
) -> None:
    """Optimize a pipeline with a transformer for fast prediction.

    The result is refused if it loses F1 on dev or is slower on this machine. In
    ONNX and int8 it runs on the CPU, without torch and transformers.
    """
    from ..packaging.optimize import optimize

    if output is None:
        output = model.parent / f"{model.name}-{encoder_format}"
    result = optimize(
        model, output, encoder_format, dev, max_loss=max_loss, force=force
    )
    rows = [
        [
            name,
            *(f"{100 * value:.2f}" for value in (s.ents_p, s.ents_r, s.ents_f)),
            f"{s.speed:,.0f}",
        ]
        for name, s in ((str(model), result.before), (str(output), result.after))
    ]
    print_table(f"On {result.dev}", ["pipeline", "P", "R", "F1", "words/s"], rows)
    for name, reason in result.rejected.items():
        typer.echo(f"  {name}: {reason}")
    change = 0.0 - round(result.loss, 2)  # 0.0, not -0.0
    state = "" if result.is_new else " is up to date"
    typer.echo(
        f"✔ {output}{state}: {result.encoder_format}, {result.speedup:.2f} times as fast, "
        f"{change:+.2f} F1"
    )
