"""Options, errors and output shared by all commands."""

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from typer.core import TyperGroup

from ..errors import WeltError
from ..formats.problems import Report

PANELS = ("Data", "Training", "Evaluation", "Deployment")
CommandT = TypeVar("CommandT", bound=Callable[..., Any])

ENGINES = ("local", "ray")
SHARD = typer.Option(None, "--shard", help="Shard of the work, such as 3/16.")
ENGINE = typer.Option("local", "--engine", help="Engine: local or ray.")
RAY_ADDRESS = typer.Option(
    "auto", "--ray-address", help="Address of the Ray cluster; 'local' starts one."
)
NUM_CPUS = typer.Option(
    1.0, "--num-cpus", min=0.01, help="Number of CPUs of each process on Ray."
)
NUM_GPUS = typer.Option(
    0.0,
    "--num-gpus",
    min=0.0,
    help="Number of GPUs of each process on Ray; may be a fraction.",
)


def check_engine(engine: str, of_local: dict[str, Any]) -> None:
    """Raise an error if the engine is unknown, or an option of the local engine is given
    with another one.
    """
    if engine not in ENGINES:
        raise WeltError(f"--engine is {engine!r}: use {' or '.join(ENGINES)}")
    given = [name for name, value in of_local.items() if value]
    if engine == "ray" and given:
        raise WeltError(
            f"--engine ray divides the work itself: leave out {', '.join(given)}"
        )


class GroupedCommands(TyperGroup):
    """Group of commands whose help lists them by panel, also under `spacy`, whose help is
    plain text without typer's own panels.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, panel by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.list_commands(ctx)), default=0)
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            summary = command.get_short_help_str(formatter.width - width - 6)
            panel = getattr(command, "rich_help_panel", None)
            key = panel if isinstance(panel, str) else "Commands"
            panels.setdefault(key, []).append((name.ljust(width), summary))
        for panel_name in sorted(panels, key=[*PANELS, *panels].index):
            with formatter.section(panel_name):
                formatter.write_dl(panels[panel_name])


app = typer.Typer(
    name="welt",
    cls=GroupedCommands,
    help="Cost-sensitive named entity recognition: corpora, training, evaluation, "
    "deployment.",
    no_args_is_help=True,
)


GPU_ID = typer.Option(-1, "--gpu-id", "-g", min=-1, help="GPU ID or -1 for CPU.")


def one_line_errors(command: CommandT) -> CommandT:
    """Wrap a command so that a `WeltError` or an `OSError` is printed as one line on stderr
    and the status is 1.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except WeltError as err:
            message = str(err)
        except BrokenPipeError:
            raise  # `... | head`: click ends quietly
        except OSError as err:
            # A path without a message of ours, or a full disk
            message = f"{err.filename or 'the system'}: {err.strerror or err}"
        typer.secho(f"✘ {message}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1)

    return wrapped  # type: ignore[return-value]


@contextlib.contextmanager
def sigterm_ends() -> Iterator[None]:
    """End a command on SIGTERM, which queues and containers send, as on Ctrl-C: with the
    processes that it started.
    """

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def progress() -> Progress:
    """Return a progress bar on stderr; it shows nothing if that is not a terminal."""
    bar = Console(file=sys.stderr)
    return Progress(console=bar, disable=not bar.is_terminal)


def console() -> Console:
    """Return the console for tables; piped output has a fixed width."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def print_table(title: str, header: list[str], rows: Iterable[list[Any]]) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    rows = [list(row) for row in rows]
    # Brackets in names and paths are not markup of Rich
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for i, name in enumerate(header):
        numeric = any(isinstance(row[i], (int, float)) for row in rows)
        table.add_column(escape(name), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    console().print(table)


def warn(message: str) -> None:
    """Print a warning as one line on stderr."""
    typer.secho(f"⚠ {message}", fg=typer.colors.YELLOW, err=True)


def print_report(report: Report) -> None:
    """Print the problems that readers reported."""
    lines = report.lines()
    if lines:
        typer.secho("Problems in the input:", fg=typer.colors.YELLOW, err=True)
        for line in lines:
            typer.echo(f"  {line}", err=True)
