"""Estimate how long an experiment will take, from measurements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean, median
from typing import Any, NamedTuple

import srsly
from spacy.vocab import Vocab
from thinc.api import Config

from ..errors import WeltError
from ..tokens.docs import read_docs
from .jobs import Job
from .layout import METRICS
from .local import run_jobs
from .metrics import Metrics, read_metrics
from .results import read_all_rows
from .steps import USAGE
from .workspace import Workspace

# Steps of short trainings, and steps between two scorings of dev. The difference between the
# first and another one is the cost of a step or of a scoring.
SHORT = ((10, 100), (40, 100), (10, 2))


class Estimate(NamedTuple):
    """The cost of the runs of a corpus and an encoder.

    corpus, encoder (str): The runs.
    runs, left (int): Number of runs, and of those that are not done.
    words (int): Words of the training data.
    hours (float | None): Duration of the runs that are left, one after another; None if
        nothing was measured.
    peak_mb, peak_gpu_mb (float | None): Memory of a run, and of torch on a GPU.
    source (str): The origin of the estimate.
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


class Costs(NamedTuple):
    """The costs of a run.

    seconds (float): Its duration.
    peak_mb, peak_gpu_mb (float): Memory of its process, and of torch on a GPU.
    """

    seconds: float
    peak_mb: float
    peak_gpu_mb: float


class Rate(NamedTuple):
    """The costs of an encoder.

    start (float): Seconds until the first update.
    step (float): Seconds of an update.
    dev, test (float): Seconds to score a word of dev during training, and of test at the end.
    peak_mb, peak_gpu_mb (float): As in `Costs`.
    """

    start: float
    step: float
    dev: float
    test: float
    peak_mb: float
    peak_gpu_mb: float


class Size(NamedTuple):
    """The number of documents and words of a split."""

    docs: int
    words: int


def estimate(
    jobs: list[Job],
    workspace: Workspace,
    *,
    rates: dict[str, Rate] | None = None,
) -> list[Estimate]:
    """Estimate the duration of the runs of an experiment that are not done.

    jobs (list[Job]): The runs.
    workspace (Workspace): The places of the experiment.
    rates (dict[str, Rate] | None): Costs of each encoder, as returned by `measure_rates`.
        Without them, runs that are done count: of the same corpus and encoder, else of the
        encoder on other corpora, in proportion to the words of the training data.
    RETURNS (list[Estimate]): An estimate for each corpus and encoder.
    """
    cells: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        cells.setdefault((job.run.corpus, job.run.encoder), []).append(job)
    first = {corpus: cell[0] for (corpus, _), cell in cells.items()}
    sizes = {corpus: read_sizes(job, workspace) for corpus, job in first.items()}
    words = {corpus: split_sizes[0].words for corpus, split_sizes in sizes.items()}
    past = _get_past_costs(workspace)
    estimates = []
    for (corpus, encoder), cell in sorted(cells.items()):
        left = [job for job in cell if not job.is_done(workspace)]
        costs, source = predict_costs(corpus, encoder, words, past)
        if rates and encoder in rates:
            rate = rates[encoder]
            seconds = mean(
                _compute_seconds(job, rate, sizes[corpus]) for job in left or cell
            )
            costs = Costs(seconds, rate.peak_mb, rate.peak_gpu_mb)
            source = f"{SHORT[1][0] - SHORT[0][0]} steps, measured now"
        estimates.append(
            Estimate(
                corpus,
                encoder,
                len(cell),
                len(left),
                words[corpus],
                costs and costs.seconds * len(left) / 3600,
                costs and costs.peak_mb,
                costs and costs.peak_gpu_mb,
                source,
            )
        )
    return estimates


def measure_rates(
    jobs: list[Job],
    workspace: Workspace,
    *,
    gpu_id: int = -1,
    threads: int = 1,
    report: Callable[[str], None] = print,
) -> dict[str, Rate]:
    """Measure the costs of each encoder by short trainings on its first corpus.

    jobs (list[Job]): The runs of an experiment.
    workspace (Workspace): A temporary folder for the trainings, and the corpora.
    gpu_id (int): The GPU; -1 for the CPU.
    threads (int): Threads of a training.
    report (Callable[[str], None]): Called with a line about each encoder.
    RETURNS (dict[str, Rate]): Encoder -> costs.
    RAISES (WeltError): If a training fails.
    """
    rates: dict[str, Rate] = {}
    for encoder in dict.fromkeys(job.run.encoder for job in jobs):
        job = next(job for job in jobs if job.run.encoder == encoder)
        # Once more at the beginning, for what is fetched and cached
        rows, tests = [], []
        for number, (steps, every) in enumerate((SHORT[0], *SHORT)):
            row, seconds = _measure_run(
                _shorten(job, number, steps, every), workspace, gpu_id, threads
            )
            rows.append(row)
            tests.append(seconds)
        rates[encoder] = rate = _compute_rate(rows, tests, read_sizes(job, workspace))
        _, dev, test = read_sizes(job, workspace)
        report(
            f"{encoder or 'the config'}: {rate.start:.1f} s to start, {rate.step:.3f} s a "
            f"step, {rate.dev * dev.words:.1f} and {rate.test * test.words:.1f} s to score dev "
            f"and test of {job.run.corpus}"
        )
    return rates


def _measure_run(
    job: Job, workspace: Workspace, gpu_id: int, threads: int
) -> tuple[Metrics, float]:
    """Run a job and return its metrics and the seconds of the evaluation."""
    gpus = [gpu_id] if gpu_id >= 0 else []
    failed = run_jobs(
        [job], workspace, gpus=gpus, threads=threads, report=lambda line: None
    )
    if failed:
        raise WeltError(failed[0])
    folder = workspace.get_run(job.name).path
    (row,) = read_metrics(folder / METRICS)
    return row, srsly.read_json(folder / f"test{USAGE}")["seconds"]


def _shorten(job: Job, number: int, steps: int, every: int) -> Job:
    """Return a job with a short training, without tuning, and with a name of its own."""
    config = _read_config(job)
    config["training"].update(max_steps=steps, max_epochs=0, eval_frequency=every)
    settings = {**job.fingerprint.settings, "measurement": number}
    return replace(
        job,
        run=replace(job.run, tuned=()),
        config=config.to_str(interpolate=False),
        fingerprint=replace(job.fingerprint, settings=settings),
    )


def _compute_rate(
    rows: Sequence[Metrics], tests: Sequence[float], sizes: Sequence[Size]
) -> Rate:
    _, dev, test = sizes
    (few, every), (many, _), (_, often) = SHORT
    # Of the training alone: the start of a process differs by more than a few steps take
    _, first, longer, scored = (row.train_seconds for row in rows)
    step = max(longer - first, 0.0) / (many - few)
    scoring = max(scored - first, 0.0) / (few // often - few // every)
    start = max(rows[1].seconds - tests[1] - few * step - scoring, 0.0)
    return Rate(
        start,
        step,
        scoring / dev.words,
        median(tests[1:]) / test.words,
        max(row.peak_mb for row in rows),
        max(row.peak_gpu_mb for row in rows),
    )


def _compute_seconds(job: Job, rate: Rate, sizes: Sequence[Size]) -> float:
    train, dev, test = sizes
    steps = count_steps(job, train)
    every = int(_read_config(job)["training"].get("eval_frequency") or 200)
    scorings = 1 + steps // every
    tests = test.words * rate.test * len(job.scored)
    training = steps * rate.step + scorings * dev.words * rate.dev
    return rate.start + training + tests


def count_steps(job: Job, train: Size) -> int:
    """Estimate the number of update steps of a run: `max_steps`, or the steps of the learning
    rate, or epochs divided by the size of a batch.
    """
    training: dict[str, Any] = _read_config(job).interpolate()["training"]
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


def read_sizes(job: Job, workspace: Workspace) -> tuple[Size, Size, Size]:
    """Return the sizes of the splits for training, dev and test."""
    sizes = []
    for split in job.splits:
        docs = read_docs(workspace.get_split(job.run.corpus, split), Vocab())
        sizes.append(Size(len(docs), sum(len(doc) for doc in docs)))
    train, dev, test = sizes
    return train, dev, test


def _get_past_costs(workspace: Workspace) -> dict[tuple[str, str], Costs]:
    try:
        rows = read_all_rows(workspace)
    except WeltError:
        return {}
    costs: dict[tuple[str, str], list[Costs]] = {}
    for row in rows:
        run = Costs(row.seconds, row.peak_mb, row.peak_gpu_mb)
        costs.setdefault((row.corpus, row.encoder), []).append(run)
    return {key: _summarize(values) for key, values in costs.items()}


def _summarize(runs: Sequence[Costs]) -> Costs:
    return Costs(
        median(run.seconds for run in runs),
        max(run.peak_mb for run in runs),
        max(run.peak_gpu_mb for run in runs),
    )


def predict_costs(
    corpus: str,
    encoder: str,
    words: dict[str, int],
    past: dict[tuple[str, str], Costs],
) -> tuple[Costs | None, str]:
    """Predict the costs of a run from past runs, by corpus and encoder, and name the source."""
    if same := past.get((corpus, encoder)):
        return same, "runs that are done"
    others = {
        other: costs._replace(seconds=costs.seconds * words[corpus] / words[other])
        for (other, name), costs in past.items()
        if name == encoder and words.get(other)
    }
    if not others:
        return None, "not measured"
    names = ", ".join(sorted(others))
    return _summarize(list(others.values())), f"runs on {names}, by words"


def _read_config(job: Job) -> Config:
    return Config().from_str(job.config, interpolate=False)
