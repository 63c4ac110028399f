"""What was chosen of which docs, as plain data and as a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc

from ...util.html import render
from .strategies import Candidates, Selection

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
N_BINS, N_SHOWN = 24, 12


def describe(candidates: Candidates, selection: Selection) -> dict[str, Any]:
    """Count what was chosen.

    candidates (Candidates): The docs.
    selection (Selection): The choice.
    RETURNS (dict[str, Any]): Docs with and without entities and mentions by label, of all
        and of those kept; quantiles of the ranks and of IFD; rank correlations
        (Spearman) of IFD with tokens of text and answer and with mentions; truncated
        and left out. Only what JSON has.
    """
    docs = candidates.docs
    kept = set(selection.kept)
    labels = sorted({ent.label_ for doc in docs for ent in doc.ents})
    ranked = [score for score in selection.scores if score is not None]
    ifd = candidates.ifd
    positive = [i for i in ifd if docs[i].ents]
    values = np.array([ifd[i].ifd for i in positive])
    lengths = {
        "tokens of the text": [len(docs[i]) for i in positive],
        "tokens of the answer": [ifd[i].n_tokens for i in positive],
        "mentions": [len(docs[i].ents) for i in positive],
    }
    return {
        "all": _counts(docs, range(len(docs)), labels),
        "kept": _counts(docs, selection.kept, labels),
        "ranks": _quantiles(ranked),
        "ifd": {
            "all": _quantiles(values.tolist()),
            "kept": _quantiles([ifd[i].ifd for i in positive if i in kept]),
        },
        "correlations": {
            name: _correlation(values, np.array(numbers))
            for name, numbers in lengths.items()
        },
        "at_or_above_1": int((values >= 1).sum()),
        "truncated": sum(score.truncated for score in ifd.values()),
        "left_out": selection.too_high,
    }


def rows(
    candidates: Candidates, selection: Selection, ids: Sequence[str | None]
) -> list[dict[str, Any]]:
    """Tell of every doc what is known and whether it was chosen.

    candidates (Candidates): The docs.
    selection (Selection): The choice.
    ids (Sequence[str | None]): Their ids, if they have any.
    RETURNS (list[dict[str, Any]]): A row a doc, in their order.
    """
    kept = set(selection.kept)
    found = []
    for i, doc in enumerate(candidates.docs):
        row: dict[str, Any] = {
            "doc": i,
            "id": ids[i],
            "text": doc.text,
            "labels": sorted({ent.label_ for ent in doc.ents}),
            "mentions": len(doc.ents),
            "tokens": len(doc),
            "rank": selection.scores[i],
            "kept": i in kept,
        }
        if i in candidates.ifd:
            score = candidates.ifd[i]._asdict()
            row.update({"answer_tokens": score.pop("n_tokens"), **score})
        if candidates.tagged:
            tagged = candidates.tagged[i]
            row.update(tagger_loss=tagged.loss, tagger_confidence=tagged.confidence)
        found.append(row)
    return found


def to_html(
    title: str,
    settings: Mapping[str, Any],
    found: Mapping[str, Any],
    told: Sequence[Mapping[str, Any]],
) -> str:
    """Write the page: counts, histograms, the hardest and the easiest docs.

    title (str): Its title.
    settings (Mapping[str, Any]): How was chosen.
    found (Mapping[str, Any]): What `describe` returned.
    told (Sequence[Mapping[str, Any]]): What `rows` returned.
    RETURNS (str): HTML that needs no network.
    """
    ranked = sorted(
        (row for row in told if row["rank"] is not None and row["mentions"]),
        key=lambda row: row["rank"],
    )
    histograms = [
        {"name": name, **_histogram(told, key)}
        for name, key in (
            ("Rank", "rank"),
            ("Tokens of the text", "tokens"),
            ("Mentions", "mentions"),
        )
        if any(row[key] is not None for row in told)
    ]
    return render(
        "selection.html.jinja",
        title=title,
        settings=settings,
        found=found,
        quantiles=QUANTILES,
        histograms=histograms,
        extremes=[
            ("Wanted most", ranked[::-1][:N_SHOWN]),
            ("Wanted least", ranked[:N_SHOWN]),
        ],
    )


def _counts(
    docs: Sequence[Doc], places: Sequence[int], labels: Sequence[str]
) -> dict[str, Any]:
    mentions: Counter = Counter(ent.label_ for i in places for ent in docs[i].ents)
    positive = sum(1 for i in places if docs[i].ents)
    return {
        "docs": len(places),
        "positive": positive,
        "negative": len(places) - positive,
        "tokens": sum(len(docs[i]) for i in places),
        "mentions": {label: mentions[label] for label in labels},
    }


def _quantiles(values: Sequence[float]) -> list[float] | None:
    return np.quantile(values, QUANTILES).tolist() if len(values) else None


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    if len(one) < 3 or len(set(one.tolist())) < 2 or len(set(other.tolist())) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(one, other)[0])


def _histogram(told: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    shown = [row for row in told if row[key] is not None and row["mentions"]]
    values = np.array([row[key] for row in shown], dtype="float64")
    kept = np.array([row["kept"] for row in shown], dtype=bool)
    # A few that are far out would leave one bar for all others
    low, high = np.quantile(values, [0.005, 0.995]) if len(values) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, N_BINS + 1)
    inside = np.clip(values, edges[0], edges[-1])
    all_, _ = np.histogram(inside, edges)
    of_kept, _ = np.histogram(inside[kept], edges)
    top = max(int(all_.max()), 1)
    return {
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "bars": [
            {
                "x": 100 * i / N_BINS,
                "width": 100 / N_BINS - 0.4,
                "all": 60 * n / top,
                "kept": 60 * k / top,
                "told": f"{edges[i]:.3g} to {edges[i + 1]:.3g}: {n} docs, {k} kept",
            }
            for i, (n, k) in enumerate(zip(all_.tolist(), of_kept.tolist()))
        ],
    }
