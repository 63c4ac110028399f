"""A shard annotated into a file, and the record of it that says that it is done.

Under the folder of the output:

    plan.json, shards.jsonl   what is to be done
    data/NAME.jsonl           the entities of a shard
    rejects/NAME.jsonl        its documents that could not be annotated
    manifest/NAME.json        counts and checksums: it comes last, and it alone says "done"
    claims/NAME               which process is at it
    manifest.jsonl, summary.json   of all shards, when all are done
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import srsly

from ..errors import WeltError
from ..formats.documents import AnnotatedDocument, Item, Reject
from ..formats.lines import Place
from ..formats.writers import WRITERS
from ..parallel.processes import peak_mb
from ..util.files import partial_path, write_atomically
from .annotator import Pipelines
from .plan import Plan, Shard

DATA, REJECTS, MANIFEST, CLAIMS = "data", "rejects", "manifest", "claims"
# Bars of the histogram of confidences, and names that are kept of a shard and label
N_BARS = 20
N_NAMES = 200
# Documents between two reports
REPORT_DOCS = 100


class Progress(NamedTuple):
    """How far a shard is.

    docs, words, rejects (int): How many so far.
    """

    docs: int
    words: int
    rejects: int


def done(folder: Path) -> set[str]:
    """RETURNS (set[str]): The names of the shards that are done.

    folder (Path): The folder of the output.
    """
    try:
        names = os.listdir(folder / MANIFEST)
    except FileNotFoundError:
        return set()
    return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}


def is_done(folder: Path, name: str) -> bool:
    """RETURNS (bool): Whether a shard is done.

    folder (Path): The folder of the output.
    name (str): The name of the shard.
    """
    return (folder / MANIFEST / f"{name}.json").is_file()


def read_shard(plan: Plan, shard: Shard) -> Iterator[Item]:
    """Read the documents of a shard.

    plan (Plan): The plan.
    shard (Shard): The shard.
    YIELDS (Item): Its documents, and those that can't be read.
    RAISES (WeltError): If a file is not as it was when the plan was made.
    """
    for piece in shard.pieces:
        if not piece.n:
            continue
        address = plan.files[piece.file]["address"]
        reader = plan.settings.reader(address)
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
                f"{address} has fewer documents than when this run was planned: it was "
                "changed. Use another output folder"
            )
    for message in shard.damaged:
        yield Reject(message.partition(": ")[0], "damaged file", message)


def annotate_shard(
    plan: Plan,
    shard: Shard,
    pipelines: Pipelines,
    folder: Path,
    *,
    report: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Annotate a shard. Doing it twice, even at the same time, gives the same files.

    plan (Plan): The plan.
    shard (Shard): The shard.
    pipelines (Pipelines): The pipelines of the plan.
    folder (Path): The folder of the output.
    report (Callable[[Progress], None] | None): Told how far it is.
    RETURNS (dict[str, Any]): The record of the shard in the manifest.
    RAISES (WeltError): If the input can't be read, the output can't be written, or the
        pipeline fails on every text.
    """
    started = time.perf_counter()
    make, ending = WRITERS[plan.settings.format]
    target = folder / DATA / (shard.name + ending)
    partial = partial_path(target)
    tally = Tally()
    rejects: list[Reject] = []
    try:
        with _opened(partial, is_folder=not ending) as place:
            writer = make(place, plan.settings.with_text)
            for i, found in enumerate(pipelines.annotate(read_shard(plan, shard))):
                if isinstance(found, Reject):
                    rejects.append(found)
                else:
                    writer.write(found)
                    tally.add(found)
                if report and i % REPORT_DOCS == 0:
                    report(Progress(tally.docs, tally.words, len(rejects)))
            writer.close()
        size, checksum = _measure(partial)
        if rejects:
            lines = (
                json.dumps(reject._asdict(), ensure_ascii=False) + "\n"
                for reject in rejects
            )
            content = "".join(lines).encode("utf8", errors="replace")
            write_atomically(folder / REJECTS / f"{shard.name}.jsonl", content)
        _publish(partial, target)
    except BaseException as err:
        _remove(partial)
        if isinstance(err, OSError):
            raise WeltError(
                f"{target}: can't write this file: {err.strerror or err}. What is done is "
                "kept: run the same command again when there is room"
            ) from None
        raise
    record = {
        "shard": shard.name,
        "file": f"{DATA}/{target.name}",
        "docs": tally.docs,
        "words": tally.words,
        "entities": sum(tally.labels.values()),
        "rejects": len(rejects),
        "bytes": size,
        "sha256": checksum,
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mb": peak_mb(),
        "reasons": dict(sorted(Counter(r.reason for r in rejects).items())),
        **tally.told(),
    }
    line = json.dumps(record, ensure_ascii=False) + "\n"
    write_atomically(folder / MANIFEST / f"{shard.name}.json", line)
    return record


class Tally:
    """What is counted in a shard, for the page."""

    def __init__(self) -> None:
        self.docs = self.words = 0
        self.labels: Counter = Counter()
        self.names: dict[str, Counter] = {}
        self.confidences: dict[str, list[int]] = {}

    def add(self, found: AnnotatedDocument) -> None:
        """Count a document.

        found (Annotated): The document.
        """
        self.docs += 1
        self.words += found.n_words
        for ent in found.entities:
            self.labels[ent.label] += 1
            self.names.setdefault(ent.label, Counter())[ent.text.lower()] += 1
            if ent.confidence is not None:
                bars = self.confidences.setdefault(ent.label, [0] * N_BARS)
                bars[min(N_BARS - 1, int(ent.confidence * N_BARS))] += 1

    def told(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): Entities by label, the most frequent names of each label,
        and how many confidences are in each of the bars from 0 to 1.
        """
        return {
            "labels": dict(sorted(self.labels.items())),
            "names": {
                label: sorted(names.items(), key=lambda x: (-x[1], x[0]))[:N_NAMES]
                for label, names in sorted(self.names.items())
            },
            "confidences": dict(sorted(self.confidences.items())),
        }


def is_whole(folder: Path, record: dict[str, Any], *, thorough: bool = False) -> bool:
    """Tell whether the data of a shard are as its record says.

    folder (Path): The folder of the output.
    record (dict[str, Any]): The record of the shard in the manifest.
    thorough (bool): Whether to compare checksums too, not sizes alone.
    RETURNS (bool): Whether they are.
    """
    try:
        path = folder / record["file"]
        if thorough or path.is_dir():
            return _measure(path) == (record["bytes"], record["sha256"])
        return path.stat().st_size == record["bytes"]
    except (OSError, KeyError, TypeError):
        return False


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """Read the record of a shard.

    folder (Path): The folder of the output.
    name (str): The name of the shard.
    RETURNS (dict[str, Any]): The record; empty if there is none, or it is damaged.
    """
    try:
        record = srsly.read_json(folder / MANIFEST / f"{name}.json")
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def forget(folder: Path, name: str) -> None:
    """Take back that a shard is done.

    folder (Path): The folder of the output.
    name (str): The name of the shard.
    """
    (folder / MANIFEST / f"{name}.json").unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(path: Path, *, is_folder: bool) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_folder:
        path.mkdir()
        yield path
        for written in path.iterdir():
            with written.open("rb") as opened:
                os.fsync(opened.fileno())
        return
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _publish(partial: Path, target: Path) -> None:
    if partial.is_dir() and target.is_dir():
        # A folder can't be replaced in one go. What is there was renamed into its place,
        # so it is whole.
        if _measure(partial) == _measure(target):
            _remove(partial)
            return
        _remove(target)
    os.replace(partial, target)
    if os.name == "posix":
        place = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _measure(path: Path) -> "tuple[int, str]":
    """Bytes and checksum of a file, or of the files of a folder."""
    sha, size = hashlib.sha256(), 0
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if path.is_dir():
            sha.update(file.name.encode("utf8") + b"\0")
        with file.open("rb") as opened:
            while content := opened.read(1 << 20):
                sha.update(content)
                size += len(content)
    return size, sha.hexdigest()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
