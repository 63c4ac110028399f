"""Runs kept at an address that fsspec knows, for machines that share no file system.

Each machine works in a folder of its own. An object store can't rename, so the file by
which a run counts as whole is sent last, and only a run that has it is fetched.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import WeltError, extra_needed, first_line
from ..util.files import partial_path, replace_dir
from .jobs import FAILED, PLAN, REASON, RECORD, RUNS, checksum, is_whole

CORPORA = "corpora"
# Without folders: making one would make a bucket whose name has a typing error
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
        told = self._fs.protocol
        protocols = {told} if isinstance(told, str) else {*told}
        self._is_object_store = bool(protocols & OBJECT_STORES)

    @property
    def name(self) -> str:
        """RETURNS (str): A name for a folder that is this storage's alone."""
        return hashlib.sha256(self.address.encode("utf8")).hexdigest()[:16]

    def fetch_run(self, name: str, output: Path) -> None:
        """Fetch a run without its pipelines, unless it is here.

        name (str): The name of its folder.
        output (Path): The folder of the experiment.
        RAISES (WeltError): If the storage can't be read.
        """
        self._fetch(RUNS, name, output, RECORD)

    def fetch_all(self, output: Path) -> None:
        """Fetch the list of runs, all that are not here, without their pipelines, and what is
        told of those that have failed.

        output (Path): The folder of the experiment.
        RAISES (WeltError): If the storage can't be read.
        """
        for name in self._names(RUNS):
            self._fetch(RUNS, name, output, RECORD)
        for name in self._names(FAILED):
            self._fetch(FAILED, name, output, REASON)
        if self._has(PLAN):
            self._get(self._place(PLAN), output / PLAN)

    def send_run(self, name: str, output: Path) -> None:
        """Send a run, with its pipelines if they were kept.

        name (str): The name of its folder.
        output (Path): The folder of the experiment.
        RAISES (WeltError): If the storage can't be written to.
        """
        self._send(RUNS, name, output, RECORD)
        if self._has(FAILED, name):
            with self._errors():
                self._fs.rm(self._place(FAILED, name), recursive=True)

    def send_failure(self, name: str, output: Path) -> None:
        """Send what is told of a run that has failed.

        name (str): The name of its folder.
        output (Path): The folder of the experiment.
        RAISES (WeltError): If the storage can't be written to.
        """
        if (output / FAILED / name / REASON).is_file():
            self._send(FAILED, name, output, REASON)

    def send_missing(self, names: Sequence[str], output: Path) -> None:
        """Send the list of runs, and those that are here and not there, such as of a time
        without a network.

        names (Sequence[str]): The names of their folders.
        output (Path): The folder of the experiment.
        RAISES (WeltError): If the storage can't be read or written to.
        """
        self._put(output / PLAN, self._place(PLAN))
        for name in names:
            if is_whole(name, output) and not self._has(RUNS, name, RECORD):
                self.send_run(name, output)

    def send_corpus(self, name: str, splits: Sequence[str], corpora: Path) -> None:
        """Send a converted corpus.

        name (str): Its id.
        splits (Sequence[str]): Which splits.
        corpora (Path): The folder of the converted corpora.
        RAISES (WeltError): If the storage can't be written to.
        """
        for split in splits:
            path = corpora / name / f"{split}.spacy"
            place = self._place(CORPORA, name, checksum(path), path.name)
            with self._errors():
                # A sender that was killed may have left a part
                size = self._fs.size(place) if self._fs.exists(place) else None
                if size != path.stat().st_size:
                    self._put(path, place)

    def fetch_corpus(self, name: str, data: dict[str, str], corpora: Path) -> None:
        """Fetch a converted corpus, unless it is here.

        name (str): Its id.
        data (dict[str, str]): SHA-256 of each split.
        corpora (Path): The folder to put it in.
        RAISES (WeltError): If the storage can't be read, or has another corpus.
        """
        for split, expected in data.items():
            path = corpora / name / f"{split}.spacy"
            if path.is_file() and checksum(path) == expected:
                continue
            self._get(self._place(CORPORA, name, expected, path.name), path, expected)

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
            found = self._fs.ls(self._place(kind), detail=False)
        names = {path.rstrip("/").rpartition("/")[2] for path in found}
        return sorted(name for name in names if name and name[0] != ".")

    def _fetch(self, kind: str, name: str, output: Path, last: str) -> None:
        """Fetch a folder whose last file is there, if the run is not here."""
        if is_whole(name, output) or not self._has(kind, name, last):
            return
        place = self._place(kind, name)
        work = partial_path(output / kind / name)
        try:
            with self._errors():
                for path in self._fs.find(place):
                    told = path[len(place) :].lstrip("/")
                    if told.startswith("model-") or ".." in told.split("/"):
                        continue
                    (work / told).parent.mkdir(parents=True, exist_ok=True)
                    self._fs.get_file(path, str(work / told))
                replace_dir(work, output / kind / name)
                if kind == RUNS:
                    shutil.rmtree(output / FAILED / name, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _send(self, kind: str, name: str, output: Path, last: str) -> None:
        folder = output / kind / name
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        place = self._place(kind, name)
        # It counts from when its last file is there
        for path in sorted(files, key=lambda path: path == folder / last):
            self._put(path, f"{place}/{path.relative_to(folder).as_posix()}")

    def _put(self, path: Path, place: str) -> None:
        with self._errors():
            if not self._is_object_store:
                self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            self._fs.put_file(str(path), place)

    def _get(self, place: str, path: Path, expected: str | None = None) -> None:
        part = partial_path(path)
        try:
            with self._errors():
                path.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(place, str(part))
                if expected is not None and checksum(part) != expected:
                    raise WeltError(f"{place} is not the file that was sent")
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What goes wrong with a file system, in one line: each kind has its own errors."""
        try:
            yield
        except WeltError:
            raise
        except Exception as err:
            raise WeltError(f"{self.address}: {first_line(err)}") from None
