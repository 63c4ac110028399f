"""Processes that end with the one that started them, and use no more cores than they may."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

# Seconds between two looks at the parent, and for a process to end when it is asked to
INTERVAL = 0.5
GRACE = 10.0
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def end_with_parent(parent: int) -> None:
    """End this process soon after its parent has ended, however that ended.

    parent (int): The process id of the parent.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def n_cores() -> int:
    """RETURNS (int): How many cores this process may use: a job of a cluster seldom has all of
    its machine's.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_variables(threads: int) -> dict[str, str]:
    """RETURNS (dict[str, str]): Variables of the environment for a process that may use so
    many threads.

    threads (int): How many.
    """
    return {
        **dict.fromkeys(THREAD_SETTINGS, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }


def start_module(
    module: str, arguments: Sequence[str], *, threads: int, **options: Any
) -> subprocess.Popen:
    """Start a module of this package as a process of its own. Its first argument is the
    id of this process, for `end_with_parent`.

    module (str): The module, such as "welt_spacy.experiments._subprocess".
    arguments (Sequence[str]): Its other arguments.
    threads (int): Threads for what computes in it.
    options (Any): Of `subprocess.Popen`.
    RETURNS (subprocess.Popen): The process.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid()), *arguments],
        env={**os.environ, **thread_variables(threads)},
        **{"stdin": subprocess.DEVNULL, **options},
    )


def end_all(processes: Sequence[subprocess.Popen]) -> None:
    """End processes: they are asked to, and killed if they do not.

    processes (Sequence[subprocess.Popen]): The processes; some may have ended already.
    """
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def peak_mb() -> int | None:
    """RETURNS (int | None): The most memory that this process ever had, in MB; None where
    the system does not tell.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    # In kB on Linux, in bytes on macOS
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def peak_gpu_mb() -> int:
    """RETURNS (int): The most memory of the GPU that torch ever had in this process, in MB;
    0 if it was not used.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_reserved()) >> 20
