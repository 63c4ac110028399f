"""What came out of an experiment: scores with their spread, and tests, as tables."""

import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
import srsly

from ..errors import WeltError, extra_needed, first_line
from ..scoring.significance import (
    approximate_randomization,
    compare_schemes,
    holm,
    seeds_needed,
)
from ..util.files import write_atomically
from .grid import Grid
from .jobs import METRICS, RECORD, RUNS

# The median gain of WeLT over vanilla in the paper's tables, in points of F1
GAIN = 0.45

Table = list[list[str]]


class Scored(NamedTuple):
    """A scored run.

    strict, fair (dict[str, float]): "p", "r" and "f", in per cent.
    by_doc (ndarray): Shape (n_docs, 3), int64: right, predicted, gold.
    """

    strict: dict[str, float]
    fair: dict[str, float]
    by_doc: np.ndarray


class Group(NamedTuple):
    """What schemes are compared within.

    corpus, encoder, selection (str): As in `Run`.
    """

    corpus: str
    encoder: str = ""
    selection: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, self))


# What tells one scored pipeline from another
KEYS = ("corpus", "encoder", "selection", "scheme", "seed", "tuned")

# What it took
COSTS = ("seconds", "train_seconds", "peak_mb")

Results = dict[Group, dict[str, dict[int, Scored]]]


def read_rows(output: Path) -> list[dict[str, Any]]:
    """Read the figures of all runs in a folder, from the folder alone.

    output (Path): The folder of an experiment.
    RETURNS (list[dict[str, Any]]): A row for each scored pipeline, the oldest run first.
    RAISES (WeltError): If nothing was run, or figures are damaged.
    """
    folders = [
        path.parent
        for path in (output / RUNS).glob(f"*/{RECORD}")
        if path.parent.name[0] != "."
    ]
    rows: list[dict[str, Any]] = []
    for folder in sorted(folders, key=lambda path: (path / RECORD).stat().st_mtime):
        try:
            found = srsly.read_json(folder / METRICS)
            for row in found:
                _scored(row)
                for key in COSTS:
                    float(row[key])
                for key in KEYS:
                    kind = int if key == "seed" else str
                    if not isinstance(row[key], kind):
                        raise ValueError(f"{key} is {row[key]!r}")
                rows.append({**row, "folder": folder.name})
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as err:
            raise WeltError(
                f"{folder / METRICS}: can't read these scores ({first_line(err)}): run the "
                "experiment again, which makes them anew"
            ) from None
    if not rows:
        raise WeltError(f"There are no runs in {output}")
    return rows


def read_results(grid: Grid, output: Path) -> Results:
    """Read what was run of an experiment. Of a run that is there several times, with other
    settings or versions, the latest counts.

    grid (Grid): The experiment.
    output (Path): Its folder.
    RETURNS (dict[Group, dict[str, dict[int, Scored]]]): Corpus, encoder and selection ->
        scheme -> seed -> scores. A scheme with a setting tuned is one more, "vanilla +
        o_bias".
    RAISES (WeltError): If nothing was run, or scores are damaged.
    """
    found = {tuple(row[key] for key in KEYS): _scored(row) for row in read_rows(output)}
    results: Results = {}
    for run in grid.runs():
        group = Group(run.corpus, run.encoder, run.selection)
        schemes = results.setdefault(group, {})
        for knob in ("", *run.tuned):
            key = (*group, run.scheme, run.seed, knob)
            if key in found:
                name = f"{run.scheme} + {knob}" if knob else run.scheme
                schemes.setdefault(name, {})[run.seed] = found[key]
    if not any(results.values()):
        raise WeltError(f"There are no runs of this experiment in {output}")
    return results


def _scored(row: dict[str, Any]) -> Scored:
    return Scored(
        {key: 100 * row[f"strict_{key}"] for key in "prf"},
        {key: 100 * row[f"fair_{key}"] for key in "prf"},
        np.array(row["by_doc"], dtype="int64").reshape(-1, 3),
    )


def write_parquet(output: Path) -> Path:
    """Write the figures of all runs as a Parquet data set, a file a run.

    output (Path): The folder of an experiment.
    RETURNS (Path): The folder of the data set: `pyarrow.parquet.read_table` reads it.
    RAISES (WeltError): If nothing was run, or pyarrow is missing.
    """
    with extra_needed("a Parquet data set", "annotation"):
        import pyarrow
        from pyarrow.parquet import write_table
    text, number = pyarrow.string(), pyarrow.float64()
    by_name = pyarrow.map_(text, number)
    schema = pyarrow.schema(
        [
            *((key, text) for key in ("corpus", "encoder", "selection", "scheme")),
            ("tuned", text),
            ("seed", pyarrow.int64()),
            *((f"{way}_{key}", number) for way in ("strict", "fair") for key in "prf"),
            ("per_type", by_name),
            ("weights", by_name),
            ("docs", pyarrow.int64()),
            ("by_doc", pyarrow.list_(pyarrow.list_(pyarrow.int32()))),
            *((key, number) for key in ("words_s", "seconds", "train_seconds")),
            *((key, number) for key in ("peak_mb", "peak_gpu_mb")),
            ("revision", text),
            ("versions", pyarrow.map_(text, text)),
            ("checksum", text),
        ]
    )
    folder = output / "results"
    folder.mkdir(parents=True, exist_ok=True)
    by_run: dict[str, list[dict[str, Any]]] = {}
    for row in read_rows(output):
        flat = {name: row.get(name) for name in schema.names}
        for key in ("per_type", "weights", "versions"):
            flat[key] = list((row.get(key) or {}).items())
        by_run.setdefault(row["folder"], []).append(flat)
    for path in folder.glob("*.parquet"):
        # Of runs that are gone; what has another name is not ours
        if path.stem not in by_run and re.search("-[0-9a-f]{16}$", path.stem):
            path.unlink()
    for name, rows in by_run.items():
        content = BytesIO()
        write_table(pyarrow.Table.from_pylist(rows, schema=schema), content)
        write_atomically(folder / f"{name}.parquet", content.getvalue())
    return folder


def to_markdown(grid: Grid, output: Path) -> str:
    """Write the tables of an experiment.

    grid (Grid): The experiment.
    output (Path): Its folder.
    RETURNS (str): Markdown: a table for each corpus and encoder, schemes over all of them,
        seeds.
    RAISES (WeltError): If nothing was run.
    """
    results = read_results(grid, output)
    baseline = next(iter(grid.schemes))
    parts = []
    for group, schemes in results.items():
        if schemes:
            parts += [f"### {group}", _markdown(_corpus_table(schemes, baseline))]
    parts += ["### Over all corpora", _markdown(_scheme_table(results, baseline))]
    parts += ["### Seeds", _markdown(_seed_table(results, baseline))]
    return "\n\n".join(parts) + "\n"


def _corpus_table(schemes: dict[str, dict[int, Scored]], baseline: str) -> Table:
    base = schemes.get(baseline, {})
    table = [
        ["", "P", "R", "F1", "fair F1", f"F1 over {baseline}", "p by seed", "seeds"]
    ]
    for name, runs in schemes.items():
        both = sorted(set(runs) & set(base))
        gaps, p_values = "", ""
        if name != baseline and both:
            gaps = spread(
                [runs[s].strict["f"] - base[s].strict["f"] for s in both], "+"
            )
            p_values = ", ".join(
                told_p(approximate_randomization(runs[s].by_doc, base[s].by_doc))
                for s in both
            )
        table.append(
            [
                name,
                *(spread([run.strict[k] for run in runs.values()]) for k in "prf"),
                spread([run.fair["f"] for run in runs.values()]),
                gaps,
                p_values,
                str(len(runs)),
            ]
        )
    return table


def _scheme_table(results: Results, baseline: str) -> Table:
    """Each scheme against the baseline, over the corpora and seeds that both have."""
    pairs: dict[str, list[tuple[Scored, Scored]]] = {}
    for schemes in results.values():
        base = schemes.get(baseline, {})
        for name, runs in schemes.items():
            if name != baseline:
                shared = [
                    (runs[seed], base[seed]) for seed in sorted({*runs} & {*base})
                ]
                pairs.setdefault(name, []).extend(shared)
    pairs = {name: found for name, found in pairs.items() if found}
    p_values = []
    for found in pairs.values():
        scores = {
            "scheme": [one.strict["f"] for one, _ in found],
            "base": [other.strict["f"] for _, other in found],
        }
        p_values.append(compare_schemes(scores, "base")["scheme"])
    table = [
        ["", "P", "R", "F1", "fair F1", "R up / same / down", "F1 up / same / down"]
        + ["p of F1 (Wilcoxon, Holm)"]
    ]
    for (name, found), p_value in zip(pairs.items(), holm(p_values)):
        gaps = {
            key: [one.strict[key] - other.strict[key] for one, other in found]
            for key in "prf"
        }
        fair = [one.fair["f"] - other.fair["f"] for one, other in found]
        table.append(
            [
                name,
                *(f"{mean(gaps[key]):+.2f}" for key in "prf"),
                f"{mean(fair):+.2f}",
                _signs(gaps["r"]),
                _signs(gaps["f"]),
                told_p(p_value),
            ]
        )
    return table


def _signs(gaps: Sequence[float]) -> str:
    signs = np.sign(np.round(gaps, 10)).tolist()
    return " / ".join(str(signs.count(sign)) for sign in (1, 0, -1))


def _seed_table(results: Results, baseline: str) -> Table:
    table = [["", f"standard deviation of {baseline}'s F1", f"seeds to see {GAIN} F1"]]
    for corpus, sd in _deviations(results, baseline):
        needed = seeds_needed(GAIN, sd) if sd is not None else None
        table.append(
            [corpus, "" if sd is None else f"{sd:.2f}", "" if needed is None else str(needed)]
        )  # fmt: skip
    return table


def _deviations(results: Results, baseline: str) -> Iterator[tuple[str, float | None]]:
    """Of each corpus, and of a run of all of them."""
    squares: list[float] = []
    for group, schemes in results.items():
        scores = [run.strict["f"] for run in schemes.get(baseline, {}).values()]
        sd = stdev(scores) if len(scores) > 1 else None
        if sd is not None:
            squares.append(sd**2)
        yield str(group), sd
    yield "all (pooled)", mean(squares) ** 0.5 if squares else None


def told_p(value: float) -> str:
    """RETURNS (str): A p-value, never as 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def spread(values: Sequence[float], sign: str = "") -> str:
    """Write the mean and the standard deviation over seeds.

    values (Sequence[float]): The score of each seed.
    sign (str): "+" to show the sign of the mean.
    RETURNS (str): Both, or a single value as it is.
    """
    if len(values) == 1:
        return f"{values[0]:{sign}.2f}"
    return f"{mean(values):{sign}.2f} ± {stdev(values):.2f}"


def _markdown(table: Table) -> str:
    lines: list[Any] = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
