"""`spacy welt annotate`: entities of any number of texts."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ._util import (
    ENGINE,
    NUM_CPUS,
    NUM_GPUS,
    RAY_ADDRESS,
    SHARD,
    check_engine,
    one_line_errors,
    sigterm_ends,
)

if TYPE_CHECKING:
    from ..annotation.report import Summary
    from ..annotation.run import Status

# Exit status if all shards are done but documents were rejected
REJECTED = 3
# Seconds between two lines of progress if stderr is not a terminal
INTERVAL = 30.0


@one_line_errors
def annotate_cli(
    pipeline: Path = typer.Argument(
        ..., help="Name or folder of a pipeline that sets doc.ents."
    ),
    inputs: list[str] = typer.Argument(
        ...,
        help="Files, folders or addresses: .txt, .jsonl, .csv, .tsv, .parquet, .pubtator, "
        ".xml (PubMed or BioC); also .gz and .zst.",
        metavar="INPUT...",
    ),
    output: Path = typer.Argument(..., help="Output folder."),
    more_pipelines: list[Path] = typer.Option(
        [],
        "--pipeline",
        "-P",
        help="Another pipeline that annotates the same texts; repeatable.",
    ),
    format_: str = typer.Option(
        "jsonl",
        "--format",
        "-f",
        help="jsonl, jsonl.gz, parquet, pubtator, bioc, brat or spacy.",
    ),
    with_text: bool = typer.Option(
        False, "--text", "-t", help="Write the texts, too (JSONL, Parquet)."
    ),
    workers: int = typer.Option(
        0,
        "--workers",
        "-w",
        min=0,
        help="Number of processes; 0 for one, or one for each GPU.",
    ),
    threads: int = typer.Option(
        1, "--threads", min=1, help="Threads of a process, for pipelines in torch."
    ),
    gpu_id: list[int] = typer.Option(
        [], "--gpu-id", "-g", min=0, help="GPU to run on; repeatable."
    ),
    shard_docs: int = typer.Option(
        1000, "--shard-docs", min=1, help="Number of documents in an output file."
    ),
    text_column: str = typer.Option(
        "text", "--text-column", help="Field with the text (JSONL, CSV, Parquet)."
    ),
    id_column: str = typer.Option("id", "--id-column", help="Field with the id."),
    whole_files: bool = typer.Option(
        False, "--whole-files", help="Read a .txt file as one document."
    ),
    max_chars: int = typer.Option(
        1_000_000,
        "--max-chars",
        min=1,
        help="Maximum number of characters per document.",
    ),
    max_errors: int | None = typer.Option(
        None, "--max-errors", min=0, help="Maximum number of rejected documents."
    ),
    shard: str | None = SHARD,
    engine: str = ENGINE,
    address: str = RAY_ADDRESS,
    num_cpus: float = NUM_CPUS,
    num_gpus: float = NUM_GPUS,
    report: bool = typer.Option(
        False, "--report", help="Write counts and confidences as report.html."
    ),
) -> None:
    """Annotate any number of texts.

    The input is divided into shards. A command that was killed continues where it was and
    writes the same files. Exit status 3: all shards are done, but documents were rejected
    (see rejects/).
    """
    from ..annotation.plan import Settings
    from ..annotation.run import Resources, annotate_files

    check_engine(engine, {"--shard": shard})
    settings = Settings(
        format=format_,
        with_text=with_text,
        shard_docs=shard_docs,
        max_chars=max_chars,
        text_column=text_column,
        id_column=id_column,
        whole_files=whole_files,
        threads=threads,
    )
    resources = Resources(workers, gpu_id, engine, address, num_cpus, num_gpus)
    started = time.monotonic()
    with sigterm_ends(), _View() as view:
        summary = annotate_files(
            [pipeline, *more_pipelines],
            inputs,
            output,
            settings,
            resources=resources,
            shard=shard,
            max_errors=max_errors,
            report=report,
            on_scan=view.show_scan,
            on_update=view.show_status,
        )
    if summary.missing:
        typer.echo(
            f"✔ {output}: shard {shard} is done; {summary.missing:,} files of other shards "
            "are missing"
        )
        return
    _print(output, summary, time.monotonic() - started)
    if report:
        typer.echo(f"✔ {output / 'report.html'}")
    if summary.rejects:
        raise typer.Exit(REJECTED)


class _View:
    """Shows an annotation as a progress bar; as lines if stderr is not a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = Console(file=sys.stderr, highlight=False)
        text = TextColumn("{task.description}", markup=False)
        self._bar = Progress(
            BarColumn(),
            text,
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)
        self._last_line = time.monotonic()
        # Time and progress when the workers started
        self._start: tuple[float, Any] | None = None

    def __enter__(self) -> "_View":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if self._bar.disable and self._start and error[0] is None:
            self._print(self._bar.tasks[0].description)

    def show_scan(self, n: int, n_files: int) -> None:
        """Show the number of files that are scanned."""
        self._show(f"{n:,} of {n_files:,} files scanned", n, n_files)

    def show_status(self, status: "Status") -> None:
        """Show the state of the run."""
        plan, progress, now = status.plan, status.progress, time.monotonic()
        n_docs = sum(shard.n_docs for shard in plan.shards)
        if self._start is None:
            self._start = now, progress
            self._print(
                f"{n_docs:,} documents in {len(plan.shards):,} shards; left out: "
                f"{plan.replaced:,} replaced by a later version, {plan.deleted:,} deleted"
            )
        # Over the whole time, because the first batches of several workers end together
        before, seconds = self._start[1], max(now - self._start[0], 1e-9)
        docs_s = (progress.n_docs - before.n_docs) / seconds
        words_s = (progress.words - before.words) / seconds
        left = (n_docs - progress.n_docs) / docs_s if docs_s > 0 else None
        self._show(
            f"{progress.n_docs:,} of {n_docs:,} documents, {progress.rejects:,} rejected, "
            f"{max(words_s, 0):,.0f} words/s, left: {_format_duration(left)}",
            progress.n_docs,
            n_docs,
        )

    def _show(self, text: str, n: int, total: int) -> None:
        self._bar.update(self._task, description=text, completed=n, total=total)
        if self._bar.disable and time.monotonic() - self._last_line > INTERVAL:
            self._print(text)

    def _print(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(text, markup=False)


def _format_duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{seconds:02}"


def _print(output: Path, summary: "Summary", seconds: float) -> None:
    typer.echo(
        f"✔ {output}: {summary.docs:,} documents, {summary.words:,} words, "
        f"{summary.entities:,} entities in {summary.shards:,} files; "
        f"{_format_duration(seconds)}"
    )
    if summary.rejects:
        typer.echo(
            f"⚠ {summary.rejects:,} documents were rejected (see {output / 'rejects'}):"
        )
        for reason, n in summary.reasons.items():
            typer.echo(f"  {n:,} x {reason}")
