"""`spacy welt convert`: convert annotated files of the user."""

from pathlib import Path

import typer

from ..errors import WeltError
from ._util import one_line_errors, print_report, warn

# As in `formats.registry`, which is not imported here because every command pays for it
FORMATS = ("iob", "pubtator", "bioc", "brat")


@one_line_errors
def convert_cli(
    path: Path = typer.Argument(..., help="The file (for brat: or the folder)."),
    output: Path = typer.Argument(..., help="The .spacy file to write."),
    format: str | None = typer.Option(
        None,
        "--format",
        "-f",
        help=f"{', '.join(FORMATS)}; by default chosen by the name: .pubtator, .xml "
        "(BioC), a folder (brat), else iob.",
    ),
    label: str | None = typer.Option(
        None, "--label", "-l", help="The label of bare IOB tags (B, I, O)."
    ),
    types: list[str] | None = typer.Option(
        None,
        "--type",
        "-t",
        help="A type to keep, or Type=Label to rename it; all types by default.",
    ),
    n_sents: int = typer.Option(
        1,
        "--n-sents",
        "-n",
        help="Number of sentences of a doc; 0 for whole documents.",
    ),
    strict: bool = typer.Option(
        False, "--strict", help="Fail at the first problem instead of repairing it."
    ),
) -> None:
    """Convert annotated files to .spacy files."""
    if format is not None and format not in FORMATS:
        raise WeltError(f"Unknown format {format!r}: use one of {', '.join(FORMATS)}")
    from ..corpora.convert import convert, describe_missing_types
    from ..formats.problems import Report

    labels = {
        name: label or name
        for name, _, label in (item.partition("=") for item in types or [])
    }
    report = Report(strict=strict)
    conversion = convert(
        path,
        output,
        format=format,
        types=labels or None,
        label=label,
        n_sents=n_sents,
        report=report,
    )
    warning = describe_missing_types(path, labels, conversion.types)
    if warning:
        warn(warning)
    print_report(report)
    typer.echo(
        f"{output}: {len(conversion.docs)} docs, {conversion.n_sentences} sentences, "
        f"{conversion.n_mentions} mentions, {conversion.n_unaligned} of them unaligned"
    )
