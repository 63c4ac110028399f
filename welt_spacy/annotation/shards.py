"""Annotate a shard into a file, and record its counts and checksum.

A shard is done if it has a record in `manifest/`. The record is written last, so a killed
process leaves nothing that looks done. To annotate a shard twice gives the same bytes.
"""

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import WeltError
from ..formats.documents import AnnotatedDocument, Item, Reject
from ..formats.lines import Place
from ..formats.writers import WRITERS
from ..parallel.processes import peak_mb
from ..util.files import partial_path, replace_dir, write_atomically
from ..util.fingerprint import checksum
from .annotator import ZONE_DOCS, Pipelines
from .plan import Settings, Shard

DATA, REJECTS, MANIFEST = "data", "rejects", "manifest"
# Bars of the histograms of confidences, and entity texts that are kept of a shard and label
N_BARS = 20
N_NAMES = 200


@dataclass(frozen=True)
class Job:
    """All that a worker needs besides a shard.

    output (Path): The output folder.
    models (Sequence[str]): Folders or names of the pipelines.
    settings (Settings): The settings.
    """

    output: Path
    models: Sequence[str]
    settings: Settings


@dataclass(frozen=True)
class Progress:
    """Numbers of annotated documents, of their words, and of rejected documents."""

    docs: int = 0
    words: int = 0
    rejects: int = 0

    @property
    def n_docs(self) -> int:
        """The number of documents that were annotated or rejected."""
        return self.docs + self.rejects

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(
            self.docs + other.docs,
            self.words + other.words,
            self.rejects + other.rejects,
        )


@dataclass(frozen=True)
class ShardRecord:
    """The counts and the checksum of a shard that is done.

    shard (str): Its name.
    file (str): Its file or folder, below the output folder.
    docs, words, entities, rejects (int): Numbers of annotated documents, of their words and
        entities, and of rejected documents.
    bytes (int): Size of the file.
    sha256 (str): Its checksum, as `util.fingerprint.checksum` computes it.
    seconds (float): Duration of the work.
    peak_mb (int | None): Peak memory of the worker.
    reasons (dict[str, int]): Number of rejects by reason.
    labels (dict[str, int]): Number of entities by label.
    names (dict[str, dict[str, int]]): The most frequent texts of entities in lower case, by
        label.
    confidences (dict[str, list[int]]): Histogram of confidences from 0 to 1, by label.
    """

    shard: str
    file: str
    docs: int
    words: int
    entities: int
    rejects: int
    bytes: int
    sha256: str
    seconds: float
    peak_mb: int | None
    reasons: dict[str, int]
    labels: dict[str, int]
    names: dict[str, dict[str, int]]
    confidences: dict[str, list[int]]

    @property
    def progress(self) -> Progress:
        """The numbers that are shown while others are annotated."""
        return Progress(self.docs, self.words, self.rejects)


def list_done(output: Path) -> set[str]:
    """Return the names of the shards that have a record."""
    try:
        names = os.listdir(output / MANIFEST)
    except FileNotFoundError:
        return set()
    return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}


def read_record(output: Path, name: str) -> ShardRecord | None:
    """Read the record of a shard; None if it is missing or damaged."""
    try:
        return ShardRecord(**json.loads(record_path(output, name).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def record_path(output: Path, name: str) -> Path:
    """Return the path of the record of a shard."""
    return output / MANIFEST / f"{name}.json"


def is_intact(output: Path, record: ShardRecord) -> bool:
    """Check whether the file of a shard is as it was written."""
    try:
        return checksum(output / record.file) == record.sha256
    except WeltError:
        return False


def read_shard(job: Job, shard: Shard) -> Iterator[Item]:
    """Read the documents of a shard, and those that can't be read."""
    for piece in shard.pieces:
        if not piece.n:
            continue
        reader = job.settings.make_reader(piece.file)
        skip, n_read = set(piece.skip), 0
        with contextlib.closing(
            reader.read(Place(piece.offset, piece.line))  # type: ignore[type-var]
        ) as items:
            for i, item in enumerate(islice(items, piece.n)):
                n_read += 1
                if i not in skip:
                    yield item
        if n_read < piece.n:
            raise WeltError(
                f"{piece.file}: it has fewer documents than when this run was planned. Use "
                "another output folder, because the file was changed"
            )
    for message in shard.damaged:
        yield Reject(message.partition(": ")[0], "damaged file", message)


def annotate_shard(
    job: Job,
    shard: Shard,
    pipelines: Pipelines,
    report: Callable[[Progress], None] = lambda progress: None,
) -> ShardRecord:
    """Annotate a shard."""
    started = time.perf_counter()
    make_writer, suffix = WRITERS[job.settings.format]
    target = job.output / DATA / (shard.name + suffix)
    tally = _Tally()
    with _one_line(target), _new_path(target) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open(path, is_folder=not suffix) as file:
            writer = make_writer(file, job.settings.with_text)

            def write(document: AnnotatedDocument) -> None:
                writer.write(document)
                tally.add(document)

            items = pipelines.annotate(read_shard(job, shard), write)
            for i, item in enumerate(items):
                if isinstance(item, Reject):
                    tally.rejects.append(item)
                if i % ZONE_DOCS == 0:
                    report(tally.progress)
            writer.close()
        sha256 = checksum(path)
        _sync(path)
        if tally.rejects:
            _write_rejects(job.output / REJECTS / f"{shard.name}.jsonl", tally.rejects)
        if suffix:
            os.replace(path, target)
        else:
            replace_dir(path, target)
    record = ShardRecord(
        shard=shard.name,
        file=f"{DATA}/{target.name}",
        bytes=sum(file.stat().st_size for file in _files(target)),
        sha256=sha256,
        seconds=round(time.perf_counter() - started, 2),
        peak_mb=peak_mb(),
        **tally.to_dict(),
    )
    content = json.dumps(asdict(record), ensure_ascii=False) + "\n"
    write_atomically(record_path(job.output, shard.name), content)
    return record


class _Tally:
    """Counts the documents and entities of a shard."""

    def __init__(self) -> None:
        self.docs = self.words = 0
        self.rejects: list[Reject] = []
        self.labels: Counter = Counter()
        self.names: dict[str, Counter] = {}
        self.confidences: dict[str, list[int]] = {}

    def add(self, document: AnnotatedDocument) -> None:
        self.docs += 1
        self.words += document.n_words
        for ent in document.entities:
            self.labels[ent.label] += 1
            self.names.setdefault(ent.label, Counter())[ent.text.lower()] += 1
            if ent.confidence is not None:
                bars = self.confidences.setdefault(ent.label, [0] * N_BARS)
                bars[min(N_BARS - 1, int(ent.confidence * N_BARS))] += 1

    @property
    def progress(self) -> Progress:
        return Progress(self.docs, self.words, len(self.rejects))

    def to_dict(self) -> dict[str, Any]:
        return {
            "docs": self.docs,
            "words": self.words,
            "entities": sum(self.labels.values()),
            "rejects": len(self.rejects),
            "reasons": dict(sorted(Counter(r.reason for r in self.rejects).items())),
            "labels": dict(sorted(self.labels.items())),
            "names": {
                label: dict(
                    sorted(names.items(), key=lambda x: (-x[1], x[0]))[:N_NAMES]
                )
                for label, names in sorted(self.names.items())
            },
            "confidences": dict(sorted(self.confidences.items())),
        }


def _write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    rows = (json.dumps(reject._asdict(), ensure_ascii=False) for reject in rejects)
    content = "".join(row + "\n" for row in rows)
    write_atomically(path, content.encode("utf8", errors="replace"))


@contextlib.contextmanager
def _one_line(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise WeltError(
            f"{target}: can't write this file: {err.strerror or err}. Finished shards are "
            "kept: run the same command again when there is room"
        ) from None


@contextlib.contextmanager
def _new_path(target: Path) -> Iterator[Path]:
    """Yield a path beside a file or folder; what is left there is deleted."""
    path = partial_path(target)
    try:
        yield path
    finally:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _open(path: Path, *, is_folder: bool) -> Iterator[Any]:
    if is_folder:
        path.mkdir()
        yield path
        return
    with path.open("xb") as file:
        yield file


def _sync(path: Path) -> None:
    for file in _files(path):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _files(path: Path) -> list[Path]:
    return list(path.iterdir()) if path.is_dir() else [path]
