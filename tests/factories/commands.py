"""Run commands as their users do: in this process, or in one of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner


def run_command(*arguments, **options):
    """Run `spacy welt ARGUMENTS` in this process and return the result of Typer's
    runner (`exit_code`, `stdout`, `stderr`, `output`)."""
    from welt_spacy.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


@contextmanager
def change_dir(folder: Path) -> Iterator[None]:
    """Change to another folder, as `contextlib.chdir` does, which Python 3.10 lacks."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_spacy(folder: Path, *arguments) -> str:
    """Run `spacy ARGUMENTS` in this process, in a folder, and return its output."""
    import spacy.cli

    with change_dir(folder):
        result = CliRunner().invoke(spacy.cli.app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def fails_with_one_line(result, *parts: str) -> None:
    """Assert that a command failed with one line that contains all parts, and printed
    nothing else."""
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("✘ ")
    for part in parts:
        assert part in line
    assert result.stdout == ""


def run_python(
    *arguments, cwd: Path | None = None, check: bool = True, **variables: str
) -> subprocess.CompletedProcess:
    """Run Python in a process of its own, with environment variables added. Standard
    output and standard error are one text, `stdout`.

    Every process imports spaCy and our entry points, about five seconds: prefer
    `run_command`.
    """
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf8",
        cwd=cwd,
        env={**os.environ, **variables},
    )
    if check:
        assert done.returncode == 0, done.stdout
    return done


def wait_until(condition: Callable[[], object], what: str = "") -> None:
    """Wait until a condition holds. The limit of ten minutes ends a test that hangs; it
    is no measurement."""
    limit = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < limit, f"still waiting after ten minutes: {what}"
        time.sleep(0.02)
