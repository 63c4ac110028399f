"""The page of an evaluation: one HTML file that needs no network."""

import json
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from markupsafe import Markup

from ..scoring.pairs import (
    MISSED_TYPE,
    OVERLAPPING_TYPE,
    SPURIOUS_TYPE,
    PairedDoc,
    get_error_type,
)
from ..scoring.spans import LabelledSpan
from ..util.html import render
from .records import ClassWeights, Evaluation
from .tuning.decoding import Point

KINDS = {
    "TP": "right",
    "FP": "spurious",
    "FN": "missed",
    "LE": "wrong label",
    "BES": "too small",
    "BEL": "too large",
    "BEO": "boundaries overlap",
    "LBE": "wrong label and boundaries",
}
ERROR_TYPES = {
    SPURIOUS_TYPE: "spurious",
    MISSED_TYPE: "missed",
    OVERLAPPING_TYPE: "overlapping",
}
NOTHING = "nothing"


def to_html(
    evaluation: Evaluation,
    docs: Sequence[PairedDoc],
    *,
    data: str = "",
    curve: Sequence[Point] = (),
) -> str:
    """Render the page."""
    sentences = {
        "labels": list(evaluation.per_type),
        "sentences": [_describe_doc(i, doc) for i, doc in enumerate(docs)],
    }
    name = " ".join(filter(None, [evaluation.pipeline, evaluation.version]))
    chart = None
    if curve and evaluation.decoding is not None:
        chart = _make_curve(curve, evaluation.decoding.o_bias)
    classes = _describe_classes(evaluation.class_weights)
    sections = [
        ("scores", "Scores"),
        *([("responses", "Responses")] if evaluation.llm_responses else []),
        ("types", "By type"),
        *([("curve", "Precision against recall")] if chart else []),
        *([("calibration", "Calibration")] if evaluation.calibration.bins else []),
        ("confusion", "Confusion"),
        ("slices", "By slice"),
        *([("classes", "Classes and weights")] if classes else []),
        ("errors", "Sentences"),
    ]
    return render(
        "page.html.jinja",
        title=f"{name} on {data}" if data else name,
        evaluation=evaluation,
        sections=sections,
        kinds=KINDS,
        curve=chart,
        matrix=_make_matrix(evaluation),
        classes=classes,
        error_types=ERROR_TYPES,
        data=_for_script(sentences),
    )


def _for_script(data: Any) -> Markup:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # Escaped so that no text can end the script element
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def _describe_doc(i: int, doc: PairedDoc) -> dict[str, Any]:
    errors: list[dict[str, Any]] = []
    wrong: set[tuple[bool, LabelledSpan]] = set()
    for pair in doc.pairs:
        if pair.kind == "TP":
            continue
        spans = [span for span in (pair.gold, pair.predicted) if span is not None]
        wrong |= {(span is pair.gold, span) for span in spans}
        texts = " / ".join(repr(doc.span(span).text) for span in spans)
        errors.append(
            {
                "type": get_error_type(pair.kind),
                "message": f"{KINDS[pair.kind]} {texts}",
                "labels": sorted({span[0] for span in spans}),
            }
        )
    gold = [_describe_span(doc, span, (True, span) not in wrong) for span in doc.gold]
    predicted = [
        _describe_span(doc, span, (False, span) not in wrong, confidence)
        for span, confidence in zip(doc.predicted, doc.confidences)
    ]
    return {
        "doc": i,
        "text": doc.reference.text,
        "gold": sorted(gold, key=lambda span: span["start"]),
        "predicted": sorted(predicted, key=lambda span: span["start"]),
        "errors": errors,
    }


def _describe_span(
    doc: PairedDoc, span: LabelledSpan, right: bool, confidence: float | None = None
) -> dict[str, Any]:
    text = doc.reference.text
    characters = doc.span(span)
    description: dict[str, Any] = {
        "label": span[0],
        "start": utf16_offset(text, characters.start_char),
        "end": utf16_offset(text, characters.end_char),
        "right": right,
    }
    if confidence is not None:
        description["confidence"] = round(confidence, 3)
    return description


def utf16_offset(text: str, offset: int) -> int:
    """Convert an offset in characters to UTF-16 units, in which JavaScript counts: a
    character beyond the basic multilingual plane has two.
    """
    return offset + sum(character > "\uffff" for character in text[:offset])


def _make_curve(curve: Sequence[Point], o_bias: float) -> dict[str, Any]:
    """Return points in per cent of a frame that ends at round tenths around them."""
    low_x, high_x = _borders([point.r for point in curve])
    low_y, high_y = _borders([point.p for point in curve])
    current = min(curve, key=lambda point: abs(point.o_bias - o_bias))
    labelled = (curve[0], curve[-1], current)
    points = [
        {
            **point._asdict(),
            "x": 100 * (point.r - low_x) / (high_x - low_x),
            "y": 100 * (point.p - low_y) / (high_y - low_y),
            "current": point is current,
            "label": f"{point.o_bias:+.2f}"
            if any(point is end for end in labelled)
            else "",
        }
        for point in curve
    ]
    return {
        "points": points,
        "x_ticks": _ticks(low_x, high_x),
        "y_ticks": _ticks(low_y, high_y),
    }


def _borders(values: Sequence[float]) -> tuple[float, float]:
    low, high = floor(10 * min(values)), ceil(10 * max(values))
    if low == high:
        low, high = max(0, low - 1), min(10, low + 1)
    return low / 10, high / 10


def _ticks(low: float, high: float) -> list[dict[str, Any]]:
    n = round(10 * (high - low))
    return [
        {"place": 100 * i / n, "label": f"{100 * low + 10 * i:.0f}"}
        for i in range(n + 1)
    ]


def _make_matrix(evaluation: Evaluation) -> dict[str, Any]:
    labels = [*evaluation.per_type, NOTHING]
    counts = {
        (row.gold or NOTHING, row.predicted or NOTHING): row.n
        for row in evaluation.confusion
    }
    maximum = max(counts.values(), default=1)
    rows = []
    for gold in labels:
        cells = []
        for predicted in labels:
            n = counts.get((gold, predicted), 0)
            if gold == predicted == NOTHING:
                cells.append({"text": "", "share": 0.0, "right": False})
            elif gold == predicted:
                right = evaluation.per_type[gold].counts["TP"]
                cells.append({"text": f"{right} + {n}", "share": 0.0, "right": True})
            else:
                cells.append({"text": str(n), "share": n / maximum, "right": False})
        rows.append({"label": gold, "cells": cells})
    return {"columns": labels, "rows": rows}


def _describe_classes(components: Mapping[str, ClassWeights]) -> dict[str, Any]:
    classes = {}
    for name, part in components.items():
        total = sum(part.counts.values()) or 1
        rows = [
            {
                "tag": tag,
                "n": n,
                "share": n / total,
                "weight": part.weights[tag],
                "ratio": part.weights[tag] / (part.weights.get("O") or 1),
            }
            for tag, n in part.counts.items()
        ]
        classes[name] = {"scheme": part.weighting, "rows": rows}
    return classes
