"""Child processes that end with their parent, and the cores and memory of a process."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

# Seconds between two checks of the parent, and until a process is killed after SIGTERM
INTERVAL = 0.5
GRACE = 10.0
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def end_with_parent(parent: int) -> None:
    """End this process soon after the process with this id, its parent, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def n_cores() -> int:
    """Return the number of cores that this process may use: a job of a cluster seldom has all
    cores of its machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_variables(threads: int) -> dict[str, str]:
    """Return environment variables for a process that may use a number of threads."""
    return {
        **dict.fromkeys(THREAD_SETTINGS, str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
    }


def start_module(
    module: str, arguments: Sequence[str], *, threads: int, **options: Any
) -> subprocess.Popen:
    """Start a module as a process. Its first argument is the id of this process, for
    `end_with_parent`; `options` are those of `subprocess.Popen`.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid()), *arguments],
        env={**os.environ, **thread_variables(threads)},
        **{"stdin": subprocess.DEVNULL, **options},
    )


def end_all(processes: Sequence[subprocess.Popen]) -> None:
    """End processes by SIGTERM, and those that do not end by SIGKILL."""
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
    """Return the peak memory of this process in MB; None if the system does not count it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    # In kB on Linux, in bytes on macOS
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def peak_gpu_mb() -> int:
    """Return the peak GPU memory of torch in this process in MB; 0 if torch is not used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_reserved()) >> 20
