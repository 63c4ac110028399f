"""How far a run is, from its folder alone: from any process, on any machine."""

import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, NamedTuple

import srsly

from ..parallel.claims import Claims
from ..util.files import write_atomically
from .plan import Plan
from .shards import CLAIMS, done, read_record

# Seconds over which the rate is taken
WINDOW = 60.0
SUMMARY, ALL = "summary.json", "manifest.jsonl"


class Status(NamedTuple):
    """How far a run is.

    shards, n_shards (int): Done, and of how many.
    docs, n_docs (int): Annotated or refused, and of how many.
    words (int): Tokens of annotated documents.
    rejects (int): Documents that were refused.
    workers (int): Processes that are at it.
    docs_s, words_s (float): Per second, over the last minute.
    seconds_left (float): At this rate; not a number if there is none yet.
    """

    shards: int
    n_shards: int
    docs: int
    n_docs: int
    words: int
    rejects: int
    workers: int
    docs_s: float
    words_s: float
    seconds_left: float


class Watch:
    """Looks at the folder of a run again and again.

    folder (Path): The folder.
    plan (Plan): Its plan.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.n_shards = len(plan.shards)
        self.n_docs = sum(shard.n_docs for shard in plan.shards)
        self._claims = Claims(folder / CLAIMS)
        self._done: dict[str, tuple[int, int, int]] = {}
        self._past: deque[tuple[float, int, int]] = deque()

    def look(self) -> Status:
        """RETURNS (Status): How far the run is now."""
        for name in done(self.folder) - set(self._done):
            record = read_record(self.folder, name)
            counts = (record.get(key, 0) for key in ("docs", "words", "rejects"))
            self._done[name] = tuple(counts)  # type: ignore[assignment]
        docs, words, rejects = (sum(c) for c in zip((0, 0, 0), *self._done.values()))
        active = {
            name: told
            for name, told in self._claims.told().items()
            if name not in self._done
        }
        for told in active.values():
            docs += told.get("docs", 0)
            words += told.get("words", 0)
            rejects += told.get("rejects", 0)
        now = time.monotonic()
        past = self._past
        if not docs + rejects:
            past.clear()  # loading is not slow annotation
        past.append((now, docs + rejects, words))
        while len(past) > 2 and now - past[0][0] > WINDOW:
            past.popleft()
        seconds = max(now - past[0][0], 1e-9)
        # A shard that is taken over begins anew, so the sums can fall
        docs_s = max(0.0, (docs + rejects - past[0][1]) / seconds)
        words_s = max(0.0, (words - past[0][2]) / seconds)
        left = self.n_docs - docs - rejects
        return Status(
            len(self._done),
            self.n_shards,
            docs + rejects,
            self.n_docs,
            words,
            rejects,
            len({(told.get("host"), told.get("pid")) for told in active.values()}),
            docs_s,
            words_s,
            left / docs_s if docs_s else float("nan"),
        )


def finish(folder: Path, plan: Plan) -> dict[str, Any]:
    """Write `manifest.jsonl` and `summary.json` of a run whose shards are all done.

    folder (Path): The folder of the output.
    plan (Plan): Its plan.
    RETURNS (dict[str, Any]): The summary.
    RAISES (WeltError): If it can't be written.
    """
    records = [read_record(folder, shard.name) for shard in plan.shards]
    summary = summarize(plan, records)
    keys = ("shard", "file", "docs", "words", "entities", "rejects", "bytes", "sha256")
    lines = "".join(
        srsly.json_dumps({key: record[key] for key in (*keys, "seconds", "peak_mb")})
        + "\n"
        for record in records
    )
    write_atomically(folder / ALL, lines)
    write_atomically(folder / SUMMARY, srsly.json_dumps(summary, indent=2) + "\n")
    return summary


def summarize(plan: Plan, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up shards.

    plan (Plan): The plan.
    records (list[dict[str, Any]]): What the manifest says of each shard.
    RETURNS (dict[str, Any]): Documents, words, entities by label, the most frequent names,
        confidences, rejects by reason, seconds of all workers together, and the
        memory of the largest.
    """
    labels: Counter = Counter()
    reasons: Counter = Counter()
    names: dict[str, Counter] = {}
    confidences: dict[str, Counter] = {}
    for record in records:
        labels.update(record["labels"])
        reasons.update(record["reasons"])
        for label, counts in record["names"].items():
            names.setdefault(label, Counter()).update(dict(map(tuple, counts)))
        for label, bars in record["confidences"].items():
            confidences.setdefault(label, Counter()).update(dict(enumerate(bars)))
    total: dict[str, Any] = {
        key: sum(record[key] for record in records)
        for key in ("docs", "words", "entities", "rejects", "bytes")
    }
    return {
        "pipelines": [told["name"] for told in plan.settings.pipelines],
        **total,
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "peak_mb": max((record["peak_mb"] or 0 for record in records), default=0),
        "left_out": {key: plan.counts[key] for key in ("replaced", "deleted")},
        "reasons": dict(reasons.most_common()),
        "labels": dict(labels.most_common()),
        "names": {label: names[label].most_common(25) for label in sorted(names)},
        "confidences": {
            label: [bars[i] for i in range(max(bars) + 1)]
            for label, bars in sorted(confidences.items())
        },
    }
