"""Compare an experiment with the figures of the paper (Mobasher et al. 2023)."""

import csv
from collections.abc import Sequence
from importlib.resources import files
from statistics import mean, stdev
from typing import NamedTuple

from .results import Results

# Level of the interval in which a further run is expected
LEVEL = 0.95


class PaperCell(NamedTuple):
    """A cell of the paper's tables.

    precision, recall, f1 (float): In per cent.
    doubt (str): A reason why the figure may be wrong; empty if none is known.
    """

    precision: float
    recall: float
    f1: float
    doubt: str


class PaperComparison(NamedTuple):
    """A cell of the paper's tables and the results of an experiment.

    corpus, encoder, scheme (str): The cell.
    f1 (float): The mean of F1 over seeds.
    sd (float | None): Its standard deviation; None for one seed.
    seeds (int): Number of seeds.
    paper (float): The paper's F1, of one run.
    low, high (float | None): Where a further run is expected, at 95 %: mean ± t sd
        sqrt(1 + 1/n). None for one seed.
    doubt (str): A reason why the paper's figure may be wrong; empty if none is known.
    """

    corpus: str
    encoder: str
    scheme: str
    f1: float
    sd: float | None
    seeds: int
    paper: float
    low: float | None
    high: float | None
    doubt: str

    @property
    def is_within(self) -> bool | None:
        """True if the paper's F1 is in the interval of a further run; None for one seed."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.paper <= self.high


def read_paper_results() -> dict[tuple[str, str, str], PaperCell]:
    """Return the 280 cells of the paper's tables 2 to 9 by corpus, encoder and scheme."""
    path = files("welt_spacy").joinpath("assets").joinpath("paper_results.csv")
    with path.open(encoding="utf8") as file:
        return {
            (row["corpus"], row["encoder"], row["scheme"]): PaperCell(
                precision=float(row["precision"]),
                recall=float(row["recall"]),
                f1=float(row["f1"]),
                doubt=row["doubt"],
            )
            for row in csv.DictReader(file)
        }


def compare_with_paper(results: Results) -> list[PaperComparison]:
    """Compare results with the paper's, for the cells that both have. Encoders and schemes must
    have the paper's names.
    """
    from scipy.stats import t as student

    paper = read_paper_results()
    comparisons = []
    for group, schemes in sorted(results.scores.items()):
        for scheme, runs in schemes.items():
            cell = paper.get((group.corpus, group.encoder, scheme))
            if cell is None or group.selection:
                continue
            values = [run.strict["f"] for run in runs.values()]
            n, center = len(values), mean(values)
            sd = stdev(values) if n > 1 else None
            half = None
            if sd is not None:
                factor = student.ppf((1 + LEVEL) / 2, n - 1)
                half = float(factor) * sd * (1 + 1 / n) ** 0.5
            comparisons.append(
                PaperComparison(
                    corpus=group.corpus,
                    encoder=group.encoder,
                    scheme=scheme,
                    f1=center,
                    sd=sd,
                    seeds=n,
                    paper=cell.f1,
                    low=None if half is None else center - half,
                    high=None if half is None else center + half,
                    doubt=cell.doubt,
                )
            )
    return comparisons


def render_comparisons(comparisons: Sequence[PaperComparison]) -> str:
    """Render comparisons as Markdown, with a line that counts agreements."""
    lines = [
        "| corpus | encoder | scheme | ours | seeds | paper | difference | a further run | |",
        "|" + " --- |" * 9,
    ]
    words = {True: "within", False: "**outside**", None: ""}
    for cell in comparisons:
        f1 = f"{cell.f1:.2f}" + ("" if cell.sd is None else f" ± {cell.sd:.2f}")
        interval = "" if cell.low is None else f"{cell.low:.2f} to {cell.high:.2f}, "
        lines.append(
            f"| {cell.corpus} | {cell.encoder} | {cell.scheme} | {f1} | {cell.seeds} | "
            f"{cell.paper:.2f} | {cell.f1 - cell.paper:+.2f} | {interval}"
            f"{words[cell.is_within]} | {cell.doubt} |"
        )
    judged = [cell for cell in comparisons if cell.is_within is not None]
    if judged:
        n = sum(bool(cell.is_within) for cell in judged)
        lines += [
            "",
            f"The paper's figure is within our interval in {n} of {len(judged)} cells.",
        ]
    return "\n".join(lines) + "\n"
