"""Work divided among processes on any number of machines by files in a shared folder."""

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import (
    Any,
    NamedTuple,
)

from ..errors import WeltError
from ..util.files import remove_partial

try:
    import fcntl
except ImportError:  # Windows: a claim is given up by its heartbeat alone
    fcntl = None  # type: ignore[assignment]

# Seconds between two signs of life, and without one until a claim counts as left
BEAT = 2.0
STALE = 60.0
# Seconds between two looks at what others are at
WAIT = 1.0
# A claim is written in one piece of this size, so that a reader sees all of it
SIZE = 1024


class Claim:
    """A piece of work that this process is at. A thread writes a sign of life until it
    is given back.

    path (Path): The file.
    file (int): The open file, locked as long as this process lives.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path, self._file = path, file
        self._told: dict[str, Any] = {}
        self._beats = 0
        self._ended = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def tell(self, **progress: Any) -> None:
        """Keep how far the work is, for who looks at the folder.

        progress (Any): Numbers or short strings; written with the next sign of life.
        """
        self._told = progress

    def release(self) -> None:
        """Give it back. Where another process has taken it over, nothing happens."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._file), os.stat(self.path)):
                self.path.unlink()
        os.close(self._file)

    def _live(self) -> None:
        while not self._ended.wait(BEAT):
            # A full disk must not end the work that waits for room
            with contextlib.suppress(OSError):
                self._write()

    def _write(self) -> None:
        self._beats += 1
        record = {
            "machine": machine(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "beat": self._beats,
            **self._told,
        }
        content = json.dumps(record).encode("utf8")[: SIZE - 1].ljust(SIZE - 1)
        # To the open file, which stays ours even if the name is another's by now
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, content + b"\n")


class _Seen(NamedTuple):
    state: tuple[int, ...]
    since: float  # on this process's own clock


class Claims:
    """Claims on pieces of work, as files in a folder that all who work share.

    A claim is left when its process has ended (told by a lock, on the same machine) or
    has given no sign of life for a while, by the clock of the one who looks: clocks of
    machines need not agree. Two processes may be at the same work in rare cases, so
    work must be such that doing it twice does no harm.

    folder (Path): The folder of the claims; it is made.
    stale (float): Seconds without a sign of life after which a claim counts as left.
    """

    def __init__(self, folder: Path, *, stale: float = STALE) -> None:
        self.folder, self.stale = folder, stale
        self._seen: dict[str, _Seen] = {}

    @contextlib.contextmanager
    def take(self, name: str) -> Iterator[Claim | None]:
        """Take a piece of work, or take it over from a process that has left it.

        name (str): The name of the work, such as a file may have.
        YIELDS (Claim | None): The claim, given back at the end of the `with` block;
            None if another process is at it.
        RAISES (WeltError): If the folder can't be written to.
        """
        path = self.folder / name
        claim = self._make(path)
        if claim is None and self._is_left(path):
            with contextlib.suppress(OSError):
                path.unlink()
            claim = self._make(path)
        try:
            yield claim
        finally:
            if claim is not None:
                claim.release()

    def held(self) -> list[str]:
        """RETURNS (list[str]): The work that a process is at, as far as can be told now: one
        on another machine counts as living until it has been silent for a while.
        """
        try:
            paths = sorted(self.folder.iterdir())
        except FileNotFoundError:
            return []
        return [path.name for path in paths if not self._is_left(path)]

    def clean(self, folder: Path) -> None:
        """Take away what killed processes have left half-made, if no other is at work.

        folder (Path): Where the work is made, beside its place, and renamed when it is whole.
        """
        if not self.held():
            remove_partial(folder)

    def told(self) -> dict[str, dict[str, Any]]:
        """RETURNS (dict[str, dict[str, Any]]): What is being worked on, by name, with what
        its process told of it.
        """
        found: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.folder.iterdir()):
                with contextlib.suppress(OSError, ValueError):
                    found[path.name] = json.loads(path.read_bytes())
        return found

    def _make(self, path: Path) -> Claim | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, flags, 0o666)
        except FileExistsError:
            return None
        except OSError as err:
            raise WeltError(f"{path}: can't write here: {err.strerror}") from None
        try:
            if fcntl is not None:
                # Where locks do not work, the sign of life is left
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Claim(path, file)
        except BaseException as err:
            path.unlink(missing_ok=True)
            os.close(file)
            if isinstance(err, OSError):
                raise WeltError(f"{path}: can't write here: {err.strerror}") from None
            raise

    def _is_left(self, path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            return False  # given back just now: the next round finds it free
        try:
            content = os.read(file, SIZE)
            if fcntl is not None and self._is_here(content):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return False
                return os.path.samestat(os.fstat(file), os.stat(path))
            stat = os.fstat(file)
        except OSError:
            return False
        finally:
            os.close(file)
        state = (stat.st_ino, stat.st_mtime_ns, hash(content))
        now = time.monotonic()
        seen = self._seen.get(path.name)
        if seen is None or seen.state != state:
            self._seen[path.name] = _Seen(state, now)
            return False
        return now - seen.since > self.stale

    def _is_here(self, content: bytes) -> bool:
        try:
            return json.loads(content)["machine"] == machine()
        except (ValueError, KeyError, TypeError):
            return False


def share_work(
    claims: Claims,
    names: Sequence[str],
    is_done: Callable[[str], bool],
    do: Callable[[str, Claim], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Do work together with other processes: what nobody else is at, until all is done.

    claims (Claims): The claims, in a folder that all of them share.
    names (Sequence[str]): The pieces of work, in the order in which they are begun.
    is_done (Callable[[str], bool]): Whether one is done, by whomever; it is asked often.
    do (Callable[[str, Claim], None]): Does one. What it raises ends the loop.
    stopped (Callable[[], bool]): Whether to return early.
    RAISES (WeltError): If the folder of claims can't be written to.
    """
    left = list(names)
    while left := [name for name in left if not is_done(name)]:
        taken = 0
        for name in left:
            if stopped():
                return
            if is_done(name):
                continue
            with claims.take(name) as claim:
                # It may have been finished since the look at it
                if claim is None or is_done(name):
                    continue
                do(name, claim)
                taken += 1
        if not taken:
            time.sleep(WAIT)


def machine() -> str:
    """RETURNS (str): What tells this machine, since it was started, from all others:
    containers on one machine have it in common, as they have its locks.
    """
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


def part(told: str | None) -> tuple[int, int]:
    """Read which part of the work is meant.

    told (str | None): Such as "3/16": the third of 16 parts; None: all.
    RETURNS (tuple[int, int]): The number of the part, from 0, and how many there are.
    RAISES (WeltError): If it is anything else.
    """
    if told is None:
        return 0, 1
    match = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", told)
    number, n = map(int, match.groups()) if match else (0, 0)
    if 1 <= number <= n:
        return number - 1, n
    raise WeltError(f"{told!r} is not a part such as 1/8, 2/8, ... 8/8")
