"""Tables of an experiment with spread over seeds and significance tests, as Markdown."""

from collections.abc import Iterator, Sequence
from statistics import mean, stdev

import numpy as np

from ..scoring.significance import (
    approximate_randomization,
    compare_schemes,
    holm,
    seeds_needed,
)
from .results import Results, Scored, Scores

# The median gain of WeLT over vanilla in the paper's tables, in points of F1
GAIN = 0.45

Table = list[list[str]]


def render_tests(results: Results, baseline: str) -> str:
    """Render tables as Markdown: one for each group, one for schemes over all groups, and one
    for the number of seeds.
    """
    parts = []
    for group, schemes in results.scores.items():
        if schemes:
            parts += [
                f"### {group}",
                _to_markdown(_make_group_table(schemes, baseline)),
            ]
    table = _make_scheme_table(results.scores, baseline)
    parts += ["### Over all corpora", _to_markdown(table)]
    parts += ["### Seeds", _to_markdown(_make_seed_table(results.scores, baseline))]
    return "\n\n".join(parts) + "\n"


def _make_group_table(schemes: dict[str, dict[int, Scored]], baseline: str) -> Table:
    base = schemes.get(baseline, {})
    table = [
        ["", "P", "R", "F1", "fair F1", f"F1 over {baseline}", "p by seed", "seeds"]
    ]
    for name, runs in schemes.items():
        both = sorted(set(runs) & set(base))
        gaps, p_values = "", ""
        if name != baseline and both:
            gaps = format_mean_sd(
                [runs[seed].strict["f"] - base[seed].strict["f"] for seed in both], "+"
            )
            p_values = ", ".join(
                format_p_value(
                    approximate_randomization(runs[seed].by_doc, base[seed].by_doc)
                )
                for seed in both
            )
        strict = [run.strict for run in runs.values()]
        fair = [run.fair["f"] for run in runs.values()]
        table.append(
            [
                name,
                *(format_mean_sd([scores[key] for scores in strict]) for key in "prf"),
                format_mean_sd(fair),
                gaps,
                p_values,
                str(len(runs)),
            ]
        )
    return table


def _make_scheme_table(scores: Scores, baseline: str) -> Table:
    """Compare each scheme with the baseline, over the corpora and seeds that both have."""
    pairs: dict[str, list[tuple[Scored, Scored]]] = {}
    for schemes in scores.values():
        base = schemes.get(baseline, {})
        for name, runs in schemes.items():
            shared = sorted({*runs} & {*base})
            if name != baseline and shared:
                shared_pairs = [(runs[seed], base[seed]) for seed in shared]
                pairs.setdefault(name, []).extend(shared_pairs)
    p_values = []
    for scheme_pairs in pairs.values():
        f_scores = {
            "scheme": [run.strict["f"] for run, _ in scheme_pairs],
            "base": [base_run.strict["f"] for _, base_run in scheme_pairs],
        }
        p_values.append(compare_schemes(f_scores, "base")["scheme"])
    table = [
        ["", "P", "R", "F1", "fair F1", "R up / same / down", "F1 up / same / down"]
        + ["p of F1 (Wilcoxon, Holm)"]
    ]
    for (name, scheme_pairs), p_value in zip(pairs.items(), holm(p_values)):
        gaps = {
            key: [
                run.strict[key] - base_run.strict[key] for run, base_run in scheme_pairs
            ]
            for key in "prf"
        }
        fair = [run.fair["f"] - base_run.fair["f"] for run, base_run in scheme_pairs]
        table.append(
            [
                name,
                *(f"{mean(gaps[key]):+.2f}" for key in "prf"),
                f"{mean(fair):+.2f}",
                _count_signs(gaps["r"]),
                _count_signs(gaps["f"]),
                format_p_value(p_value),
            ]
        )
    return table


def _count_signs(gaps: Sequence[float]) -> str:
    signs = np.sign(np.round(gaps, 10)).tolist()
    return " / ".join(str(signs.count(sign)) for sign in (1, 0, -1))


def _make_seed_table(scores: Scores, baseline: str) -> Table:
    table = [["", f"standard deviation of {baseline}'s F1", f"seeds to see {GAIN} F1"]]
    for corpus, sd in _compute_deviations(scores, baseline):
        needed = seeds_needed(GAIN, sd) if sd is not None else None
        table.append(
            [corpus, "" if sd is None else f"{sd:.2f}", "" if needed is None else str(needed)]
        )  # fmt: skip
    return table


def _compute_deviations(
    scores: Scores, baseline: str
) -> Iterator[tuple[str, float | None]]:
    """Yield the standard deviation over seeds of each group, and the pooled one."""
    squares: list[float] = []
    for group, schemes in scores.items():
        values = [run.strict["f"] for run in schemes.get(baseline, {}).values()]
        sd = stdev(values) if len(values) > 1 else None
        if sd is not None:
            squares.append(sd**2)
        yield str(group), sd
    yield "all (pooled)", mean(squares) ** 0.5 if squares else None


def format_p_value(value: float) -> str:
    """Format a p-value, never as 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_mean_sd(values: Sequence[float], sign: str = "") -> str:
    """Format the mean and the standard deviation over seeds; `sign` "+" shows the sign."""
    if len(values) == 1:
        return f"{values[0]:{sign}.2f}"
    return f"{mean(values):{sign}.2f} ± {stdev(values):.2f}"


def _to_markdown(table: Table) -> str:
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
