"""An evaluation as one HTML page that needs no network."""

import json
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from markupsafe import Markup

from ..scoring.errors import MISSED, OVERLAPPING, SPURIOUS, error_type
from ..scoring.pairs import PairedDoc
from ..scoring.spans import LabelledSpan
from ..util.html import render
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
SHORT_TYPES = {SPURIOUS: "spurious", MISSED: "missed", OVERLAPPING: "overlapping"}
NOTHING = "nothing"


def to_html(
    found: Mapping[str, Any],
    docs: Sequence[PairedDoc],
    *,
    data: str = "",
    curve: Sequence[Point] | None = None,
) -> str:
    """Write the page.

    found (Mapping[str, Any]): What `evaluate` returned.
    docs (Sequence[PairedDoc]): What `pair_examples` made of its examples.
    data (str): What the data are called.
    curve (Sequence[Point] | None): What `tuning.sweep` returned, for the curve of
        precision against recall.
    RETURNS (str): HTML.
    """
    browsed = {
        "labels": list(found["per_type"]),
        "sentences": [_sentence(i, doc) for i, doc in enumerate(docs)],
    }
    name = " ".join(filter(None, [found["pipeline"], found["version"]]))
    curve_shown = _curve(curve, found["decoding"]) if curve else None
    classes = _classes(found["class_weights"])
    sections = [
        ("scores", "Scores"),
        *([("answers", "Answers")] if found["answers"] else []),
        ("types", "By type"),
        *([("curve", "Precision against recall")] if curve_shown else []),
        *([("calibration", "Calibration")] if found["calibration"]["bins"] else []),
        ("confusion", "Confusion"),
        ("slices", "By slice"),
        *([("classes", "Classes and weights")] if classes else []),
        ("errors", "Sentences"),
    ]
    return render(
        "page.html.jinja",
        title=f"{name} on {data}" if data else name,
        found=found,
        sections=sections,
        kinds=KINDS,
        curve=curve_shown,
        matrix=_matrix(found),
        classes=classes,
        error_types=SHORT_TYPES,
        data=_for_script(browsed),
    )


def _for_script(data: Any) -> Markup:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # Nothing in a text can end the element that holds it
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def _sentence(i: int, doc: PairedDoc) -> dict[str, Any]:
    text = doc.reference.text
    errors: list[dict[str, Any]] = []
    wrong: set[tuple[bool, LabelledSpan]] = set()
    for pair in doc.pairs:
        if pair.kind == "TP":
            continue
        spans = [span for span in (pair.gold, pair.predicted) if span is not None]
        wrong |= {(span is pair.gold, span) for span in spans}
        told = " / ".join(repr(doc.span(span).text) for span in spans)
        errors.append(
            {
                "type": error_type(pair.kind),
                "told": f"{KINDS[pair.kind]} {told}",
                "labels": sorted({span[0] for span in spans}),
            }
        )

    def show(span: LabelledSpan, is_gold: bool) -> dict[str, Any]:
        found = doc.span(span)
        return {
            "label": span[0],
            "start": utf16_offset(text, found.start_char),
            "end": utf16_offset(text, found.end_char),
            "right": (is_gold, span) not in wrong,
        }

    predicted = []
    for span, confidence in zip(doc.predicted, doc.confidences):
        shown = show(span, False)
        if confidence is not None:
            shown["confidence"] = round(confidence, 3)
        predicted.append(shown)
    return {
        "doc": i,
        "text": text,
        "gold": sorted((show(span, True) for span in doc.gold), key=_start),
        "predicted": sorted(predicted, key=_start),
        "errors": errors,
    }


def utf16_offset(text: str, offset: int) -> int:
    """Convert an offset for JavaScript, which counts UTF-16 units: a character beyond
    the basic multilingual plane is two.

    text (str): The text.
    offset (int): An offset in characters, as spaCy counts them.
    RETURNS (int): The same place in UTF-16 units.
    """
    return offset + sum(character > "\uffff" for character in text[:offset])


def _start(shown: Mapping[str, Any]) -> int:
    return shown["start"]


def _curve(curve: Sequence[Point], decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Points in per cent of the frame, which ends at round tenths around them."""
    low_x, high_x = _borders([point.r for point in curve])
    low_y, high_y = _borders([point.p for point in curve])
    current = min(curve, key=lambda point: abs(point.o_bias - decoding["o_bias"]))
    ends = (curve[0], curve[-1], current)
    points = [
        {
            **point._asdict(),
            "x": 100 * (point.r - low_x) / (high_x - low_x),
            "y": 100 * (point.p - low_y) / (high_y - low_y),
            "current": point is current,
            "told": f"{point.o_bias:+.2f}" if any(point is e for e in ends) else "",
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
        {"place": 100 * i / n, "told": f"{100 * low + 10 * i:.0f}"}
        for i in range(n + 1)
    ]


def _matrix(found: Mapping[str, Any]) -> dict[str, Any]:
    labels = [*found["per_type"], NOTHING]
    counts = {
        (row["gold"] or NOTHING, row["predicted"] or NOTHING): row["n"]
        for row in found["confusion"]
    }
    most = max(counts.values(), default=1)
    rows = []
    for gold in labels:
        cells = []
        for predicted in labels:
            n = counts.get((gold, predicted), 0)
            if gold == predicted == NOTHING:
                cells.append({"told": "", "share": 0.0, "right": False})
            elif gold == predicted:
                right = found["per_type"][gold]["counts"]["TP"]
                cells.append({"told": f"{right} + {n}", "share": 0.0, "right": True})
            else:
                cells.append({"told": str(n), "share": n / most, "right": False})
        rows.append({"label": gold, "cells": cells})
    return {"columns": labels, "rows": rows}


def _classes(components: Mapping[str, Any]) -> dict[str, Any]:
    shown = {}
    for name, part in components.items():
        total = sum(part["counts"].values()) or 1
        rows = [
            {
                "tag": tag,
                "n": n,
                "share": n / total,
                "weight": part["weights"][tag],
                "ratio": part["weights"][tag] / (part["weights"].get("O") or 1),
            }
            for tag, n in part["counts"].items()
        ]
        shown[name] = {"scheme": part["weighting"], "rows": rows}
    return shown
