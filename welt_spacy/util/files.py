"""Writing files so that a file under its own name is always whole."""

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import filelock

from ..errors import WeltError

_PARTIAL = re.compile(r"\..+\.welt-[0-9a-f]{12}")
_TEMPORARY = re.compile(r"\..+\.(welt-([0-9a-f]{12}|new|old)|lock)")


def partial_path(path: Path) -> Path:
    """RETURNS (Path): A place beside a file or folder to make it at, until it is whole.

    path (Path): The file or folder.
    """
    return path.with_name(f".{path.name[:100]}.welt-{secrets.token_hex(6)}")


def is_temporary(name: str) -> bool:
    """Check whether a file name is that of a lock or of an unfinished file or folder."""
    return bool(_TEMPORARY.fullmatch(name))


def remove_partial(folder: Path) -> None:
    """Take away what killed processes have left half-made in a folder, and nothing else.

    folder (Path): The folder; it may be missing. Nobody may be at work in it.
    """
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if not _PARTIAL.fullmatch(path.name):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file to a temporary name beside it, then rename.

    A link is followed: its target is replaced, not the link. What is not a regular
    file (a device, a pipe) is written to as it is and never replaced.

    path (Path): The file; folders above it are made.
    content (str | bytes): Its content; text is written as UTF-8.
    RAISES (WeltError): If the place can't be written to.
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
    """Write the files that `pack_folder` has read below a folder.

    files (Mapping[str, bytes]): Relative path -> content. It may be of unknown origin.
    folder (Path): The folder.
    RAISES (WeltError): If a path leads out of the folder. Then nothing is written.
    """
    for name in files:
        # Windows paths too, whatever the system: a message is read where it was not written
        for path in (PurePosixPath(name), PureWindowsPath(name)):
            if not path.parts or path.anchor or ".." in path.parts:
                raise WeltError(
                    f"{name!r}: this file would be written outside of its folder. The data "
                    "are damaged or come from somewhere else"
                )
    for name, content in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def replace_dir(work: Path, final: Path) -> None:
    """Rename a folder that has been made to its place. What is there, damaged or made by
    another process in the meantime, is taken away.

    work (Path): The folder, in the same parent folder as `final`.
    final (Path): Its place.
    RAISES (OSError): If it can't be renamed.
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
    """Another process is writing at the same place."""


@contextlib.contextmanager
def exclusive_lock(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes, and other threads, from writing at the same place.

    The lock is a file `.NAME.lock` beside the place. It ends with the process that
    holds it, however that ends: a file that a killed process left locks nothing.

    path (Path): The file or the folder that is written.
    wait (float): How many seconds to wait for another writer.
    YIELDS (None): While the lock is held.
    RAISES (WeltError): `Busy` if another process holds it; or if the place can't be written to.
    """
    path = Path(os.path.realpath(path))
    place = path.parent / f".{path.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(place, thread_local=False)
        lock.acquire(timeout=wait)
    except filelock.Timeout:
        raise Busy(
            f"{path}: another process is writing here: wait until it ends"
        ) from None
    except (OSError, NotImplementedError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        raise WeltError(f"{path}: can't write here: {reason}") from None
    try:
        yield
    finally:
        # Before the release, so that it is not another process's file. A process that has
        # opened it in the meantime drops its lock, because filelock 3.21 and later check
        # that a locked file still has a name. Windows keeps open files.
        with contextlib.suppress(OSError):
            place.unlink()
        lock.release()
