"""Who does which shard: processes on this machine, or any number of machines.

All engines annotate a shard with the same code, and shards share nothing, so the output
is the same.
"""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import WeltError, first_line
from ..parallel.claims import Claims
from ..parallel.processes import end_all, start_module
from ..util.files import Busy, exclusive_lock
from .plan import (
    PLAN,
    SHARDS,
    Plan,
    Settings,
    difference,
    make_plan,
    read_plan,
    write_plan,
)
from .shards import CLAIMS, DATA, done, forget, is_whole, read_record
from .status import Status, Watch

# Seconds between two looks, and for the plan of another process
INTERVAL = 0.5
PLANNING = 24 * 3600.0


@contextlib.contextmanager
def prepared(
    folder: Path,
    files: list[str],
    settings: Settings,
    *,
    together: bool = False,
    processes: int = 1,
    thorough: bool = False,
    report: Callable[[int], None] | None = None,
) -> Iterator[Plan]:
    """Make the plan of a folder, or take up the one that is there.

    folder (Path): The folder of the output.
    files (list[str]): The input.
    settings (Settings): How it is annotated.
    together (bool): Whether other processes may work in the folder at the same time.
    processes (int): How many files are gone through at once.
    thorough (bool): Whether checksums of what is done are compared, not sizes alone.
    report (Callable[[int], None] | None): Told how many files are gone through.
    YIELDS (Plan): The plan, while this process may work in the folder.
    RAISES (WeltError): If the folder holds something else, or another process works in it
        and `together` is not set.
    """
    if folder.exists() and not folder.is_dir():
        raise WeltError(f"{folder} is a file: name a folder")
    with contextlib.ExitStack() as alone:
        busy = Busy(
            f"{folder}: another process annotates into this folder: use --claim, in all of "
            "them, to work on it together"
        )
        try:
            alone.enter_context(
                exclusive_lock(folder, wait=PLANNING if together else 0.0)
            )
        except Busy:
            raise busy from None
        if not together and Claims(folder / CLAIMS).held():
            raise busy
        if (folder / PLAN).exists():
            told = difference(folder, settings, files)
            if told:
                raise WeltError(
                    f"{folder} holds another run ({told}): use another folder, or the same "
                    "input and settings to go on with it"
                )
            plan = read_plan(folder)
        else:
            if folder.exists() and any(
                path.name[0] != "." and path.name != SHARDS for path in folder.iterdir()
            ):
                raise WeltError(
                    f"{folder} has files that this command did not write: use another folder"
                )
            plan = make_plan(files, settings, processes=processes, report=report)
            write_plan(plan, folder)
        _check_done(folder, plan, thorough)
        if together:
            # The plan stands: the others may go on with it
            alone.close()
        else:
            Claims(folder / CLAIMS).clean(folder / DATA)
        yield plan


def _check_done(folder: Path, plan: Plan, thorough: bool) -> None:
    """Data that are not as the manifest says are made again."""
    for name in done(folder):
        if not is_whole(folder, read_record(folder, name), thorough=thorough):
            forget(folder, name)


def run_local(
    folder: Path,
    plan: Plan,
    *,
    workers: int = 1,
    gpus: list[int] | None = None,
    own: str | None = None,
    max_errors: int | None = None,
    show: Callable[[Status], None] = lambda status: None,
) -> None:
    """Annotate with processes on this machine, until all shards are done or this machine's
    part of them.

    folder (Path): The folder of the output.
    plan (Plan): Its plan.
    workers (int): How many processes.
    gpus (list[int] | None): A GPU for each worker, in turns; None: the CPU.
    own (str | None): Which part of the shards, such as "3/16"; None: all.
    max_errors (int | None): How many documents may be refused; None: any number.
    show (Callable[[Status], None]): Told how far the run is.
    RAISES (WeltError): If the work can't go on. What is done is kept.
    """
    watch = Watch(folder, plan)
    with tempfile.TemporaryFile() as log:
        processes: list[subprocess.Popen] = []
        try:
            for i in range(workers):
                gpu = gpus[i % len(gpus)] if gpus else -1
                most = "" if max_errors is None else str(max_errors)
                processes.append(
                    start_module(
                        "welt_spacy.annotation.worker",
                        [str(folder), str(gpu), own or "", most],
                        threads=plan.settings.threads,
                        stdout=log,
                        stderr=log,
                    )
                )
            while any(process.poll() is None for process in processes):
                # One that has failed, by a full disk or a bad pipeline, fails for all; one
                # that was killed does not
                if any(process.poll() not in (None, 0, -9) for process in processes):
                    break
                show(watch.look())
                time.sleep(INTERVAL)
        finally:
            end_all(processes)
        show(watch.look())
        log.seek(0)
        told = log.read().decode("utf8", errors="replace")
    _check_ended(processes, told)


def _check_ended(processes: list[subprocess.Popen], told: str) -> None:
    failed = [process for process in processes if process.returncode != 0]
    if not failed:
        return
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("✘ ")]
    if ours:
        raise WeltError(ours[0].removeprefix("✘ "))
    if len(failed) < len(processes):
        return  # the others have done its work
    last = lines[-1] if lines else f"exit status {failed[0].returncode}"
    raise WeltError(
        f"a worker ended: {first_line(ValueError(last))}. What is done is kept: run the same "
        "command again"
    )
