"""The output folder of an annotation.

    welt.json                    fingerprint of input, pipelines and settings, see OutputFolder
    plan.jsonl                   the shards
    data/NAME.jsonl              the entities of a shard
    rejects/NAME.jsonl           its documents that could not be annotated
    manifest/NAME.json           its counts and checksum, see `ShardRecord`
    manifest.jsonl, summary.json, report.html   of all shards, when all are done

Several processes may work in the folder, each at its own shards (`--shard 3/16`). `welt.json`
is locked only while the run is planned or finished; a lock `.shard-3-of-16.lock` is held as
long as the process works.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import spacy
import srsly

from ..errors import WeltError
from ..formats.streams import open_raw
from ..parallel.shard import parse_shard, take_shard
from ..util.files import Busy, exclusive_lock, remove_partial
from ..util.fingerprint import Fingerprint, checksum_stream, fingerprint
from ..util.output_folder import OutputFolder
from .plan import Plan, Shard, make_plan
from .report import N_SHOWN, Summary, summarize, to_html
from .shards import (
    DATA,
    MANIFEST,
    REJECTS,
    Job,
    Progress,
    ShardRecord,
    is_intact,
    list_done,
    read_record,
    record_path,
)

COMMAND = "spacy welt annotate"
PLAN, MANIFEST_ALL, SUMMARY = "plan.jsonl", "manifest.jsonl", "summary.json"
REPORT = "report.html"
NAMES = (PLAN, DATA, REJECTS, MANIFEST, MANIFEST_ALL, SUMMARY, REPORT)
# Seconds to wait for the plan of another process
PLANNING = 24 * 3600.0
# Fields of `ShardRecord` in manifest.jsonl
MANIFEST_KEYS = (
    *("shard", "file", "docs", "words", "entities", "rejects", "bytes", "sha256"),
    *("seconds", "peak_mb"),
)

LockT = TypeVar("LockT")


class AnnotationFolder:
    """The output folder, locked against other processes with the same shards.

        with AnnotationFolder(job, inputs) as folder:
            for shard in folder.pending:
                annotate_shard(job, shard, pipelines)
            summary = folder.finish()

    job (Job): The job.
    inputs (Sequence[str]): Input files and addresses, in their order.
    shard (str | None): The shards of this process, such as "3/16"; None for all.
    processes (int): Number of files that are scanned at once.
    report (Callable[[int], None]): Called with the number of files that are scanned.
    RAISES (WeltError): `Busy` if another process works at the same shards; if the folder holds
        another run or files of others; if the input can't be read.
    """

    plan: Plan
    # Progress of the shards that are done
    done: dict[str, Progress]

    def __init__(
        self,
        job: Job,
        inputs: Sequence[str],
        *,
        shard: str | None = None,
        processes: int = 1,
        report: Callable[[int], None] = lambda n: None,
    ) -> None:
        self.job, self.path, self.inputs = job, job.output, inputs
        self._number, self._n_shards = parse_shard(shard)
        self._shard, self._processes, self._report = shard, processes, report
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "AnnotationFolder":
        if self.path.exists() and not self.path.is_dir():
            raise WeltError(f"{self.path} is a file. Name a folder")
        # Addresses are read once; files are compared again at the end
        self._remote = checksum_addresses(self.inputs)
        self._fingerprint = make_fingerprint(self.job, self.inputs, self._remote)
        try:
            with self._lock(wait=self._n_shards > 1) as folder:
                self._stack.enter_context(self._lock_shards())
                self.plan = self._load_plan(folder)
            self.done = self._check_done()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def pending(self) -> list[Shard]:
        """The shards of this process that were not done at the start."""
        shards = take_shard(self.plan.shards, self._shard)
        return [shard for shard in shards if shard.name not in self.done]

    def finish(self, *, report: bool = False) -> Summary:
        """Summarize all shards that are done; if none is left, write `manifest.jsonl`,
        `summary.json` and, if `report` is set, `report.html`.
        """
        records = [read_record(self.path, shard.name) for shard in self.plan.shards]
        present = [record for record in records if record is not None]
        names = list(map(read_name, self.job.models))
        summary = summarize(self.plan, names, present)
        if summary.missing:
            return summary
        current = make_fingerprint(self.job, self.inputs, self._remote)
        # A process that will be refused holds the lock for a moment
        with self._lock(wait=True) as folder:
            if changed := current.differences(self._fingerprint):
                raise WeltError(
                    f"{', '.join(changed)}: changed while it was in use, so the output is of "
                    "both versions. Use another output folder"
                )
            folder.start(self._fingerprint, restart=False)
            folder.add(MANIFEST_ALL, "".join(map(_manifest_line, present)))
            folder.add(SUMMARY, srsly.json_dumps(asdict(summary), indent=2) + "\n")
            if report:
                rejects = self._read_rejects()
                page = to_html(self.job.settings, self.inputs, summary, rejects)
                folder.add(REPORT, page)
            folder.finish()
            self._remove_partial()
        return summary

    def _lock(self, *, wait: bool) -> contextlib.AbstractContextManager[OutputFolder]:
        folder = OutputFolder(self.path, COMMAND, wait=PLANNING if wait else 0.0)
        return self._explain_busy(folder)

    @contextlib.contextmanager
    def _explain_busy(
        self, lock: contextlib.AbstractContextManager[LockT]
    ) -> Iterator[LockT]:
        with contextlib.ExitStack() as stack:
            try:
                value = stack.enter_context(lock)
            except Busy:
                raise Busy(
                    f"{self.path}: another process annotates into this folder. Wait until it "
                    "ends, or give each process a --shard of its own, such as 1/2 and 2/2"
                ) from None
            yield value

    @contextlib.contextmanager
    def _lock_shards(self) -> Iterator[None]:
        """Lock the shards of this process. Another division, such as 1/2 beside 1/3, would
        share shards with it, so it is refused, too.
        """
        with contextlib.ExitStack() as stack:
            end = f"-of-{self._n_shards}"
            for path in self.path.glob(".shard-*.lock"):
                if not path.stem.endswith(end):
                    other = exclusive_lock(self.path / path.stem[1:])
                    with self._explain_busy(other):
                        pass
            own = exclusive_lock(self.path / f"shard-{self._number + 1}{end}")
            stack.enter_context(self._explain_busy(own))
            yield

    def _load_plan(self, folder: OutputFolder) -> Plan:
        if folder.fingerprint is None:
            folder.check(NAMES, exclusive=True)
        elif folder.fingerprint != self._fingerprint:
            folder.start(self._fingerprint, restart=False)  # raises
        if folder.fingerprint is not None and folder.has(PLAN):
            return Plan.from_json((self.path / PLAN).read_text("utf8"))
        plan = make_plan(
            self.inputs,
            self.job.settings,
            processes=self._processes,
            report=self._report,
        )
        # After the plan, because input that can't be read leaves nothing
        folder.start(self._fingerprint, restart=False)
        folder.add(PLAN, plan.to_json())
        return plan

    def _check_done(self) -> dict[str, Progress]:
        """Delete the records of damaged shards of this process."""
        if self._n_shards == 1:
            self._remove_partial()
        own = {shard.name for shard in take_shard(self.plan.shards, self._shard)}
        done = {}
        for name in list_done(self.path):
            record = read_record(self.path, name)
            if record and (name not in own or is_intact(self.path, record)):
                done[name] = record.progress
            elif name in own:
                record_path(self.path, name).unlink(missing_ok=True)
        return done

    def _remove_partial(self) -> None:
        """Delete what killed processes left, if no other process writes."""
        for name in (DATA, REJECTS, MANIFEST):
            remove_partial(self.path / name)

    def _read_rejects(self) -> list[dict[str, str]]:
        paths = (self.path / REJECTS / f"{s.name}.jsonl" for s in self.plan.shards)
        rows = chain.from_iterable(map(srsly.read_jsonl, filter(Path.is_file, paths)))
        return list(islice(rows, N_SHOWN))


def make_fingerprint(
    job: Job, inputs: Sequence[str], remote: Mapping[str, str]
) -> Fingerprint:
    """Compute the fingerprint of a job: all input, pipelines, settings and versions. `remote`
    has the checksums of addresses.
    """
    local = {file: file for file in inputs if "://" not in file}
    settings = {**asdict(job.settings), "inputs": list(inputs)}
    models = {f"pipeline {i}": model for i, model in enumerate(job.models, start=1)}
    result = fingerprint(settings, files=local, models=models)
    return replace(result, files={**result.files, **remote})


def checksum_addresses(inputs: Sequence[str]) -> dict[str, str]:
    """Compute the checksum of each input that is an address."""
    checksums = {}
    for address in inputs:
        if "://" in address:
            with open_raw(address) as file:
                checksums[address] = checksum_stream(file)
    return checksums


def read_name(model: str) -> str:
    """Return the name of a pipeline with its language and version."""
    folder = Path(model)
    if not folder.is_dir():
        if not spacy.util.is_package(model):
            raise WeltError(
                f"{model}: there is no such folder, and no such pipeline is installed"
            )
        folder = spacy.util.get_package_path(model)
    meta = spacy.util.get_model_meta(folder)
    return f"{meta.get('lang', '')}_{meta.get('name', '')}-{meta.get('version', '')}"


def _manifest_line(record: ShardRecord) -> str:
    row = {key: value for key, value in asdict(record).items() if key in MANIFEST_KEYS}
    return json.dumps(row, ensure_ascii=False) + "\n"
