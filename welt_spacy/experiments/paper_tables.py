"""Tables of an experiment in the layout of the paper: Markdown, CSV, LaTeX and HTML."""

import csv
import io
from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from ..util.html import render
from .results import Results
from .significance_tables import format_mean_sd

NAMES = {"p": "P", "r": "R", "f": "F1"}


class Cell(NamedTuple):
    """Scores of a scheme.

    values (list[float]): The score of each seed, in per cent.
    rank (int): 1 for the best scheme of its row, 2 for the second, else 0.
    """

    values: list[float]
    rank: int

    @property
    def text(self) -> str:
        """The mean and the standard deviation."""
        return format_mean_sd(self.values)


class Row(NamedTuple):
    """A row of a table: one score of all schemes.

    corpus, encoder, selection (str): The runs.
    score (str): "P", "R" or "F1".
    cells (dict[str, Cell]): Scheme -> scores.
    """

    corpus: str
    encoder: str
    selection: str
    score: str
    cells: dict[str, Cell]


def make_rows(results: Results) -> list[Row]:
    """Make the rows P, R and F1 of each corpus and encoder. Ranks are of rounded means."""
    rows = []
    for group, schemes in sorted(results.scores.items()):
        if not schemes:
            continue
        for key, name in NAMES.items():
            values = {
                scheme: [runs[seed].strict[key] for seed in sorted(runs)]
                for scheme, runs in schemes.items()
            }
            means = {scheme: round(mean(seeds), 2) for scheme, seeds in values.items()}
            best = sorted(set(means.values()), reverse=True)
            ranks = dict(zip(best, (1, 2)))
            cells = {
                scheme: Cell(seeds, ranks.get(means[scheme], 0))
                for scheme, seeds in values.items()
            }
            rows.append(Row(*group, name, cells))
    return rows


def to_markdown(rows: Sequence[Row]) -> str:
    """Render rows as Markdown; the best of a row is bold, the second underlined."""
    marks = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    header, *lines = _make_lines(rows, marks)
    lines = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_csv(rows: Sequence[Row]) -> str:
    """Render rows as CSV, a line for each score of each scheme."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["corpus", "encoder", "selection", "scheme", "score", "mean", "sd", "seeds"]
    )
    for row in rows:
        for scheme, cell in row.cells.items():
            n = len(cell.values)
            sd = f"{stdev(cell.values):.4f}" if n > 1 else ""
            writer.writerow(
                [row.corpus, row.encoder, row.selection, scheme, row.score]
                + [f"{mean(cell.values):.4f}", sd, n]
            )
    return out.getvalue()


def to_latex(rows: Sequence[Row]) -> str:
    """Render rows as a LaTeX table; the best of a row is bold, the second underlined."""
    marks = {0: "{}", 1: "\\textbf{{{}}}", 2: "\\underline{{{}}}"}
    escapes = {ord(char): f"\\{char}" for char in "&%$#_{}"} | {ord("±"): "$\\pm$"}
    header, *lines = _make_lines(rows, marks, escapes)
    body = [" & ".join(line) + " \\\\" for line in (header, *lines)]
    return "\n".join(
        [
            f"\\begin{{tabular}}{{lll{'r' * (len(header) - 3)}}}",
            *("\\hline", body[0], "\\hline", *body[1:], "\\hline", "\\end{tabular}\n"),
        ]
    )


def to_html(rows: Sequence[Row], title: str) -> str:
    """Render rows as a page with filters, which needs no network."""
    filters = {
        name: list(dict.fromkeys(getattr(row, name) for row in rows))
        for name in ("corpus", "encoder", "selection", "score")
    }
    return render(
        "experiment.html.jinja",
        title=title,
        schemes=_get_schemes(rows),
        filters=filters,
        shown=[name for name, values in filters.items() if any(values)],
        rows=[
            {
                **row._asdict(),
                "cells": {
                    scheme: {
                        "text": cell.text,
                        "rank": cell.rank,
                        "n": len(cell.values),
                    }
                    for scheme, cell in row.cells.items()
                },
            }
            for row in rows
        ],
    )


def _get_schemes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(scheme for row in rows for scheme in row.cells))


def _make_lines(
    rows: Sequence[Row], marks: dict[int, str], escapes: dict[int, str] | None = None
) -> list[list[str]]:
    """Return the header and the cells of each row, escaped and marked by rank."""
    schemes = _get_schemes(rows)
    escapes = escapes or {}
    header = ["corpus", "encoder", "", *schemes]
    lines = [[text.translate(escapes) for text in header]]
    for row in rows:
        encoder = ", ".join(filter(None, (row.encoder, row.selection)))
        line = [text.translate(escapes) for text in (row.corpus, encoder, row.score)]
        for scheme in schemes:
            cell = row.cells.get(scheme)
            text = cell.text.translate(escapes) if cell else ""
            line.append(marks[cell.rank].format(text) if cell else "")
        lines.append(line)
    return lines
