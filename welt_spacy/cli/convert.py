"""`spacy welt convert`: your own files."""

from collections.abc import Mapping
from pathlib import Path

import typer

from ..corpora.convert import convert_file, write_docs
from ..errors import WeltError
from ..formats.problems import Report
from ..formats.registry import CORPUS_FORMATS, detect_corpus_format
from ._util import one_line_errors, print_report, warn


@one_line_errors
def convert_cli(
    path: Path = typer.Argument(..., help="The file (for brat: or the folder)."),
    output: Path = typer.Argument(..., help="The .spacy file to write."),
    format: str | None = typer.Option(
        None,
        "--format",
        "-f",
        help=f"{', '.join(CORPUS_FORMATS)}; by default chosen by the name: .pubtator, .xml "
        "(BioC), a folder (brat), else iob.",
    ),
    label: str | None = typer.Option(
        None, "--label", "-l", help="The label of bare IOB tags (B, I, O)."
    ),
    types: list[str] | None = typer.Option(
        None,
        "--type",
        "-t",
        help="A type to keep, or Type=Label to rename it; all types if not given.",
    ),
    n_sents: int = typer.Option(
        1, "--n-sents", "-n", help="Sentences in a doc; 0 for whole documents."
    ),
    strict: bool = typer.Option(
        False, "--strict", help="Fail at the first problem instead of repairing it."
    ),
) -> None:
    """Convert your own annotations to .spacy files."""
    if format is None:
        format = detect_corpus_format(path)
    if format not in CORPUS_FORMATS:
        raise WeltError(
            f"Unknown format {format!r}: use one of {', '.join(CORPUS_FORMATS)}"
        )
    report = Report(strict=strict)
    renamed = {
        name: new or name
        for name, _, new in (item.partition("=") for item in types or [])
    }
    result = convert_file(
        path,
        format,  # type: ignore[arg-type]
        types=renamed or None,
        label=label,
        n_sents=n_sents,
        report=report,
    )
    _check_types(path, renamed, result.types)
    write_docs(output, result.docs)
    print_report(report)
    typer.echo(
        f"{output}: {len(result.docs)} docs, {result.n_sentences} sentences, "
        f"{result.n_mentions} mentions, {result.n_unaligned} of them unaligned"
    )


def _check_types(path: Path, asked: dict[str, str], found: Mapping[str, int]) -> None:
    missing = [name for name in asked if name not in found]
    if not missing:
        return
    told = f"{path} has no mention of the type {', '.join(missing)}"
    most = sorted(found.items(), key=lambda item: -item[1])[:10]
    has = ", ".join(f"{name[:40]} ({n})" for name, n in most) or "none"
    if len(missing) == len(asked) and found:
        raise WeltError(f"{told}; it has {has}: use --type with one of these")
    warn(f"{told}; it has {has}")
