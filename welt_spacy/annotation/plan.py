"""What is to be annotated, how, and cut into which shards: decided once, kept on disk.

The plan of a folder depends on its input and settings alone, so that every process, and
every later one, means the same by the name of a shard.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import srsly
from spacy import util

from ..about import __version__
from ..errors import WeltError
from ..formats.lines import Place
from ..formats.problems import Damaged
from ..formats.readers import Columns, Deleted, Limits, Reader
from ..formats.registry import make_reader
from ..formats.streams import fingerprint, stem_of
from ..util.files import write_atomically

PLAN, SHARDS = "plan.json", "shards.jsonl"
# A file of fewer bytes, packed or not, is not worth a process of its own
SMALL = 4 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Settings(NamedTuple):
    """What decides the output, besides the input.

    pipelines (list[dict[str, str]]): Name, version, checksum and place of each.
    format (str): The format of the output.
    with_text (bool): Whether texts are written too.
    shard_docs (int): Documents in a shard.
    max_chars (int): Characters of the longest text that is annotated.
    columns (list[str]): Fields of JSONL, CSV and Parquet with the text and the id.
    whole_files (bool): Whether a `.txt` file is one document.
    threads (int): Threads of a worker: sums of floating-point numbers depend on it.
    """

    pipelines: list[dict[str, str]]
    format: str = "jsonl"
    with_text: bool = False
    shard_docs: int = 1000
    max_chars: int = 1_000_000
    columns: list[str] = list(Columns())
    whole_files: bool = False
    threads: int = 1

    def reader(self, address: str) -> Reader:
        """RETURNS (Reader): The reader of a file with these settings.

        address (str): The file, or the address.
        """
        return make_reader(
            address,
            limits=Limits(self.max_chars),
            columns=Columns(*self.columns),
            whole_files=self.whole_files,
        )


class Piece(NamedTuple):
    """Documents of a file that follow one another.

    file (int): The number of the file in the plan.
    offset, line (int): Where the first one is.
    n (int): How many there are.
    skip (list[int]): Which of them, from 0, are left out: a later version is elsewhere,
        or they were deleted.
    """

    file: int
    offset: int
    line: int
    n: int
    skip: list[int]


class Shard(NamedTuple):
    """What one process annotates in one go, into one file.

    name (str): Its name: its number and the name of its first file.
    pieces (list[Piece]): Its documents.
    damaged (list[str]): What can't be read of its files.
    """

    name: str
    pieces: list[Piece]
    damaged: list[str]

    @property
    def n_docs(self) -> int:
        """RETURNS (int): Documents that are to be annotated."""
        return sum(piece.n - len(piece.skip) for piece in self.pieces)


class Plan(NamedTuple):
    """What is to be done.

    settings (Settings): How.
    files (list[dict[str, Any]]): Address and fingerprint of each file of the input.
    counts (dict[str, int]): Documents, those left out because a later version is there, and
        because they were deleted.
    shards (list[Shard]): The shards.
    """

    settings: Settings
    files: list[dict[str, Any]]
    counts: dict[str, int]
    shards: list[Shard]


class _Scan(NamedTuple):
    """What was found in a file."""

    n: int
    places: list[Place]  # of every document at which a shard begins
    keys: (
        np.ndarray
    )  # (n, 2) int64: PubMed id and version, 0 without; (0, 2) if none has
    deleted: list[tuple[int, int]]  # PubMed id, documents before it
    damaged: str


def identify(path: Path) -> dict[str, Any]:
    """Tell a pipeline from others, and from what it was before it was changed.

    path (Path): Its folder, or its name if it is installed.
    RETURNS (dict[str, Any]): Its name with version, checksum and place.
    RAISES (WeltError): If there is no such pipeline.
    """
    folder = path
    if not path.is_dir():
        if not util.is_package(str(path)):
            raise WeltError(
                f"{path}: there is no such folder, and no such pipeline is installed"
            )
        installed = util.get_package_path(str(path))
        meta = util.get_model_meta(installed)
        folder = installed / f"{meta['lang']}_{meta['name']}-{meta['version']}"
    meta = util.get_model_meta(folder)
    sha = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            told = [file.relative_to(folder).as_posix(), fingerprint(str(file))]
            sha.update(json.dumps(told).encode("utf8"))
    return {
        "name": f"{meta.get('lang', '')}_{meta.get('name', '')}-{meta.get('version', '')}",
        "checksum": sha.hexdigest(),
        # Packages may be elsewhere on other machines; folders must be in the same place
        "place": str(path.resolve() if folder == path else path),
    }


def make_plan(
    files: list[str],
    settings: Settings,
    *,
    processes: int = 1,
    report: Callable[[int], None] | None = None,
) -> Plan:
    """Go through the input once and divide it.

    files (list[str]): The files and addresses, in their order.
    settings (Settings): How they are annotated.
    processes (int): How many files are gone through at once.
    report (Callable[[int], None] | None): Told how many files are done.
    RETURNS (Plan): The plan.
    RAISES (WeltError): If a file can't be opened, or nothing can be read at all.
    """
    told = [{"address": file, **fingerprint(file)} for file in files]
    scans: list[_Scan] = []
    jobs = [(file, settings) for file in files]
    big = [file["bytes"] > SMALL for file in told]
    processes = min(processes, sum(big))
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            for scan in pool.map(_scan, jobs):
                scans.append(scan)
                if report:
                    report(len(scans))
    else:
        for job in jobs:
            scans.append(_scan(job))
            if report:
                report(len(scans))
    if all(scan.damaged and not scan.n for scan in scans):
        raise WeltError(scans[0].damaged)
    skips, counts = _left_out(scans)
    counts["documents"] = sum(scan.n for scan in scans)
    shards = _divide(files, scans, skips, settings.shard_docs)
    return Plan(settings, told, counts, shards)


def _scan(job: tuple[str, Settings]) -> _Scan:
    address, settings = job
    places: list[Place] = []
    keys: list[tuple[int, int]] = []
    deleted: list[tuple[int, int]] = []
    n, damaged = 0, ""
    try:
        for found in settings.reader(address).scan():
            if isinstance(found, Deleted):
                deleted.extend((name, n) for name in found.ids)
                continue
            if n % settings.shard_docs == 0:
                places.append(found.place)
            if found.key:
                keys.append(found.key)
            elif keys:
                keys.append((0, 0))
            n += 1
    except Damaged as err:
        damaged = str(err)
    if not n and not damaged and not deleted:
        damaged = f"{address}: no document in this file"
    table = np.zeros((n if keys else 0, 2), dtype="int64")
    if keys:  # those before the first one with a key have none
        table[n - len(keys) :] = keys
    return _Scan(n, places, table, deleted, damaged)


def _left_out(scans: list[_Scan]) -> tuple[list[np.ndarray], dict[str, int]]:
    """Find the citations of which a later one is there: the highest version, and of two with
    the same version the later in the order of the input.
    """
    sizes = [scan.n for scan in scans]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype("int64")
    keyed = [(start, scan.keys) for start, scan in zip(starts, scans)]
    keys = np.concatenate([table for _, table in keyed])
    places = np.concatenate([start + np.arange(len(table)) for start, table in keyed])
    known = keys[:, 0] > 0
    places, ids, versions = places[known], keys[known, 0], keys[known, 1]
    gone = np.zeros(starts[-1], dtype=bool)
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    for scan, start in zip(scans, starts):
        for name, before in scan.deleted:
            low, high = np.searchsorted(in_order, [name, name + 1])
            same = places[order[low:high]]
            gone[same[same < start + before]] = True
    n_deleted = int(gone.sum())
    left = ~gone[places]
    places, ids, versions = places[left], ids[left], versions[left]
    order = np.lexsort((places, versions, ids))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = ids[order][1:] != ids[order][:-1]
    replaced = places[order][~last]
    gone[replaced] = True
    skips = [np.flatnonzero(gone[start : start + n]) for start, n in zip(starts, sizes)]
    return skips, {"replaced": len(replaced), "deleted": n_deleted}


def _divide(
    files: list[str], scans: list[_Scan], skips: list[np.ndarray], size: int
) -> list[Shard]:
    shards: list[Shard] = []
    # Ends of files that do not fill a shard are put together
    rest: list[Piece] = []
    damaged: list[str] = []

    def close(pieces: list[Piece], wrong: list[str]) -> None:
        stem = _UNSAFE.sub("_", stem_of(files[pieces[0].file]))[:60].strip(".")
        shards.append(Shard(f"{len(shards):06d}-{stem}", pieces, wrong))

    for number, (scan, skip) in enumerate(zip(scans, skips)):
        for i, place in enumerate(scan.places):
            first = i * size
            n = min(size, scan.n - first)
            low, high = np.searchsorted(skip, [first, first + n])
            piece = Piece(number, *place, n, (skip[low:high] - first).tolist())
            if n == size:
                close([piece], [])
            else:
                rest.append(piece)
        if scan.damaged:
            damaged.append(scan.damaged)
            rest.append(Piece(number, 0, 1, 0, []))
        if sum(piece.n for piece in rest) >= size:
            close(rest, damaged)
            rest, damaged = [], []
    if rest:
        close(rest, damaged)
    return shards


def write_plan(plan: Plan, folder: Path) -> None:
    """Write a plan. `plan.json` comes last, and has the checksum of the shards.

    plan (Plan): The plan.
    folder (Path): The folder of the output.
    RAISES (WeltError): If it can't be written.
    """
    lines = "".join(json.dumps(_shard_row(shard)) + "\n" for shard in plan.shards)
    write_atomically(folder / SHARDS, lines)
    record = {
        **_told(plan),
        "counts": plan.counts,
        "shards": len(plan.shards),
        "checksum": hashlib.sha256(lines.encode("utf8")).hexdigest(),
    }
    write_atomically(folder / PLAN, srsly.json_dumps(record, indent=2) + "\n")


def read_plan(folder: Path) -> Plan:
    """Read a plan.

    folder (Path): The folder of the output.
    RETURNS (Plan): The plan.
    RAISES (WeltError): If there is none, or it is damaged.
    """
    wrong = (
        f"{folder} is not a folder of 'spacy welt annotate', or its {PLAN} is damaged"
    )
    try:
        record = srsly.read_json(folder / PLAN)
        lines = (folder / SHARDS).read_bytes()
        if hashlib.sha256(lines).hexdigest() != record["checksum"]:
            raise WeltError(f"{folder / SHARDS} was changed: use another folder")
        rows = [json.loads(line) for line in lines.splitlines()]
        shards = [
            Shard(name, [Piece(*piece) for piece in pieces], damaged)
            for name, pieces, damaged in rows
        ]
        settings = Settings(**record["settings"])
        return Plan(settings, record["files"], record["counts"], shards)
    except WeltError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise WeltError(wrong) from None


def difference(folder: Path, settings: Settings, files: Iterable[str]) -> str:
    """Tell why a folder's plan is not one with these settings and files.

    folder (Path): The folder of the output, with a plan.
    settings (Settings): The settings.
    files (Iterable[str]): The files of the input.
    RETURNS (str): What differs; empty if nothing does.
    RAISES (WeltError): If there is no plan, or a file can't be read.
    """
    plan = read_plan(folder)
    was = srsly.read_json(folder / PLAN)["version"]
    if was != __version__:
        return f"it was begun with welt-spacy {was}, this is {__version__}"
    for name, before, now in zip(Settings._fields, plan.settings, settings):
        if name == "pipelines":
            # The same pipeline may be at another place on another machine
            before, now = map(
                _without_place, (plan.settings.pipelines, settings.pipelines)
            )
        if before != now:
            return f"{name.replace('_', ' ')} was {_short(before)} and is {_short(now)}"
    names = list(files)
    known = [file["address"] for file in plan.files]
    if names != known:
        odd = sorted(set(names) ^ set(known)) or ["their order"]
        return f"the input has changed: {odd[0]}"
    for file in plan.files:
        if {"address": file["address"], **fingerprint(file["address"])} != file:
            return f"the input has changed: {file['address']}"
    return ""


def _without_place(pipelines: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**told, "place": ""} for told in pipelines]


def _told(plan: Plan) -> dict[str, Any]:
    return {
        "version": __version__,
        "settings": plan.settings._asdict(),
        "files": plan.files,
    }


def _shard_row(shard: Shard) -> list[Any]:
    return [shard.name, [list(piece) for piece in shard.pieces], shard.damaged]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."
