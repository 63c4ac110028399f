"""What a run has found, as a page."""

from pathlib import Path
from typing import Any

import srsly

from ..util.html import render
from .plan import Plan
from .shards import N_BARS, N_NAMES, REJECTS

# Rejects that are shown, and characters of a name
N_SHOWN = 50
LONGEST = 80


def to_html(folder: Path, plan: Plan, summary: dict[str, Any]) -> str:
    """Write the page.

    folder (Path): The folder of the output.
    plan (Plan): Its plan.
    summary (dict[str, Any]): What `finish` returned.
    RETURNS (str): HTML that needs no network.
    """
    return render(
        "annotation.html.jinja",
        title=f"Annotation by {', '.join(summary['pipelines'])}",
        summary=summary,
        files=plan.files,
        n_shards=len(plan.shards),
        settings=plan.settings._asdict(),
        charts=[
            {"label": label, "bars": _bars(counts)}
            for label, counts in summary["confidences"].items()
        ],
        names=[
            (label, [(name[:LONGEST], n) for name, n in names])
            for label, names in summary["names"].items()
        ],
        n_names=N_NAMES,
        rejects=_rejects(folder, plan),
    )


def _bars(counts: list[int]) -> list[dict[str, Any]]:
    counts = counts + [0] * (N_BARS - len(counts))
    top = max(max(counts), 1)
    return [
        {
            "x": 100 * i / N_BARS,
            "width": 100 / N_BARS - 0.6,
            "height": 60 * n / top,
            "told": f"{i / N_BARS:.2f} to {(i + 1) / N_BARS:.2f}: {n:,} entities",
        }
        for i, n in enumerate(counts)
    ]


def _rejects(folder: Path, plan: Plan) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for shard in plan.shards:
        path = folder / REJECTS / f"{shard.name}.jsonl"
        if path.is_file():
            found.extend(srsly.read_jsonl(path))
        if len(found) >= N_SHOWN:
            break
    return found[:N_SHOWN]
