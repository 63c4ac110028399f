"""The figures of an experiment in the layout of the paper's tables, and beside its figures."""

import csv
import io
from collections.abc import Sequence
from importlib.resources import files
from statistics import mean, stdev
from typing import Any, NamedTuple

from ..util.html import render
from .results import Results, spread

NAMES = {"p": "P", "r": "R", "f": "F1"}
# Of the interval in which a further run is expected
LEVEL = 0.95


class Cell(NamedTuple):
    """Figures of a scheme.

    values (list[float]): Of each seed, in per cent.
    rank (int): 1 for the best scheme of its row, 2 for the second, else 0.
    """

    values: list[float]
    rank: int


class Row(NamedTuple):
    """A row of a table: one score of all schemes.

    corpus, encoder, selection (str): What of.
    score (str): "P", "R" or "F1".
    cells (dict[str, Cell]): Scheme -> figures.
    """

    corpus: str
    encoder: str
    selection: str
    score: str
    cells: dict[str, Cell]


def rows_of(results: Results) -> list[Row]:
    """Lay out results as the paper does: for each corpus and encoder P, R and F1.

    results (Results): What `read_results` returned.
    RETURNS (list[Row]): The rows. Ranks are of means as they are shown.
    """
    rows = []
    for group, schemes in sorted(results.items()):
        if not schemes:
            continue
        for key, name in NAMES.items():
            values = {
                scheme: [runs[seed].strict[key] for seed in sorted(runs)]
                for scheme, runs in schemes.items()
            }
            means = {scheme: round(mean(found), 2) for scheme, found in values.items()}
            best = sorted(set(means.values()), reverse=True)
            ranks = dict(zip(best, (1, 2)))
            cells = {
                scheme: Cell(found, ranks.get(means[scheme], 0))
                for scheme, found in values.items()
            }
            rows.append(Row(*group, name, cells))
    return rows


def _told(cell: Cell | None) -> str:
    return "" if cell is None else spread(cell.values)


def _schemes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(scheme for row in rows for scheme in row.cells))


def layout_markdown(rows: Sequence[Row]) -> str:
    """RETURNS (str): Markdown; the best of a row is bold, the second underlined.

    rows (Sequence[Row]): The rows.
    """
    schemes = _schemes(rows)
    marks = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    lines = [
        f"| corpus | encoder | | {' | '.join(schemes)} |",
        f"|{' --- |' * (3 + len(schemes))}",
    ]
    for row in rows:
        cells = [row.cells.get(scheme) for scheme in schemes]
        told = [marks[cell.rank].format(_told(cell)) if cell else "" for cell in cells]
        encoder = ", ".join(filter(None, (row.encoder, row.selection)))
        lines.append(f"| {row.corpus} | {encoder} | {row.score} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def layout_csv(rows: Sequence[Row]) -> str:
    """RETURNS (str): CSV, a line for each figure of each scheme.

    rows (Sequence[Row]): The rows.
    """
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


def layout_latex(rows: Sequence[Row]) -> str:
    """RETURNS (str): A LaTeX table; the best of a row is bold, the second underlined.

    rows (Sequence[Row]): The rows.
    """
    schemes = _schemes(rows)
    marks = {0: "{}", 1: "\\textbf{{{}}}", 2: "\\underline{{{}}}"}

    def plain(text: str) -> str:
        for char in "&%$#_{}":
            text = text.replace(char, f"\\{char}")
        return text.replace("±", "$\\pm$")

    lines = [
        f"\\begin{{tabular}}{{lll{'r' * len(schemes)}}}",
        "\\hline",
        " & ".join(["corpus", "encoder", "", *map(plain, schemes)]) + " \\\\",
        "\\hline",
    ]
    for row in rows:
        cells = [row.cells.get(scheme) for scheme in schemes]
        told = [
            marks[cell.rank].format(plain(_told(cell))) if cell else ""
            for cell in cells
        ]
        encoder = ", ".join(filter(None, (row.encoder, row.selection)))
        lines.append(
            " & ".join([plain(row.corpus), plain(encoder), row.score, *told]) + " \\\\"
        )
    return "\n".join([*lines, "\\hline", "\\end{tabular}"]) + "\n"


def layout_html(rows: Sequence[Row], title: str) -> str:
    """RETURNS (str): A page with filters, which needs no network.

    rows (Sequence[Row]): The rows.
    title (str): Its title.
    """
    filters = {
        name: list(dict.fromkeys(getattr(row, name) for row in rows))
        for name in ("corpus", "encoder", "selection", "score")
    }
    return render(
        "experiment.html.jinja",
        title=title,
        schemes=_schemes(rows),
        filters=filters,
        shown=[name for name, values in filters.items() if any(values)],
        rows=[
            {
                **row._asdict(),
                "cells": {
                    scheme: {
                        "told": _told(cell),
                        "rank": cell.rank,
                        "n": len(cell.values),
                    }
                    for scheme, cell in row.cells.items()
                },
            }
            for row in rows
        ],
    )


class Beside(NamedTuple):
    """A cell of the paper's tables beside ours.

    corpus, encoder, scheme (str): Which.
    ours (float): The mean of F1 over seeds.
    sd (float | None): Its standard deviation; None for one seed.
    seeds (int): How many.
    paper (float): The paper's F1, of one run.
    low, high (float | None): Where a further run of ours is expected, at 95 %: mean ± t
        sd sqrt(1 + 1/n). None for one seed.
    doubt (str): Why the paper's figure may be wrong; empty if nothing is known.
    """

    corpus: str
    encoder: str
    scheme: str
    ours: float
    sd: float | None
    seeds: int
    paper: float
    low: float | None
    high: float | None
    doubt: str

    @property
    def within(self) -> bool | None:
        """RETURNS (bool | None): Whether the paper's figure is where a further run of ours
        is expected; None for one seed.
        """
        if self.low is None or self.high is None:
            return None
        return self.low <= self.paper <= self.high


def paper_results() -> dict[tuple[str, str, str], dict[str, Any]]:
    """RETURNS (dict[tuple[str, str, str], dict[str, Any]]): The 280 cells of the paper's tables
    2 to 9: corpus, encoder and scheme -> precision, recall, f1, and doubt.
    """
    path = files("welt_spacy").joinpath("assets").joinpath("paper_results.csv")
    with path.open(encoding="utf8") as file:
        return {
            (row["corpus"], row["encoder"], row["scheme"]): {
                **{key: float(row[key]) for key in ("precision", "recall", "f1")},
                "doubt": row["doubt"],
            }
            for row in csv.DictReader(file)
        }


def beside_paper(results: Results) -> list[Beside]:
    """Set results beside the paper's, cell by cell.

    results (Results): What `read_results` returned; encoders and schemes have the paper's
        names.
    RETURNS (list[Beside]): The cells that both have.
    """
    from scipy.stats import t as student

    paper = paper_results()
    found = []
    for group, schemes in sorted(results.items()):
        for scheme, runs in schemes.items():
            told = paper.get((group.corpus, group.encoder, scheme))
            if told is None or group.selection:
                continue
            values = [run.strict["f"] for run in runs.values()]
            n, center = len(values), mean(values)
            sd = stdev(values) if n > 1 else None
            half = None
            if sd is not None:
                factor = student.ppf((1 + LEVEL) / 2, n - 1)
                half = float(factor) * sd * (1 + 1 / n) ** 0.5
            found.append(
                Beside(
                    corpus=group.corpus,
                    encoder=group.encoder,
                    scheme=scheme,
                    ours=center,
                    sd=sd,
                    seeds=n,
                    paper=told["f1"],
                    low=None if half is None else center - half,
                    high=None if half is None else center + half,
                    doubt=told["doubt"],
                )
            )
    return found


def beside_markdown(cells: Sequence[Beside]) -> str:
    """RETURNS (str): Markdown: each cell, and a line that sums up.

    cells (Sequence[Beside]): The cells.
    """
    lines = [
        "| corpus | encoder | scheme | ours | seeds | paper | difference | a further run | |",
        "|" + " --- |" * 9,
    ]
    answers = {True: "within", False: "**outside**", None: ""}
    for cell in cells:
        ours = f"{cell.ours:.2f}" + ("" if cell.sd is None else f" ± {cell.sd:.2f}")
        where = "" if cell.low is None else f"{cell.low:.2f} to {cell.high:.2f}, "
        lines.append(
            f"| {cell.corpus} | {cell.encoder} | {cell.scheme} | {ours} | {cell.seeds} | "
            f"{cell.paper:.2f} | {cell.ours - cell.paper:+.2f} | {where}"
            f"{answers[cell.within]} | {cell.doubt} |"
        )
    judged = [cell for cell in cells if cell.within is not None]
    if judged:
        n = sum(bool(cell.within) for cell in judged)
        lines += [
            "",
            f"The paper's figure is within our interval in {n} of {len(judged)} cells.",
        ]
    return "\n".join(lines) + "\n"
