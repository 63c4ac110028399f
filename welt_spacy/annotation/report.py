"""The summary of an annotation, as data and as a page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..util.html import render
from .plan import Plan, Settings
from .shards import N_BARS, N_NAMES, ShardRecord

# Rejects on the page, characters of a name, and names of a label
N_SHOWN = 50
NAME_CHARS = 80
N_SUMMARY_NAMES = 25


@dataclass(frozen=True)
class Summary:
    """The counts of all shards that are done.

    pipelines (list[str]): Names of the pipelines.
    shards, missing (int): Numbers of shards, and of those that are not done.
    docs, words, entities, rejects, bytes (int): Sums of the records of the shards.
    replaced, deleted (int): Numbers of documents that were left out, see `Plan`.
    seconds (float): Duration of the work of all workers.
    peak_mb (int): Peak memory of a worker.
    reasons (dict[str, int]): Number of rejects by reason.
    labels (dict[str, int]): Number of entities by label.
    names (dict[str, dict[str, int]]): The most frequent texts of entities, by label.
    confidences (dict[str, list[int]]): Histogram of confidences from 0 to 1, by label.
    """

    pipelines: list[str]
    shards: int
    missing: int
    docs: int
    words: int
    entities: int
    rejects: int
    bytes: int
    replaced: int
    deleted: int
    seconds: float
    peak_mb: int
    reasons: dict[str, int]
    labels: dict[str, int]
    names: dict[str, dict[str, int]]
    confidences: dict[str, list[int]]


def summarize(
    plan: Plan, pipelines: list[str], records: Sequence[ShardRecord]
) -> Summary:
    """Sum up the records of shards."""
    labels: Counter = Counter()
    reasons: Counter = Counter()
    names: dict[str, Counter] = {}
    confidences: dict[str, list[int]] = {}
    for record in records:
        labels.update(record.labels)
        reasons.update(record.reasons)
        for label, counts in record.names.items():
            names.setdefault(label, Counter()).update(counts)
        for label, bars in record.confidences.items():
            total = confidences.get(label, [0] * len(bars))
            confidences[label] = [a + b for a, b in zip(total, bars)]
    return Summary(
        pipelines=pipelines,
        shards=len(plan.shards),
        missing=len(plan.shards) - len(records),
        docs=sum(record.docs for record in records),
        words=sum(record.words for record in records),
        entities=sum(record.entities for record in records),
        rejects=sum(record.rejects for record in records),
        bytes=sum(record.bytes for record in records),
        replaced=plan.replaced,
        deleted=plan.deleted,
        seconds=round(sum(record.seconds for record in records), 1),
        peak_mb=max((record.peak_mb or 0 for record in records), default=0),
        reasons=dict(reasons.most_common()),
        labels=dict(labels.most_common()),
        names={
            label: dict(names[label].most_common(N_SUMMARY_NAMES))
            for label in sorted(names)
        },
        confidences=dict(sorted(confidences.items())),
    )


def to_html(
    settings: Settings,
    inputs: Sequence[str],
    summary: Summary,
    rejects: list[dict[str, str]],
) -> str:
    """Return the page of an annotation, which needs no network."""
    return render(
        "annotation.html.jinja",
        title=f"Annotation by {', '.join(summary.pipelines)}",
        summary=summary,
        inputs=inputs,
        settings=settings,
        charts=[
            {"label": label, "bars": _make_bars(counts)}
            for label, counts in summary.confidences.items()
        ],
        names={
            label: [(name[:NAME_CHARS], n) for name, n in counts.items()]
            for label, counts in summary.names.items()
        },
        n_names=N_NAMES,
        rejects=rejects,
    )


def _make_bars(counts: list[int]) -> list[dict[str, Any]]:
    top = max(max(counts), 1)
    return [
        {
            "x": 100 * i / N_BARS,
            "width": 100 / N_BARS - 0.6,
            "height": 60 * n / top,
            "title": f"{i / N_BARS:.2f} to {(i + 1) / N_BARS:.2f}: {n:,} entities",
        }
        for i, n in enumerate(counts)
    ]
