"""A pool of worker processes on this machine.

The driver hands one task at a time to each worker. Tasks, results and errors are JSON lines
in pipes. A worker that was killed is replaced and its task is run again.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import WeltError, first_line, shorten
from .processes import end_all, end_with_parent, start_module

# Seconds between two looks at a pool, for drivers
INTERVAL = 0.5

Report = Callable[[Any], None]


@dataclass(frozen=True)
class Event:
    """A change of the state of a task.

    kind (str): "started"; "progress" with what the worker reported; "restarted" if its worker
        was lost and the task is run again; "done" with the result; "failed" with the message
        of an error; "lost" if its workers were lost too often.
    task (Any): The task, as it was submitted.
    value (Any): The process id, progress, result, or the reason in one line.
    """

    kind: Literal["started", "progress", "restarted", "done", "failed", "lost"]
    task: Any
    value: Any = None

    @property
    def is_last(self) -> bool:
        """True if the task has ended."""
        return self.kind in ("done", "failed", "lost")


@dataclass(eq=False)
class _Task:
    value: Any
    losses: int = 0


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen
    n_tasks: int = 0
    task: _Task | None = None
    is_closed: bool = False


@dataclass(eq=False)
class _Slot:
    """A place for a worker, with the arguments of its process."""

    arguments: Sequence[str]
    worker: _Worker | None = field(default=None)


class WorkerPool:
    """Worker processes of one module, whose `main` calls `serve_tasks`.

        with WorkerPool("welt_spacy.annotation.worker", [["out"], ["out"]]) as pool:
            for task in tasks:
                pool.submit(task)
            while pool.n_unfinished:
                for event in pool.wait():
                    ...

    At the end of the `with` block all workers are ended; they also end with this process,
    however it ends.

    module (str): The module, run by `python -m`.
    arguments (Sequence[Sequence[str]]): The command line arguments of each worker.
    threads (int): Threads of a worker, for what computes in it.
    max_losses (int): Number of lost workers after which a task counts as lost.
    max_tasks (int | None): Number of tasks after which a worker is replaced, None for never.
    folder (Path | None): The current folder of the workers; None for that of this process.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[Sequence[str]],
        *,
        threads: int = 1,
        max_losses: int = 3,
        max_tasks: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self._module, self._threads, self._folder = module, threads, folder
        self._max_losses, self._max_tasks = max_losses, max_tasks
        self._slots = [_Slot(values) for values in arguments]
        self._waiting: deque[_Task] = deque()
        self._messages: queue.SimpleQueue[tuple[_Slot, _Worker, dict | None]]
        self._messages = queue.SimpleQueue()
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (closed by `close`)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def n_free(self) -> int:
        """The number of workers without a task."""
        n_busy = sum(self._is_busy(slot) for slot in self._slots)
        return max(0, len(self._slots) - n_busy - len(self._waiting))

    @property
    def n_unfinished(self) -> int:
        """The number of tasks that have not ended."""
        tasks = [slot.worker and slot.worker.task for slot in self._slots]
        return len(self._waiting) + sum(task is not None for task in tasks)

    def submit(self, task: Any) -> None:
        """Add a task, which must be JSON data."""
        self._waiting.append(_Task(task))

    def wait(self, timeout: float = INTERVAL) -> list[Event]:
        """Send tasks to workers and return the events since the last call; an empty list if there
        were none for `timeout` seconds.
        """
        events = self._assign()
        block = not events
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._messages.get(block, timeout if block else None)
                events += self._handle(*message)
                block = False
        return events + self._assign()

    def close(self) -> None:
        """End all workers. Their tasks are not finished."""
        workers = [slot.worker for slot in self._slots if slot.worker]
        end_all([worker.process for worker in workers])
        for worker in workers:
            _close_pipes(worker.process)
        for slot in self._slots:
            slot.worker = None
        self._log.close()

    def _is_busy(self, slot: _Slot) -> bool:
        worker = slot.worker
        return worker is not None and (worker.task is not None or worker.is_closed)

    def _assign(self) -> list[Event]:
        events = []
        for slot in self._slots:
            if self._waiting and not self._is_busy(slot):
                task = self._waiting.popleft()
                worker = slot.worker = slot.worker or self._start(slot)
                worker.task = task
                worker.n_tasks += 1
                # If it was killed meanwhile, its closed pipe is noticed in `_handle`
                with contextlib.suppress(OSError):
                    _write_line(worker.process.stdin, task.value)
                events.append(Event("started", task.value, worker.process.pid))
        return events

    def _start(self, slot: _Slot) -> _Worker:
        process = start_module(
            self._module,
            slot.arguments,
            threads=self._threads,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._folder,
            text=True,
            encoding="utf8",
        )
        worker = _Worker(process)
        threading.Thread(target=self._read, args=(slot, worker), daemon=True).start()
        return worker

    def _read(self, slot: _Slot, worker: _Worker) -> None:
        """Read the messages of a worker; None is put into the queue when it has ended."""
        assert worker.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # closed by `close`
            for line in worker.process.stdout:
                if line.endswith("\n"):
                    self._messages.put((slot, worker, json.loads(line)))
        self._messages.put((slot, worker, None))

    def _handle(
        self, slot: _Slot, worker: _Worker, message: dict | None
    ) -> list[Event]:
        if slot.worker is not worker:
            return []
        task = worker.task
        if message is None:
            slot.worker = None
            status = worker.process.wait()
            _close_pipes(worker.process)
            return [] if task is None else [self._lose(task, status)]
        if task is None:
            return []
        event = Event(message["kind"], task.value, message["value"])
        if event.is_last:
            worker.task = None
            if worker.n_tasks == self._max_tasks:
                worker.is_closed = True
                with contextlib.suppress(OSError):
                    worker.process.stdin.close()  # type: ignore[union-attr]
        return [event]

    def _lose(self, task: _Task, status: int) -> Event:
        task.losses += 1
        reason = f"exit status {status}" if status >= 0 else f"signal {-status}"
        if status > 0 and (line := self._last_line()):
            reason = f"{reason}: {line}"
        if task.losses <= self._max_losses:
            self._waiting.appendleft(task)
            return Event("restarted", task.value, f"its process ended ({reason})")
        n = "" if task.losses == 1 else f" {task.losses} times"
        return Event("lost", task.value, f"its process ended{n} ({reason})")

    def _last_line(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 4096))
        text = self._log.read().decode("utf8", errors="replace").strip()
        return shorten(text.rpartition("\n")[2], 200)


def serve_tasks(run: Callable[[Any, Report], Any]) -> None:
    """Run the tasks that the driver sends, until it closes the pipe. Called by the `main` of
    a worker module, whose first command line argument is the driver's process id.

    run (Callable[[Any, Report], Any]): Runs a task and returns a result, both JSON data. Its
        second argument reports progress. An error is sent to the driver, and the next task
        is run.
    """
    end_with_parent(int(sys.argv[1]))
    # Ctrl-C reaches all processes of a terminal, and the driver ends its workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Copies, so that neither libraries that print nor child processes get to the pipes
    tasks = os.fdopen(os.dup(0), encoding="utf8")
    messages = os.fdopen(os.dup(1), "w", encoding="utf8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)

    def send(kind: str, value: Any) -> None:
        _write_line(messages, {"kind": kind, "value": value})

    for line in tasks:
        kind, value = call_with_errors(
            lambda task: run(task, lambda progress: send("progress", progress)),
            json.loads(line),
        )
        send(kind, value)


def call_with_errors(function: Callable[[Any], Any], task: Any) -> tuple[str, Any]:
    """Return "done" and the result of a function, or "failed" and its error in one line."""
    try:
        return "done", function(task)
    except WeltError as err:
        return "failed", str(err)
    except (Exception, SystemExit) as err:
        traceback.print_exc()
        return "failed", f"{type(err).__name__}: {first_line(err)}"


def _write_line(pipe: Any, value: Any) -> None:
    pipe.write(json.dumps(value) + "\n")
    pipe.flush()


def _close_pipes(process: subprocess.Popen) -> None:
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]
