"""Report of a selection: counts, a row for each document, and a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ...tokens.document_id import get_document_id
from ...util.html import render
from .strategies import Candidates, Selection

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
N_BINS, N_EXTREMES = 24, 12


@dataclass(frozen=True)
class DocCounts:
    """Counts of documents with entities (positive) and without (negative), of tokens, and of
    mentions of each label.
    """

    docs: int
    positive: int
    negative: int
    tokens: int
    mentions: dict[str, int]


@dataclass(frozen=True)
class SelectionSummary:
    """Summary of a selection. Quantiles are those of `QUANTILES`; None without values.

    all, selected (DocCounts): Counts of all documents and of the selected ones.
    ranks (list[float] | None): Quantiles of the ranks.
    ifd, ifd_selected (list[float] | None): Quantiles of the IFD of documents with entities.
    correlations (dict[str, float | None]): Rank correlations (Spearman) of IFD with lengths.
    n_at_or_above_1 (int): Documents with entities for which the prompt does not help.
    n_truncated (int): Documents that were too long for the language model.
    n_too_high (int): Documents left out because of `Strategy.high`.
    """

    all: DocCounts
    selected: DocCounts
    ranks: list[float] | None
    ifd: list[float] | None
    ifd_selected: list[float] | None
    correlations: dict[str, float | None]
    n_at_or_above_1: int
    n_truncated: int
    n_too_high: int

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "SelectionSummary":
        """Read a summary that was stored as JSON."""
        counts = {name: DocCounts(**record[name]) for name in ("all", "selected")}
        return cls(**{**record, **counts})


def summarize(candidates: Candidates, selection: Selection) -> SelectionSummary:
    """Count what was selected."""
    docs, ifd = candidates.docs, candidates.ifd
    selected = set(selection.places)
    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    positive = [i for i in ifd if docs[i].ents]
    values = np.array([ifd[i].ifd for i in positive])
    lengths = {
        "tokens of the text": [len(docs[i]) for i in positive],
        "tokens of the answer": [ifd[i].n_tokens for i in positive],
        "mentions": [len(docs[i].ents) for i in positive],
    }
    return SelectionSummary(
        all=_count(docs, range(len(docs)), labels),
        selected=_count(docs, selection.places, labels),
        ranks=_quantiles([rank for rank in selection.ranks if rank is not None]),
        ifd=_quantiles(values.tolist()),
        ifd_selected=_quantiles([ifd[i].ifd for i in positive if i in selected]),
        correlations={
            name: _correlation(values, np.array(numbers))
            for name, numbers in lengths.items()
        },
        n_at_or_above_1=int((values >= 1).sum()),
        n_truncated=sum(score.truncated for score in ifd.values()),
        n_too_high=selection.n_too_high,
    )


def make_rows(candidates: Candidates, selection: Selection) -> list[dict[str, Any]]:
    """Make a row of JSON data for each document: its size, its scores, and whether it was
    selected.
    """
    selected = set(selection.places)
    rows = []
    for i, doc in enumerate(candidates.docs):
        row: dict[str, Any] = {
            "doc": i,
            "id": get_document_id(doc),
            "text": doc.text,
            "labels": sorted({ent.label_ for ent in doc.ents}),
            "mentions": len(doc.ents),
            "tokens": len(doc),
            "rank": selection.ranks[i],
            "selected": i in selected,
        }
        if i in candidates.ifd:
            score = candidates.ifd[i]._asdict()
            row.update({"answer_tokens": score.pop("n_tokens"), **score})
        if candidates.tagger:
            loss, confidence = candidates.tagger[i]
            row.update(tagger_loss=loss, tagger_confidence=confidence)
        rows.append(row)
    return rows


def render_page(
    title: str,
    settings: Mapping[str, Any],
    summary: SelectionSummary,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """Render an HTML page that needs no network: counts, histograms, and the documents with the
    highest and the lowest ranks.
    """
    ranked = sorted(
        (row for row in rows if row["rank"] is not None and row["mentions"]),
        key=lambda row: row["rank"],
    )
    columns = (
        ("Rank", "rank"),
        ("Tokens of the text", "tokens"),
        ("Mentions", "mentions"),
    )
    return render(
        "selection.html.jinja",
        title=title,
        settings=settings,
        summary=summary,
        quantiles=QUANTILES,
        histograms=[
            {"name": name, **_histogram(rows, key)}
            for name, key in columns
            if any(row[key] is not None for row in rows)
        ],
        extremes=[
            ("Highest ranks", ranked[::-1][:N_EXTREMES]),
            ("Lowest ranks", ranked[:N_EXTREMES]),
        ],
    )


def _count(
    docs: Sequence[Doc], places: Sequence[int], labels: Sequence[str]
) -> DocCounts:
    mentions = Counter(ent.label_ for i in places for ent in docs[i].ents)
    positive = sum(1 for i in places if docs[i].ents)
    return DocCounts(
        docs=len(places),
        positive=positive,
        negative=len(places) - positive,
        tokens=sum(len(docs[i]) for i in places),
        mentions={label: mentions[label] for label in labels},
    )


def _quantiles(values: Sequence[float]) -> list[float] | None:
    return np.quantile(values, QUANTILES).tolist() if len(values) else None


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    if len(a) < 3 or len(set(a.tolist())) < 2 or len(set(b.tolist())) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


def _histogram(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    shown = [row for row in rows if row[key] is not None and row["mentions"]]
    values = np.array([row[key] for row in shown], dtype="float64")
    is_selected = np.array([row["selected"] for row in shown], dtype=bool)
    # Because a few outliers would leave one bar for all others
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, N_BINS + 1)
    clipped = np.clip(values, edges[0], edges[-1])
    counts, _ = np.histogram(clipped, edges)
    selected, _ = np.histogram(clipped[is_selected], edges)
    top = max(int(counts.max()), 1)
    return {
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "bars": [
            {
                "x": 100 * i / N_BINS,
                "width": 100 / N_BINS - 0.4,
                "all": 60 * n / top,
                "selected": 60 * k / top,
                "title": f"{edges[i]:.3g} to {edges[i + 1]:.3g}: {n} documents, {k} selected",
            }
            for i, (n, k) in enumerate(zip(counts.tolist(), selected.tolist()))
        ],
    }
