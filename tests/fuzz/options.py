"""Commands with arguments and options that are partly nonsense."""

import random
import traceback
from typing import Any

import typer

from welt_spacy.cli import app

from ..factories import change_dir, run_command
from .cases import ACCEPTED, LIMIT, REFUSED, Case, time_limit
from .workplace import WHEEL, Workplace

# fmt: off
VALUES = [
    "", "-", "--", "x", "0", "1", "-1", "1e9", "nan", "inf", "-inf", "9" * 400, "²",
    "[/x]", "a=b", "beta=nan", "=", "f1", "f0", "f1e400", "recall>=2", "precision>=.9",
    "o_bias", "threshold", "int8", "welt", "explicit", "cpu", "${x}", "𝛽", "\n", "a\tb",
    "bc5cdr", "iob", "bioc", "model", "gold.spacy", "x.tsv", "x.xml", "brat", "grid.yml",
    ".", "..", "/dev/null", "none/x", "out", "out/x", "gold.spacy/x", "model/x",
    WHEEL, "org/name", "corpus", "../x", "~", "model/config.cfg",
]
# Arguments that succeed; {n} is the number of the case
SENSIBLE = {
    "convert": ["x.tsv", "out/{n}.spacy"],
    "config": ["out/{n}.cfg"],
    "evaluate": ["model", "gold.spacy"],
    "compare": ["model", "gold.spacy", "gold.spacy"],
    "tune": ["decoding", "model", "gold.spacy", "out/{n}"],
    "optimize": ["model", "out/{n}"],
    "annotate": ["model", "x.tsv", "out/{n}"],
    "push": [WHEEL, "--repo", "a/b", "--dry-run", "-o", "out/{n}"],
    "experiment run": ["grid.yml"],
    "experiment plan": ["grid.yml"],
    "experiment status": ["grid.yml"],
    "experiment results": ["grid.yml"],
    "experiment compare-paper": ["grid.yml"],
    "corpora list": [],
    "corpora fetch": ["bc5cdr", "--offline"],
    "corpora convert": ["bc5cdr", "--offline"],
    "corpora stats": ["bc5cdr", "--offline"],
}
# fmt: on
TARGET = "options of commands"


def fuzz_options(place: Workplace, seed: int) -> Case:
    """Run a command with random options. Files that it was not told to write must be
    unchanged afterwards."""
    rng = random.Random(seed)
    command = rng.choice(list(SENSIBLE))
    words = _random_words(command, seed, rng)
    details = f"{command} {words}"
    with change_dir(place.folder), time_limit(LIMIT):
        try:
            result = run_command(*command.split(), *words)
        except TimeoutError:
            return Case(TARGET, seed, "TimeoutError", details)
    if changed := place.restore() - set(words):
        return Case(TARGET, seed, f"{sorted(changed)} changed", details)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        trace = "".join(traceback.format_exception(error))
        return Case(TARGET, seed, type(error).__name__, f"{details}\n{trace}")
    return Case(TARGET, seed, ACCEPTED if result.exit_code == 0 else REFUSED, details)


def _random_words(command: str, seed: int, rng: random.Random) -> list[str]:
    words = [word.format(n=seed) for word in SENSIBLE[command]]
    for i in range(len(words)):
        if rng.random() < 0.3:
            words[i] = rng.choice(VALUES)
    parameters = _get_command(command).params
    options = [p.opts[-1] for p in parameters if p.opts[0].startswith("-")]
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        option = rng.choice([*options, "--help"])
        if option != "--help" and not (command == "push" and option == "--dry-run"):
            words += [option, rng.choice(VALUES)]
    # Nothing is uploaded, downloaded or trained
    if command == "push" and "--dry-run" not in words:
        words.append("--dry-run")
    if command.startswith("corpora ") and "--offline" not in words and words:
        words.append("--offline")
    if command in ("experiment run", "experiment plan"):
        words += ["--corpora", "none"]
    return words


def _get_command(name: str) -> Any:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    return command
