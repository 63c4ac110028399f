"""Atomic file writes, file locks and packed folders."""

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import filelock

from ..errors import WeltError

_PARTIAL = re.compile(r"\..+\.welt-[0-9a-f]{12}")
_TEMPORARY = re.compile(r"\..+\.(welt-([0-9a-f]{12}|new|old)|lock)")


def partial_path(path: Path) -> Path:
    """Return a new name beside a file or folder, to write it there until it is complete."""
    return path.with_name(f".{path.name[:100]}.welt-{secrets.token_hex(6)}")


def is_temporary(name: str) -> bool:
    """Check whether a file name is that of a lock or of an unfinished file or folder."""
    return bool(_TEMPORARY.fullmatch(name))


def remove_partial(folder: Path, names: Collection[str] | None = None) -> None:
    """Delete the unfinished files and folders that killed processes left in a folder: all, or
    those of files with given names. No process may write them at the same time.
    """
    prefixes = None if names is None else {f".{name[:100]}" for name in names}
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if not _PARTIAL.fullmatch(path.name):
                continue
            if prefixes is not None and path.name.rpartition(".")[0] not in prefixes:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside it, then rename it.

    A link is followed: its target is replaced, not the link. A device or a pipe is written
    to and never replaced. Missing parent folders are created; text is written as UTF-8.
    """
    data = content.encode("utf8") if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    try:
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode):
            with target.open("wb") as file:
                file.write(data)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(target)
        # The umask applies, as to any new file; an old file keeps its permissions
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            with os.fdopen(os.open(partial, flags, 0o666), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                os.chmod(partial, stat.S_IMODE(mode))
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as err:
        raise WeltError(f"{path}: can't write this file: {err.strerror}") from None


def pack_folder(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, those in subfolders included: relative path -> content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unpack_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files that `pack_folder` has read, which may be of unknown origin. If a path
    leads out of the folder, nothing is written and a `WeltError` is raised.
    """
    for name in files:
        # Windows paths on any system, because data are read on other systems than written
        for path in (PurePosixPath(name), PureWindowsPath(name)):
            if not path.parts or path.anchor or ".." in path.parts:
                raise WeltError(
                    f"{name!r}: this file would be written outside of its folder. The data "
                    "are damaged or come from somewhere else"
                )
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def replace_dir(work: Path, final: Path) -> None:
    """Rename a finished folder to its final name in the same parent folder. An existing
    folder, damaged or written by another process in the meantime, is deleted.
    """
    while True:
        try:
            work.rename(final)
            return
        except OSError:
            if not (work.exists() and final.exists()):
                raise
        old = partial_path(final)
        with contextlib.suppress(FileNotFoundError):
            final.rename(old)
        shutil.rmtree(old, ignore_errors=True)


class Busy(WeltError):
    """The error of a lock that another process or thread holds."""


@contextlib.contextmanager
def exclusive_lock(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Lock a file or folder against other processes and threads.

    The lock is the file `.NAME.lock` beside it. The system releases it when the process
    ends, so the file of a killed process locks nothing.
    """
    path = Path(os.path.realpath(path))
    lock_path = _lock_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(lock_path, thread_local=False)
        lock.acquire(timeout=wait)
    except filelock.Timeout:
        raise Busy(f"{path}: another process writes here. Wait until it ends") from None
    except (OSError, NotImplementedError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise WeltError(f"{path}: can't write here: {reason}") from None
    try:
        yield
    finally:
        # Unlink before the release, because after it the file may belong to another process.
        # A process that opened the file before drops its lock, because filelock 3.21 and
        # later check that a locked file still has a name. Windows refuses to delete it.
        with contextlib.suppress(OSError):
            lock_path.unlink()
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the `exclusive_lock` of a file or folder."""
    if not _lock_path(Path(os.path.realpath(path))).exists():
        return False
    try:
        with exclusive_lock(path):
            return False
    except Busy:
        return True


def _lock_path(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"
