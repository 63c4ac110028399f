"""Commands killed at random moments and run again."""

import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

from welt_spacy.cli import app

from .cases import ENDED_EARLY, LIMIT, RECOVERED, Case, hash_files
from .workplace import WHEEL, Workplace


class KilledCommand(NamedTuple):
    """A command that is killed and run again.

    words (list[str]): Its arguments.
    outputs (list[str]): Its files and folders, below the folder of the workplace.
    """

    words: list[str]
    outputs: list[str]


def _command(words: str, *outputs: str) -> KilledCommand:
    return KilledCommand(words.split(), list(outputs))


COMMANDS = {
    "convert": _command("convert x.pubtator kill/x.spacy", "kill/x.spacy"),
    "corpora convert": _command(
        "corpora convert ncbi_disease --offline --output kill",
        "kill/ncbi_disease",
    ),
    "corpora fetch": _command(
        "corpora fetch ncbi_disease --offline --cache kill/cache", "kill/cache"
    ),
    "config": _command("config kill/x.cfg -e cpu", "kill/x.cfg"),
    "evaluate": _command(
        "evaluate model gold.spacy --json kill/x.json --html kill/x.html",
        "kill/x.html",  # the JSON has speeds
    ),
    "tune --force": _command(
        "tune decoding model gold.spacy kill/tuned --force", "kill/tuned"
    ),
    "push --dry-run": _command(
        f"push {WHEEL} --repo a/b --dry-run --output kill/hub", "kill/hub"
    ),
}
# They write several files, each of them atomically; welt.json, the last one of a corpus,
# marks it complete
SEVERAL = ("corpora convert", "corpora fetch")
Files = dict[str, str]


def kill_and_rerun(place: Workplace, seed: int, durations: dict[str, float]) -> Case:
    """Kill a command at a random moment, then run it again. In between, outputs are
    missing, old or new, but never partial; in the end they are those of an undisturbed
    run.

    durations (dict[str, float]): Seconds that each command takes, measured at first use.
    """
    rng = random.Random(seed)
    name = rng.choice(list(COMMANDS))
    target = f"kill of {name}"
    command = COMMANDS[name]
    folder = place.folder / "kill"
    _empty(folder)
    if name not in durations:
        started = time.perf_counter()
        _run_child(place, command.words)
        durations[name] = time.perf_counter() - started
        _empty(folder)
    existed = rng.random() < 0.5 and name != "push --dry-run"
    if existed:
        _run_child(place, command.words)
    old = _read_outputs(place, command)
    inputs = _hash_inputs(place)
    ended = _run_child(place, command.words, after=rng.uniform(0, durations[name]))
    if _hash_inputs(place) != inputs:
        return Case(target, seed, "inputs changed")
    between = _read_outputs(place, command)
    if name == "push --dry-run":
        shutil.rmtree(folder / "hub", ignore_errors=True)
    if not _run_child(place, command.words):
        return Case(target, seed, "fails when run again", str(command.words))
    after = _read_outputs(place, command)
    for output in command.outputs:
        states = old[output], between[output], after[output]
        defect = _find_defect(name, folder, existed, *states)
        if defect:
            return Case(target, seed, defect, output)
    endings = (".lock", "-new", "-old")
    leftovers = [p.name for p in folder.iterdir() if p.name.endswith(endings)]
    if leftovers:
        return Case(target, seed, "leftovers", str(leftovers))
    return Case(target, seed, ENDED_EARLY if ended else RECOVERED)


def _find_defect(
    name: str,
    folder: Path,
    existed: bool,
    old: Files | None,
    between: Files | None,
    after: Files | None,
) -> str | None:
    if name not in SEVERAL:
        if between not in (None, old, after):
            return "half-written"
        if existed and between is None:
            aside = folder / ".tuned.welt-old"
            if name != "tune --force" or _hash_output(aside) not in (None, old):
                return "lost"
    if existed and after != old:
        return "another result"
    return None


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _hash_inputs(place: Workplace) -> Files:
    hashes = hash_files(place.folder).items()
    return {name: value for name, value in hashes if not name.startswith("kill/")}


def _read_outputs(place: Workplace, command: KilledCommand) -> dict[str, Files | None]:
    return {output: _hash_output(place.folder / output) for output in command.outputs}


def _hash_output(path: Path) -> Files | None:
    if path.is_file():
        return {".": hashlib.sha256(path.read_bytes()).hexdigest()}
    if not path.exists():
        return None
    hashes = hash_files(path)
    # meta.json has the speed
    return {n: value for n, value in hashes.items() if Path(n).name != "meta.json"}


def _run_child(place: Workplace, words: list[str], after: float | None = None) -> bool:
    """Run a command in a fork of this process, which has all imports done, and return
    whether it ended by itself with status 0.

    after (float | None): Seconds until it is killed.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.chdir(place.folder)
            silent = io.StringIO()
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                try:
                    status = int(app(words, standalone_mode=False) or 0)
                except SystemExit as err:
                    status = int(err.code or 0)
        finally:
            os._exit(status)
    limit = time.perf_counter() + (LIMIT if after is None else after)
    while time.perf_counter() < limit:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
