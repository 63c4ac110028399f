"""Output folders of commands: locked, recognised, compared and replaced in one way.

A folder holds the outputs of a command and a record, `welt.json` unless the command names
another one:

    {"command": ..., "complete": ..., "fingerprint": {...}, "outputs": {NAME: SHA-256}, "summary": ...}

An output is written aside and renamed to its place after the record names it, so a killed
process leaves a folder that the next call recognises, and nothing that looks finished.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import WeltError, shorten
from .files import exclusive_lock, remove_partial, write_atomically
from .fingerprint import Fingerprint, checksum, checksum_bytes

RECORD = "welt.json"


class OutputFolder:
    """The folder that a command writes. Files of others in it are left alone.

        with OutputFolder(output, "spacy welt convert") as folder:
            if not folder.is_current(fingerprint):
                folder.start(fingerprint)
                folder.add("train.spacy", content)
                folder.finish({"docs": 500})

    In the `with` block the folder is locked, and unfinished outputs of a killed process are
    removed. `is_current`, `has` and `summary` can be used without a lock, too.

    path (Path): The folder; a link is followed.
    command (str): The command, for the record and for messages.
    record (str): The name of the record.
    wait (float): Seconds to wait for another process that writes there.
    RAISES (WeltError): `Busy` if another process or thread writes there; if the folder can't
        be written to.
    """

    def __init__(
        self, path: Path, command: str, *, record: str = RECORD, wait: float = 0.0
    ):
        self.path = path
        self.command = command
        self._record_path = path / record
        self._wait = wait
        self._content = self._read()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "OutputFolder":
        self._stack.enter_context(_new_folders(self.path))
        try:
            # Inside the folder, because its parent may be read-only
            lock = exclusive_lock(self._record_path, wait=self._wait)
            self._stack.enter_context(lock)
            self._content = self._read()
            with _one_line(self.path):
                paths = [self.path / name for name in self._names()]
                members: dict[Path, list[str]] = {}
                for path in (self._record_path, *paths):
                    members.setdefault(path.parent, []).append(path.name)
                for parent, names in members.items():
                    # Others may write other files, such as another selection
                    remove_partial(parent, names)
                for path in paths:
                    recover(path)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The fingerprint of the outputs; None if there are none."""
        return Fingerprint.from_dict(self._content.get("fingerprint"))

    @property
    def summary(self) -> Any:
        """The JSON data that `finish` stored; None before."""
        return self._content.get("summary")

    @property
    def outputs(self) -> dict[str, str]:
        """The names of the outputs with their checksums; "" if one is not finished."""
        return dict(self._content.get("outputs", {}))

    @property
    def is_finished(self) -> bool:
        """True if `finish` was called; outputs may be damaged since."""
        return self._content.get("complete") is True

    def is_current(self, fingerprint: Fingerprint) -> bool:
        """Check whether the folder is finished, of this fingerprint, and undamaged."""
        return self.is_intact() and self.fingerprint == fingerprint

    def is_intact(self) -> bool:
        """Check whether the folder is finished and all outputs are as they were written."""
        return self.is_finished and all(map(self.has, self.outputs))

    def has(self, name: str) -> bool:
        """Check whether an output is there as it was written."""
        expected = self.outputs.get(name)
        if not expected:
            return False
        try:
            return checksum(self.path / name) == expected
        except WeltError:
            return False

    def check(self, outputs: Iterable[str], *, exclusive: bool = False) -> None:
        """Raise an error if files of others have the names of outputs, as `start` does."""
        if not self._content and os.path.lexists(self._record_path):
            raise self._not_mine(self._record_path)
        names = list(outputs)
        for name in names:
            if not _is_inside(name):
                raise ValueError(f"{name!r} is not below the folder")
            path = self.path / name
            if name not in self._names() and os.path.lexists(path):
                raise self._not_mine(path)
        if exclusive and (others := self._others(names)):
            raise self._not_mine(self.path / others[0])

    def start(
        self,
        fingerprint: Fingerprint,
        outputs: Iterable[str] = (),
        *,
        restart: bool = True,
        exclusive: bool = False,
        force: bool = False,
    ) -> None:
        """Begin work, or go on where a killed call of the same fingerprint ended: `has`
        returns True for the outputs that it has finished.

        fingerprint (Fingerprint): The fingerprint of the work.
        outputs (Iterable[str]): Names that are written by other means than `add` and
            `add_folder`, such as the "model-best" of `spacy train`.
        restart (bool): Whether outputs of another fingerprint are replaced.
        exclusive (bool): Whether files of others are refused, because readers of the folder
            would take them for outputs.
        force (bool): Whether files of others with the names of outputs are replaced.
        RAISES (WeltError): If the folder holds what is not replaced.
        """
        outputs = list(outputs)
        if not force:
            self.check(outputs, exclusive=exclusive)
        if self.fingerprint != fingerprint:
            if self._content and not restart:
                names = shorten(
                    ", ".join(fingerprint.differences(self.fingerprint)), 300
                )
                raise WeltError(
                    f"{self.path}: it was made of something else ({names} differ). Use "
                    "another output folder, or delete this one"
                )
            finished = {}
        else:
            finished = {n: sha for n, sha in self.outputs.items() if self.has(n)}
        external = dict.fromkeys(outputs, "")
        self._content = {
            "command": self.command,
            "complete": False,
            "fingerprint": fingerprint.to_dict(),
            "outputs": {**finished, **external},
            "previous": sorted({*self._names()} - {*finished, *external}),
        }
        self._write()

    def add(self, name: str, content: str | bytes) -> Path:
        """Write an output file and return its path."""
        data = content.encode("utf8") if isinstance(content, str) else content
        self._claim(name, checksum_bytes(data))
        write_atomically(self.path / name, data)
        return self.path / name

    @contextlib.contextmanager
    def add_folder(self, name: str) -> Iterator[Path]:
        """Yield a new folder to write to; at the end of the `with` block it becomes the
        output of this name.
        """
        self.check([name])
        with replaced(self.path / name) as new:
            yield new
            self._claim(name, checksum(new))

    def finish(self, summary: Any = None) -> None:
        """Record the outputs as finished and delete those of earlier work that are not
        among them. The names given to `start` that do not exist are dropped.

        summary (Any): JSON data to keep in the record.
        """
        outputs = {
            name: known or checksum(self.path / name)
            for name, known in self.outputs.items()
            if known or (self.path / name).exists()
        }
        for name in {*self._names()} - {*outputs}:
            self._delete(name)
        self._content.pop("previous", None)
        self._content.update(complete=True, outputs=outputs, summary=summary)
        self._write()

    def _claim(self, name: str, sha: str) -> None:
        self.check([name])
        self._content["outputs"][name] = sha
        self._write()

    def _not_mine(self, path: Path) -> WeltError:
        return WeltError(
            f"{path}: {self.command!r} did not write this, so it is not replaced. Use "
            "another output folder, or move it away"
        )

    def _others(self, outputs: Iterable[str]) -> list[str]:
        mine = {PurePosixPath(name).parts[0] for name in (*self._names(), *outputs)}
        names = (path.name for path in self.path.iterdir())
        return sorted(
            name
            for name in names
            if name[0] != "." and name not in {*mine, self._record_path.name}
        )

    def _names(self) -> list[str]:
        return [*self.outputs, *self._content.get("previous", [])]

    def _delete(self, name: str) -> None:
        path = self.path / name
        if path.parent.resolve() != (self.path.resolve() / name).parent:
            return  # below a link to somewhere else
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as err:
            raise WeltError(f"{path}: can't delete this: {err.strerror}") from None

    def _read(self) -> dict[str, Any]:
        """Read the record; empty if it is missing, damaged or of another command."""
        try:
            record = json.loads(self._record_path.read_text("utf8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(record, dict) or record.get("command") != self.command:
            return {}
        outputs, previous = record.get("outputs"), record.get("previous", [])
        if not isinstance(outputs, dict) or not isinstance(previous, list):
            return {}
        texts = [*outputs, *outputs.values(), *previous]
        if not all(isinstance(text, str) for text in texts):
            return {}
        if not all(map(_is_inside, (*outputs, *previous))):
            return {}
        return record

    def _write(self) -> None:
        content = json.dumps(self._content, indent=2, ensure_ascii=False)
        data = content.encode("utf8", "backslashreplace") + b"\n"
        write_atomically(self._record_path, data)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@contextlib.contextmanager
def replace_folder(
    path: Path, check: Callable[[Path], None] = lambda path: None
) -> Iterator[Path]:
    """Replace a whole folder, locked against other processes.

    path (Path): The folder; a link is followed.
    check (Callable[[Path], None]): Raises an error if what is at the path, links followed,
        may not be replaced.
    YIELDS (Path): A place beside it, which nothing is at. What is written there takes the place
        of the folder at the end of the `with` block.
    RAISES (WeltError): If another process writes there, or the disk is full or read-only.
    """
    final = Path(os.path.realpath(path))
    with _one_line(path), _new_folders(final.parent), exclusive_lock(final):
        recover(final)
        if os.path.lexists(final):
            check(final)
        with replaced(final) as new:
            yield new


@contextlib.contextmanager
def replaced(final: Path) -> Iterator[Path]:
    """Yield a place beside a folder; what is written there replaces the folder. The old one
    is moved aside before and deleted after the new one is in place.
    """
    new, old = _beside(final, "new"), _beside(final, "old")
    with _one_line(final):
        try:
            yield new
            if os.path.lexists(final):
                final.rename(old)
            try:
                new.rename(final)
            except OSError:
                if os.path.lexists(old):
                    old.rename(final)
                raise
        finally:
            # If the old folder could not be moved back, both are left for `recover`
            if os.path.lexists(final) or not os.path.lexists(old):
                _delete_all(new, old)


def recover(final: Path) -> None:
    """Repair the folders that a process left which was killed while it replaced one."""
    new, old = _beside(final, "new"), _beside(final, "old")
    if os.path.lexists(old) and not os.path.lexists(final):
        old.rename(final)
    _delete_all(new, old)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f".{path.name[:100]}.welt-{end}")


def _delete_all(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise WeltError(f"{path}: can't write here: {err.strerror or err}") from None


@contextlib.contextmanager
def _new_folders(path: Path) -> Iterator[None]:
    """Create a folder; those that are empty at the end are removed again."""
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise WeltError(f"{path}: can't write here: {err.strerror}") from None
    try:
        yield
    finally:
        for folder in created:
            with contextlib.suppress(OSError):
                folder.rmdir()
