"""Divide the input into shards.

The plan depends on the input and the settings alone, so every process, on any machine, makes
the same shards.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from multiprocessing import get_context

import numpy as np

from ..errors import WeltError
from ..formats.lines import Place
from ..formats.problems import Damaged
from ..formats.readers import Columns, Deleted, Limits, Reader
from ..formats.registry import make_reader
from ..formats.streams import stem_of

# Bytes of a file, packed or not, that are worth a process
BIG = 4 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Settings:
    """Settings that decide the output, besides input and pipelines.

    format (str): Format of the output, a key of `WRITERS`.
    with_text (bool): Whether texts are written too.
    shard_docs (int): Number of documents in a shard.
    max_chars (int): Length of the longest text that is annotated.
    text_column, id_column (str): Fields of JSONL, CSV and Parquet.
    whole_files (bool): Whether a `.txt` file is one document, not each of its lines.
    threads (int): Threads of a worker. Sums of floating-point numbers depend on it.
    """

    format: str = "jsonl"
    with_text: bool = False
    shard_docs: int = 1000
    max_chars: int = 1_000_000
    text_column: str = "text"
    id_column: str = "id"
    whole_files: bool = False
    threads: int = 1

    def make_reader(self, address: str) -> Reader:
        """Return the reader of an input file."""
        return make_reader(
            address,
            limits=Limits(self.max_chars),
            columns=Columns(self.text_column, self.id_column),
            whole_files=self.whole_files,
        )


@dataclass(frozen=True)
class Piece:
    """Consecutive documents of a file.

    file (str): The file or address.
    offset, line (int): Place of the first document.
    n (int): Number of documents.
    skip (list[int]): Indices of those to leave out: replaced by a later version, or deleted.
    """

    file: str
    offset: int
    line: int
    n: int
    skip: list[int]


@dataclass(frozen=True)
class Shard:
    """Documents that are annotated by one process into one file.

    name (str): The number of the shard and the name of its first file.
    pieces (list[Piece]): The documents.
    damaged (list[str]): A message for each file that can't be read to its end.
    """

    name: str
    pieces: list[Piece]
    damaged: list[str]

    @property
    def n_docs(self) -> int:
        """The number of documents to annotate or to reject."""
        n = sum(piece.n - len(piece.skip) for piece in self.pieces)
        return n + len(self.damaged)

    @classmethod
    def from_dict(cls, row: dict) -> "Shard":
        """Convert the result of `dataclasses.asdict` back."""
        pieces = [Piece(**piece) for piece in row["pieces"]]
        return cls(row["name"], pieces, row["damaged"])


@dataclass(frozen=True)
class Plan:
    """The shards of an input.

    documents (int): Number of documents in the input.
    replaced (int): Number of those left out because a later version follows.
    deleted (int): Number of those left out because PubMed deleted them.
    shards (list[Shard]): The shards.
    """

    documents: int
    replaced: int
    deleted: int
    shards: list[Shard]

    def to_json(self) -> str:
        """Convert to JSON, a line a shard."""
        counts = {key: value for key, value in vars(self).items() if key != "shards"}
        rows = (counts, *map(asdict, self.shards))
        return "".join(json.dumps(row) + "\n" for row in rows)

    @classmethod
    def from_json(cls, content: str) -> "Plan":
        """Convert the result of `to_json` back."""
        counts, *rows = map(json.loads, content.splitlines())
        return cls(**counts, shards=list(map(Shard.from_dict, rows)))


@dataclass(frozen=True)
class _Scan:
    """The documents of a file.

    n (int): Number of documents.
    places (list[Place]): Place of every document at which a shard begins.
    keys (np.ndarray): PubMed ids and versions, int64 of shape (n, 2), zeros where a document
        has none; shape (0, 2) if no document has one.
    deleted (list[tuple[int, int]]): PubMed id, and number of documents before its deletion.
    damaged (str): Why the file can't be read to its end.
    """

    n: int
    places: list[Place]
    keys: np.ndarray
    deleted: list[tuple[int, int]]
    damaged: str


def make_plan(
    files: Sequence[str],
    settings: Settings,
    *,
    processes: int = 1,
    report: Callable[[int], None] = lambda n: None,
) -> Plan:
    """Scan the input and divide it into shards."""
    scans: list[_Scan] = []
    for scan in _scan_all(files, settings, min(processes, sum(map(_is_big, files)))):
        scans.append(scan)
        report(len(scans))
    if all(scan.damaged and not scan.n for scan in scans):
        raise WeltError(scans[0].damaged)
    skips, replaced, deleted = _select_versions(scans)
    shards = _divide(files, scans, skips, settings.shard_docs)
    return Plan(sum(scan.n for scan in scans), replaced, deleted, shards)


def _is_big(file: str) -> bool:
    return "://" in file or os.path.getsize(file) > BIG


def _scan_all(
    files: Sequence[str], settings: Settings, processes: int
) -> Iterator[_Scan]:
    if processes < 2:
        yield from (_scan(file, settings) for file in files)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_scan, files, repeat(settings))


def _scan(file: str, settings: Settings) -> _Scan:
    places: list[Place] = []
    keys: list[tuple[int, int]] = []
    deleted: list[tuple[int, int]] = []
    n, damaged = 0, ""
    try:
        for item in settings.make_reader(file).scan():
            if isinstance(item, Deleted):
                deleted.extend((pmid, n) for pmid in item.ids)
                continue
            if n % settings.shard_docs == 0:
                places.append(item.place)
            if item.key:
                keys.append(item.key)
            elif keys:
                keys.append((0, 0))
            n += 1
    except Damaged as err:
        damaged = str(err)
    if not n and not damaged and not deleted:
        damaged = f"{file}: no document in this file"
    table = np.zeros((n if keys else 0, 2), dtype="int64")
    if keys:  # documents before the first one with a key have none
        table[n - len(keys) :] = keys
    return _Scan(n, places, table, deleted, damaged)


def _select_versions(scans: list[_Scan]) -> tuple[list[np.ndarray], int, int]:
    """Select the documents to leave out: all versions of a citation but the highest, of
    equal versions all but the last, and those that are deleted later in the input.
    """
    sizes = [scan.n for scan in scans]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype("int64")
    keyed = [(start, scan.keys) for start, scan in zip(starts, scans)]
    keys = np.concatenate([table for _, table in keyed])
    places = np.concatenate([start + np.arange(len(table)) for start, table in keyed])
    has_id = keys[:, 0] > 0
    places, ids, versions = places[has_id], keys[has_id, 0], keys[has_id, 1]
    left_out = np.zeros(starts[-1], dtype=bool)
    order = np.argsort(ids, kind="stable")
    sorted_ids = ids[order]
    for scan, start in zip(scans, starts):
        for pmid, n_before in scan.deleted:
            low, high = np.searchsorted(sorted_ids, [pmid, pmid + 1])
            same = places[order[low:high]]
            left_out[same[same < start + n_before]] = True
    n_deleted = int(left_out.sum())
    remaining = ~left_out[places]
    places, ids, versions = places[remaining], ids[remaining], versions[remaining]
    order = np.lexsort((places, versions, ids))
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = ids[order][1:] != ids[order][:-1]
    replaced = places[order][~is_last]
    left_out[replaced] = True
    skips = [
        np.flatnonzero(left_out[start : start + n]) for start, n in zip(starts, sizes)
    ]
    return skips, len(replaced), n_deleted


def _divide(
    files: Sequence[str], scans: list[_Scan], skips: list[np.ndarray], size: int
) -> list[Shard]:
    shards: list[Shard] = []
    # Ends of files that do not fill a shard share one
    rest: list[Piece] = []
    damaged: list[str] = []

    def add_shard(pieces: list[Piece], messages: list[str]) -> None:
        stem = _UNSAFE.sub("_", stem_of(pieces[0].file))[:60].strip(".")
        shards.append(Shard(f"{len(shards):06d}-{stem}", pieces, messages))

    for file, scan, skip in zip(files, scans, skips):
        for i, place in enumerate(scan.places):
            first = i * size
            n = min(size, scan.n - first)
            low, high = np.searchsorted(skip, [first, first + n])
            piece = Piece(file, *place, n, (skip[low:high] - first).tolist())
            if n == size:
                add_shard([piece], [])
            else:
                rest.append(piece)
        if scan.damaged:
            damaged.append(scan.damaged)
            rest.append(Piece(file, 0, 1, 0, []))
        if sum(piece.n for piece in rest) >= size:
            add_shard(rest, damaged)
            rest, damaged = [], []
    if rest:
        add_shard(rest, damaged)
    return shards
