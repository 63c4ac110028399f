"""What all commands share."""

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

# Of commands whose work is shared among machines
ENGINES = ("local", "ray")
SHARD = typer.Option(None, "--shard", help="Do one part of the work, such as 3/16.")
ENGINE = typer.Option("local", "--engine", help="local or ray.")
RAY_ADDRESS = typer.Option(
    "auto", "--ray-address", help="The Ray cluster; 'local' starts one here."
)
NUM_CPUS = typer.Option(
    1.0, "--num-cpus", min=0.01, help="CPUs of each process on Ray."
)
NUM_GPUS = typer.Option(
    0.0, "--num-gpus", min=0.0, help="GPUs of each process on Ray; may be a fraction."
)


def check_engine(engine: str, of_local: dict[str, Any]) -> None:
    """Check which engine is meant, and that other options go with it.

    engine (str): Its name.
    of_local (dict[str, Any]): Options of the local engine alone, with what was given.
    RAISES (WeltError): If the engine is not known, or is not the one of an option.
    """
    if engine not in ENGINES:
        raise WeltError(f"--engine is {engine!r}: use {' or '.join(ENGINES)}")
    given = [name for name, value in of_local.items() if value]
    if engine == "ray" and given:
        raise WeltError(
            f"--engine ray divides the work itself: leave out {', '.join(given)}"
        )


class GroupedCommands(TyperGroup):
    """Lists the commands by what they are for. Under `spacy`, whose help is plain text,
    typer's own panels are not shown.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, panel by panel.

        ctx (Context): The context.
        formatter (HelpFormatter): Where they are written.
        """
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.list_commands(ctx)), default=0)
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            told = command.get_short_help_str(formatter.width - width - 6)
            panel = getattr(command, "rich_help_panel", None)
            key = panel if isinstance(panel, str) else "Commands"
            panels.setdefault(key, []).append((name.ljust(width), told))
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
    """Print a `WeltError` or an error of the system as one line on stderr and exit with
    status 1.

    command (Callable): The command.
    RETURNS (Callable): The command, with the same signature.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except WeltError as err:
            told = str(err)
        except BrokenPipeError:
            raise  # `... | head`: click ends quietly
        except OSError as err:
            # Of a path that no message of ours was written for, or a full disk
            told = f"{err.filename or 'the system'}: {err.strerror or err}"
        typer.secho(f"✘ {told}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1)

    return wrapped  # type: ignore[return-value]


@contextlib.contextmanager
def sigterm_ends() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: what it started is ended, too. Queues
    and containers send it.

    YIELDS (None): While it does.
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
    """RETURNS (Progress): A bar on stderr; nothing where that is not a terminal."""
    bar = Console(file=sys.stderr)
    return Progress(console=bar, disable=not bar.is_terminal)


def console() -> Console:
    """RETURNS (Console): Where tables go. Piped output is not cut to a width."""
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def print_table(title: str, header: list[str], rows: Iterable[list[Any]]) -> None:
    """Print a table.

    title (str): Its title.
    header (list[str]): The names of its columns.
    rows (Iterable[list[Any]]): Its rows; numbers are set to the right.
    """
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
    """Print a warning as one line on stderr.

    message (str): The warning.
    """
    typer.secho(f"⚠ {message}", fg=typer.colors.YELLOW, err=True)


def print_report(report: Report) -> None:
    """Print the problems of reading, if there were any.

    report (Report): The problems.
    """
    lines = report.lines()
    if lines:
        typer.secho("Problems in the input:", fg=typer.colors.YELLOW, err=True)
        for line in lines:
            typer.echo(f"  {line}", err=True)
