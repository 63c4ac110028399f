"""How long an experiment will take, from what was measured."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import srsly
from spacy.vocab import Vocab

from ..errors import WeltError
from ..tokens.docs import read_docs
from .grid import Grid
from .jobs import METRICS, RUNS, Job, is_done, splits_of
from .results import read_rows
from .runs import USAGE, execute

# Steps of short trainings, and how often they score dev. Of the differences between the first
# and the others a step and a scoring are measured.
SHORT = ((10, 100), (40, 100), (10, 2))


class Estimate(NamedTuple):
    """What the runs of a corpus and an encoder will take.

    corpus, encoder (str): Which.
    runs, left (int): How many, and how many are not done.
    words (int): Words of the training data.
    hours (float | None): Of those that are left, one after another; None if nothing was
        measured.
    peak_mb, peak_gpu_mb (float | None): Memory of a run, and of that on a GPU.
    source (str): What it was measured on.
    """

    corpus: str
    encoder: str
    runs: int
    left: int
    words: int
    hours: float | None
    peak_mb: float | None
    peak_gpu_mb: float | None
    source: str


class Measured(NamedTuple):
    """What a run took.

    seconds (float): Of all of it.
    peak_mb, peak_gpu_mb (float): Memory of its process, and of that on a GPU.
    """

    seconds: float
    peak_mb: float
    peak_gpu_mb: float


class Rate(NamedTuple):
    """What an encoder takes.

    start (float): Seconds until the first update.
    step (float): Seconds of an update.
    dev, test (float): Seconds to score a word of dev while training, and of test in the
        end.
    peak_mb, peak_gpu_mb (float): As of `Measured`.
    """

    start: float
    step: float
    dev: float
    test: float
    peak_mb: float
    peak_gpu_mb: float


class Size(NamedTuple):
    """How large a split is.

    docs, words (int): How many.
    """

    docs: int
    words: int


def estimate(
    jobs: list[Job],
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    rates: dict[str, Rate] | None = None,
) -> list[Estimate]:
    """Estimate what is left of an experiment.

    jobs (list[Job]): Its runs.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): Its folder.
    rates (dict[str, Rate] | None): For each encoder what it takes, as told by `measure`. Where they are not given, runs that are done count: of the same corpus and
        encoder, else of the encoder on other corpora by the words of the training data.
    RETURNS (list[Estimate]): For each corpus and encoder.
    """
    sizes = {corpus: sizes_of(grid, corpora, corpus) for corpus in grid.corpora}
    words = {corpus: found[0].words for corpus, found in sizes.items()}
    past = _past(output)
    by_cell: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        by_cell.setdefault((job.run.corpus, job.run.encoder), []).append(job)
    found = []
    for (corpus, encoder), cell in sorted(by_cell.items()):
        left = [job for job in cell if not is_done(job, output)]
        took, source = _expected(corpus, encoder, words, past)
        if rates and encoder in rates:
            rate = rates[encoder]
            seconds = mean(_seconds(job, rate, sizes[corpus]) for job in left or cell)
            took = Measured(seconds, rate.peak_mb, rate.peak_gpu_mb)
            source = f"{SHORT[1][0] - SHORT[0][0]} steps, measured now"
        found.append(
            Estimate(
                corpus,
                encoder,
                len(cell),
                len(left),
                words[corpus],
                took and took.seconds * len(left) / 3600,
                took and took.peak_mb,
                took and took.peak_gpu_mb,
                source,
            )
        )
    return found


def _seconds(job: Job, rate: Rate, sizes: Sequence[Size]) -> float:
    train, dev, test = sizes
    steps = n_steps(job, train)
    scorings = 1 + steps // int(job.config["training"].get("eval_frequency") or 200)
    # What is tuned is scored, too
    rest = test.words * rate.test * (1 + len(job.run.tuned))
    trained = steps * rate.step + scorings * dev.words * rate.dev
    return rate.start + trained + rest


def measure(
    jobs: list[Job],
    grid: Grid,
    corpora: Path,
    folder: Path,
    *,
    threads: int = 1,
    gpu_id: int = -1,
    report: Callable[[str], None] = print,
) -> dict[str, Rate]:
    """Measure what each encoder takes, by short trainings on the first corpus.

    jobs (list[Job]): The runs of an experiment.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    folder (Path): Where to train; it can be deleted afterwards.
    threads (int): Threads of a training.
    gpu_id (int): As of `spacy train`.
    report (Callable[[str], None]): Is given a line about each encoder.
    RETURNS (dict[str, Rate]): Encoder -> what it takes.
    RAISES (WeltError): If a training fails.
    """
    found: dict[str, Rate] = {}
    for encoder in dict.fromkeys(job.run.encoder for job in jobs):
        job = next(job for job in jobs if job.run.encoder == encoder)
        _, dev, test = sizes_of(grid, corpora, job.run.corpus)
        rows: list[dict[str, Any]] = []
        tested: list[float] = []
        # Once more at the beginning, for what is fetched and cached
        for number, (steps, every) in enumerate((SHORT[0], *SHORT)):
            config = job.config.copy()
            config["training"].update(
                max_steps=steps, max_epochs=0, eval_frequency=every
            )
            run = replace(job.run, tuned=())
            name = f"measure-{encoder or 'run'}-{number}"
            short = job._replace(run=run, config=config, name=name)
            execute(*(short, grid, corpora, folder), threads=threads, gpu_id=gpu_id)
            made = folder / RUNS / name
            rows += srsly.read_json(made / METRICS)
            usage = srsly.read_json(made / f"evaluate-test{USAGE}")
            tested.append(usage["seconds"])
        (least, every), (steps, _), (_, often) = SHORT
        # By the clock of the process: its start differs more than some steps take
        _, first, more, scored = (row["train_seconds"] for row in rows)
        step = max(more - first, 0.0) / (steps - least)
        scoring = max(scored - first, 0.0) / (least // often - least // every)
        test_seconds = median(tested[1:])
        start = max(rows[1]["seconds"] - tested[1] - least * step - scoring, 0.0)
        found[encoder] = Rate(
            start,
            step,
            scoring / dev.words,
            test_seconds / test.words,
            max(row["peak_mb"] for row in rows),
            max(row.get("peak_gpu_mb", 0) for row in rows),
        )
        report(
            f"{encoder or 'the config'}: {start:.1f} s to start, {step:.3f} s a step, "
            f"{scoring:.1f} and {test_seconds:.1f} s to score dev and test of {job.run.corpus}"
        )
    return found


def n_steps(job: Job, train: Size) -> int:
    """Estimate how many update steps a run has.

    job (Job): The run.
    train (Size): Its training data.
    RETURNS (int): `max_steps`, or what is planned for the learning rate, or epochs by what
        is in a batch.
    """
    training: dict[str, Any] = job.config.interpolate()["training"]
    if training.get("max_steps"):
        return int(training["max_steps"])
    rate = training.get("optimizer", {}).get("learn_rate")
    if isinstance(rate, dict) and rate.get("total_steps"):
        return int(rate["total_steps"])
    batcher = training.get("batcher", {})
    size = batcher.get("size", 1000)
    if isinstance(size, dict):
        size = size.get("stop", 1000)
    by_doc = "batch_by_sequence" in batcher.get("@batchers", "")
    n = train.docs if by_doc else train.words
    return math.ceil(n / float(size)) * int(training.get("max_epochs") or 1)


def sizes_of(grid: Grid, corpora: Path, corpus: str) -> tuple[Size, Size, Size]:
    """RETURNS (tuple[Size, Size, Size]): How large the training data, dev and test of a corpus
    are.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    corpus (str): Its id.
    """
    found = []
    for split in splits_of(grid):
        docs = read_docs(corpora / corpus / f"{split}.spacy", Vocab())
        found.append(Size(len(docs), sum(len(doc) for doc in docs)))
    train, dev, test = found
    return train, dev, test


def _past(output: Path) -> dict[tuple[str, str], Measured]:
    try:
        rows = read_rows(output)
    except WeltError:
        return {}
    took: dict[tuple[str, str], list[Measured]] = {}
    for row in rows:
        told = Measured(row["seconds"], row["peak_mb"], row.get("peak_gpu_mb", 0))
        took.setdefault((row["corpus"], row["encoder"]), []).append(told)
    return {key: _typical(values) for key, values in took.items()}


def _typical(runs: Sequence[Measured]) -> Measured:
    return Measured(
        median(run.seconds for run in runs),
        max(run.peak_mb for run in runs),
        max(run.peak_gpu_mb for run in runs),
    )


def _expected(
    corpus: str,
    encoder: str,
    words: dict[str, int],
    past: dict[tuple[str, str], Measured],
) -> tuple[Measured | None, str]:
    if same := past.get((corpus, encoder)):
        return same, "runs that are done"
    others = {
        other: told._replace(seconds=told.seconds * words[corpus] / words[other])
        for (other, name), told in past.items()
        if name == encoder and words.get(other)
    }
    if not others:
        return None, "not measured"
    return _typical(
        list(others.values())
    ), f"runs on {', '.join(sorted(others))}, by words"
