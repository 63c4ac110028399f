"""`spacy welt annotate`: entities of any number of texts."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ..annotation.local import prepared, run_local
from ..annotation.plan import Plan, Settings, identify
from ..annotation.report import to_html
from ..annotation.shards import CLAIMS, DATA, REJECTS
from ..annotation.status import Status, finish
from ..errors import WeltError
from ..formats.registry import SUFFIXES
from ..formats.streams import find_files
from ..formats.writers import WRITERS, check_format
from ..parallel.claims import Claims, part
from ..util.files import write_atomically
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

# Exit status where all is done but some documents were refused
REFUSED = 3
# Seconds between two lines where there is no terminal
EVERY = 30.0


@one_line_errors
def annotate_cli(
    pipeline: Path = typer.Argument(
        ..., help="Any pipeline that sets doc.ents: its name, or its folder."
    ),
    inputs: list[str] = typer.Argument(
        ...,
        help="Files, folders or addresses: .txt, .jsonl, .csv, .tsv, .parquet, .pubtator, "
        ".xml (PubMed or BioC); also .gz and .zst.",
        metavar="INPUT...",
    ),
    output: Path = typer.Argument(..., help="The folder to write."),
    also: list[Path] = typer.Option(
        [], "--also", "-a", help="Another pipeline that annotates the same texts."
    ),
    format_: str = typer.Option("jsonl", "--format", "-f", help=", ".join(WRITERS)),
    with_text: bool = typer.Option(
        False, "--text", "-t", help="Write the texts too (JSONL, Parquet)."
    ),
    workers: int = typer.Option(
        0, "--workers", "-w", min=0, help="Processes; 0: one, or one for each GPU."
    ),
    threads: int = typer.Option(
        1, "--threads", min=1, help="Threads of each of them, for pipelines in torch."
    ),
    gpu_id: list[int] = typer.Option(
        [], "--gpu-id", "-g", min=0, help="A GPU to run on; may be given several times."
    ),
    shard_docs: int = typer.Option(
        1000, "--shard-docs", min=1, help="Documents in a file of the output."
    ),
    text_column: str = typer.Option(
        "text", "--text-column", help="The field with the text (JSONL, CSV, Parquet)."
    ),
    id_column: str = typer.Option("id", "--id-column", help="The field with the id."),
    whole_files: bool = typer.Option(
        False, "--whole-files", help="A .txt file is a document, not each of its lines."
    ),
    max_chars: int = typer.Option(
        1_000_000, "--max-chars", min=1, help="Longer texts are refused."
    ),
    max_errors: int | None = typer.Option(
        None, "--max-errors", min=0, help="End when more documents were refused."
    ),
    claim: bool = typer.Option(
        False,
        "--claim",
        help="Work with other processes, on any machine that sees the folders: each takes "
        "shards that no other is at.",
    ),
    shard: str | None = SHARD,
    engine: str = ENGINE,
    address: str = RAY_ADDRESS,
    num_cpus: float = NUM_CPUS,
    num_gpus: float = NUM_GPUS,
    verify: bool = typer.Option(
        False, "--verify", help="Compare checksums of what is done already."
    ),
    report: bool = typer.Option(
        False, "--report", help="Write a page about what was found: report.html."
    ),
) -> None:
    """Find the entities of any number of texts.

    The input is cut into shards; a shard is annotated into a file, and is done when the
    manifest says so. Killed at any moment and started again, the command goes on where it
    was, and writes the same files.
    Exit status 3: all is done, but some documents were refused (see rejects/).
    """
    part(shard)
    check_engine(engine, {"--claim": claim, "--shard": shard})
    check_format(format_, 1 + len(also))
    settings = Settings(
        pipelines=[identify(path) for path in (pipeline, *also)],
        format=format_,
        with_text=with_text,
        shard_docs=shard_docs,
        max_chars=max_chars,
        columns=[text_column, id_column],
        whole_files=whole_files,
        threads=threads,
    )
    _check_names(settings)
    files = find_files(inputs, SUFFIXES)
    workers = workers or max(1, len(gpu_id))
    started = time.monotonic()
    view = View()
    with (
        sigterm_ends(),
        prepared(
            output,
            files,
            settings,
            together=claim or shard is not None,
            processes=workers,
            thorough=verify,
            report=lambda n: view.planned(n, len(files)),
        ) as plan,
    ):
        view.begin(plan)
        with view:
            if engine == "ray":
                from ..annotation.ray import run_ray

                run_ray(
                    output,
                    plan,
                    workers=workers,
                    address=address,
                    num_cpus=num_cpus,
                    num_gpus=num_gpus,
                    max_errors=max_errors,
                    show=view.show,
                )
            else:
                run_local(
                    output,
                    plan,
                    workers=workers,
                    gpus=gpu_id or None,
                    own=shard,
                    max_errors=max_errors,
                    show=view.show,
                )
        if view.status is not None and view.status.shards < view.status.n_shards:
            typer.echo(
                f"✔ {output}: part {shard} is done; {view.status.n_shards - view.status.shards:,} "
                "shards of other parts are left"
            )
            return
        summary = finish(output, plan)
        Claims(output / CLAIMS).clean(output / DATA)
        if report:
            write_atomically(output / "report.html", to_html(output, plan, summary))
    _print(output, plan, summary, time.monotonic() - started, report)
    if summary["rejects"]:
        raise typer.Exit(REFUSED)


def _check_names(settings: Settings) -> None:
    names = [told["name"] for told in settings.pipelines]
    if len(set(names)) < len(names):
        raise WeltError(
            f"two pipelines are called {names[0]}: their entities could not be told apart. "
            "Give one another name or version in its meta.json"
        )


class View:
    """How far the run is: a live table on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        self.status: Status | None = None
        self._live: Live | None = None
        self._told = time.monotonic()

    def planned(self, n: int, total: int) -> None:
        """Tell that a file was gone through.

        n, total (int): How many, and of how many.
        """
        now = time.monotonic()
        if now - self._told > 5:
            self._told = now
            self.console.print(f"{n:,} of {total:,} files counted", highlight=False)

    def begin(self, plan: Plan) -> None:
        """Tell what is to be done.

        plan (Plan): The plan.
        """
        counts, n = plan.counts, sum(shard.n_docs for shard in plan.shards)
        names = ", ".join(told["name"] for told in plan.settings.pipelines)
        lines = [f"{names}: {n:,} documents in {len(plan.shards):,} shards"]
        if counts["replaced"] or counts["deleted"]:
            lines.append(
                f"Left out: {counts['replaced']:,} of which a later version is there, "
                f"{counts['deleted']:,} deleted by PubMed"
            )
        for line in lines:
            self.console.print(line, highlight=False, markup=False)
        self._told = -math.inf

    def show(self, status: Status) -> None:
        """Show how far the run is.

        status (Status): How far.
        """
        self.status = status
        if self._live is not None:
            self._live.update(self._table(status))
        elif time.monotonic() - self._told > EVERY and status.docs:
            self._told = time.monotonic()
            self.console.print(_line(status), highlight=False)

    def _table(self, status: Status) -> Group:
        table = Table.grid(padding=(0, 2))
        for _ in range(2):
            table.add_column(justify="left")
        rows: dict[str, str] = {
            "shards": f"{status.shards:,} of {status.n_shards:,}",
            "documents": f"{status.docs:,} of {status.n_docs:,}",
            "refused": f"{status.rejects:,}",
            "speed": f"{status.docs_s:,.0f} documents/s, {status.words_s:,.0f} words/s",
            "left": _duration(status.seconds_left),
            "at work": f"{status.workers:,} processes",
        }
        for name, told in rows.items():
            table.add_row(name, told)
        bar = ProgressBar(total=max(1, status.n_docs), completed=status.docs, width=60)
        return Group(bar, table)

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self.status is not None and exc[0] is None:
            self.console.print(_line(self.status), highlight=False)


def _line(status: Status) -> str:
    return (
        f"{status.docs:,} of {status.n_docs:,} documents, {status.rejects:,} refused, "
        f"{status.words_s:,.0f} words/s, left: {_duration(status.seconds_left)}"
    )


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{seconds:02}"


def _print(
    output: Path, plan: Plan, summary: dict[str, Any], seconds: float, report: bool
) -> None:
    say: Callable[[str], None] = typer.echo
    say(
        f"✔ {output}: {summary['docs']:,} documents, {summary['words']:,} words, "
        f"{summary['entities']:,} entities in {len(plan.shards):,} files; "
        f"{_duration(seconds)}"
    )
    if summary["rejects"]:
        say(
            f"⚠ {summary['rejects']:,} documents were refused (see {output / REJECTS}):"
        )
        for reason, n in summary["reasons"].items():
            say(f"  {n:,} x {reason}")
    if report:
        say(f"✔ {output / 'report.html'}")
