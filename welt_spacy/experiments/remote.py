"""Runs at an address of fsspec, for machines without a common file system.

Each machine works in a folder of its own. An object store can't rename, so the record by
which a run is done is sent last, and only a run that has it is fetched.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import WeltError, extra_needed, first_line
from ..util.files import exclusive_lock, partial_path
from ..util.fingerprint import checksum
from .layout import ERROR, RECORD, RunFolder, get_plan, get_run, get_split

RUNS, CORPORA, PLAN = "runs", "corpora", "experiment.json"
# No folders are made there: a typing error in its name would make a bucket
OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci"}


class Storage:
    """Runs at an address.

    address (str): Such as "s3://bucket/experiment".
    RAISES (WeltError): If fsspec, or its package for this kind of address, is missing.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        with extra_needed("--storage", "annotation"):
            import fsspec
        with self._errors():
            self._fs, self._root = fsspec.core.url_to_fs(self.address)
        protocol = self._fs.protocol
        protocols = {protocol} if isinstance(protocol, str) else {*protocol}
        self._is_object_store = bool(protocols & OBJECT_STORES)

    @property
    def name(self) -> str:
        """The name of a local folder for this storage alone."""
        return hashlib.sha256(self.address.encode("utf8")).hexdigest()[:16]

    def fetch_run(self, folder: RunFolder) -> None:
        """Fetch a run without its pipelines, or the error with which it failed, unless it is
        here. The caller holds the lock of the folder.
        """
        if folder.open().is_intact():
            return
        for last in (RECORD, ERROR):
            if self._has(RUNS, folder.name, last):
                self._fetch(folder, last)
                return

    def fetch_all(self, output: Path) -> None:
        """Fetch the plan and all runs that are not here, without their pipelines."""
        for name in self._names(RUNS):
            folder = get_run(output, name)
            if not folder.is_locked() and not folder.open().is_intact():
                with exclusive_lock(folder.path / RECORD):
                    self.fetch_run(folder)
        if self._has(PLAN):
            self._get(self._place(PLAN), get_plan(output))

    def send_run(self, folder: RunFolder) -> None:
        """Send a run, with its pipelines if they are kept."""
        self._send(folder, RECORD)
        if self._has(RUNS, folder.name, ERROR):
            with self._errors():
                self._fs.rm(self._place(RUNS, folder.name, ERROR))

    def send_failure(self, folder: RunFolder) -> None:
        """Send the logs and the error of a run that failed."""
        if folder.read_error():
            self._send(folder, ERROR, "*.log")

    def send_missing(self, names: Sequence[str], output: Path) -> None:
        """Send the plan, and runs that are here and not there, such as those that were run
        without a network.
        """
        self._put(get_plan(output), self._place(PLAN))
        for name in names:
            folder = get_run(output, name)
            if folder.open().is_intact() and not self._has(RUNS, name, RECORD):
                self.send_run(folder)

    def send_corpus(self, corpus: str, splits: Sequence[str], corpora: Path) -> None:
        """Send the splits of a converted corpus."""
        for split in splits:
            path = get_split(corpora, corpus, split)
            place = self._place(CORPORA, corpus, checksum(path), path.name)
            with self._errors():
                # A killed sender may have left a part
                size = self._fs.size(place) if self._fs.exists(place) else None
                if size != path.stat().st_size:
                    self._put(path, place)

    def fetch_corpus(
        self, corpus: str, checksums: dict[str, str], corpora: Path
    ) -> None:
        """Fetch the splits of a corpus that are not here."""
        for split, expected in checksums.items():
            path = get_split(corpora, corpus, split)
            if not path.is_file() or checksum(path) != expected:
                place = self._place(CORPORA, corpus, expected, path.name)
                self._get(place, path, expected)

    def _place(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _has(self, *parts: str) -> bool:
        with self._errors():
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._place(*parts)))

    def _names(self, kind: str) -> list[str]:
        if not self._has(kind):
            return []
        with self._errors():
            paths = self._fs.ls(self._place(kind), detail=False)
        names = {path.rstrip("/").rpartition("/")[2] for path in paths}
        return sorted(name for name in names if name and name[0] != ".")

    def _fetch(self, folder: RunFolder, last: str) -> None:
        place = self._place(RUNS, folder.name)
        folder.clear()
        with self._errors():
            paths = {
                path[len(place) :].lstrip("/"): path for path in self._fs.find(place)
            }
        # The record makes the run complete, so it comes last
        for name in sorted(paths, key=lambda name: name == last):
            is_outside = ".." in name.split("/")
            if not is_outside and not name.startswith("model-"):
                self._get(paths[name], folder.path / name)

    def _send(self, folder: RunFolder, last: str, pattern: str = "*") -> None:
        files = {path for path in folder.path.rglob(pattern) if path.is_file()}
        files = {path for path in files if not path.name.endswith(".lock")}
        files.add(folder.path / last)
        for path in sorted(files, key=lambda path: (path == folder.path / last, path)):
            name = path.relative_to(folder.path).as_posix()
            self._put(path, self._place(RUNS, folder.name, name))

    def _put(self, path: Path, place: str) -> None:
        with self._errors():
            if not self._is_object_store:
                self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), place)

    def _get(self, place: str, path: Path, expected: str | None = None) -> None:
        partial = partial_path(path)
        try:
            with self._errors():
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(place, str(partial))
                if expected is not None and checksum(partial) != expected:
                    raise WeltError(f"{place} is not the file that was sent")
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of a file system into one line, because each kind has its own."""
        try:
            yield
        except WeltError:
            raise
        except Exception as err:
            raise WeltError(f"{self.address}: {first_line(err)}") from None
