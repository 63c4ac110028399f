"""How long an experiment will take, from what was measured."""

import math
import time
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from spacy.vocab import Vocab

from ..errors import WeltError
from ..io import read_docs
from .grid import Grid
from .jobs import Job, is_done, splits_of
from .results import read_rows
from .runs import execute

# Steps of the two short trainings of which the difference is measured
SHORT = (10, 40)


class Estimate(NamedTuple):
    """What the runs of a corpus and an encoder will take.

    corpus, encoder (str): Which.
    runs, left (int): How many, and how many are not done.
    words (int): Words of the training data.
    hours (Optional[float]): Of those that are left, one after another; None if nothing was
        measured.
    peak_mb (Optional[float]): Memory of a run.
    source (str): What it was measured on.
    """

    corpus: str
    encoder: str
    runs: int
    left: int
    words: int
    hours: Optional[float]
    peak_mb: Optional[float]
    source: str


class Measured(NamedTuple):
    """What a run took.

    seconds (float): Of all of it, or of each step.
    peak_mb (float): Memory of its largest process.
    """

    seconds: float
    peak_mb: float


def estimate(
    jobs: List[Job],
    grid: Grid,
    corpora: Path,
    output: Path,
    *,
    rates: Optional[Dict[str, Measured]] = None,
) -> List[Estimate]:
    """Estimate what is left of an experiment.

    jobs (List[Job]): Its runs.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    output (Path): Its folder.
    rates (Optional[Dict[str, Measured]]): For each encoder the seconds of a step, as told by
        `measure`. Where they are not given, runs that are done count: of the same corpus and
        encoder, else of the encoder on other corpora by the words of the training data.
    RETURNS (List[Estimate]): For each corpus and encoder.
    """
    words = {corpus: count_words(grid, corpora, corpus) for corpus in grid.corpora}
    past = _past(output)
    by_cell: Dict[Tuple[str, str], List[Job]] = {}
    for job in jobs:
        by_cell.setdefault((job.run.corpus, job.run.encoder), []).append(job)
    found = []
    for (corpus, encoder), cell in sorted(by_cell.items()):
        left = [job for job in cell if not is_done(job, output)]
        seconds, peak, source = _expected(corpus, encoder, words, past)
        if rates and encoder in rates:
            rate = rates[encoder]
            steps = median(n_steps(job, words[corpus]) for job in cell)
            seconds, peak = rate.seconds * steps, rate.peak_mb
            source = f"{SHORT[1] - SHORT[0]} steps, measured now"
        hours = None if seconds is None else seconds * len(left) / 3600
        found.append(
            Estimate(
                corpus,
                encoder,
                len(cell),
                len(left),
                words[corpus],
                hours,
                peak,
                source,
            )
        )
    return found


def measure(
    jobs: List[Job],
    grid: Grid,
    corpora: Path,
    folder: Path,
    *,
    threads: int = 1,
    gpu_id: int = -1,
    report: Callable[[str], None] = print,
) -> Dict[str, Measured]:
    """Measure how long a step of each encoder takes, by two short trainings.

    jobs (List[Job]): The runs of an experiment.
    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    folder (Path): Where to train; it can be deleted afterwards.
    threads (int): Threads of a training.
    gpu_id (int): As of `spacy train`.
    report (Callable[[str], None]): Is given a line about each encoder.
    RETURNS (Dict[str, Measured]): Encoder -> seconds of a step, and memory.
    RAISES (WeltError): If a training fails.
    """
    found: Dict[str, Measured] = {}
    for encoder in dict.fromkeys(job.run.encoder for job in jobs):
        job = next(job for job in jobs if job.run.encoder == encoder)
        took = []
        for steps in SHORT:
            config = job.config.copy()
            config["training"].update(
                max_steps=steps, max_epochs=0, eval_frequency=10 * steps
            )
            run = type(job.run)(**{**vars(job.run), "tuned": ()})
            short = job._replace(
                run=run, config=config, name=f"measure-{encoder or 'run'}-{steps}"
            )
            began = time.perf_counter()
            execute(
                *(short, grid, corpora, folder),
                threads=threads,
                gpu_id=gpu_id,
            )
            took.append(time.perf_counter() - began)
        rows = [row for row in read_rows(folder) if row["encoder"] == encoder]
        seconds = max(took[1] - took[0], 0.0) / (SHORT[1] - SHORT[0])
        found[encoder] = Measured(seconds, max(row["peak_mb"] for row in rows))
        report(f"{encoder or 'the config'}: {seconds:.2f} s a step")
    return found


def n_steps(job: Job, words: int) -> float:
    """Estimate how many update steps a run has.

    job (Job): The run.
    words (int): Words of its training data.
    RETURNS (float): `max_steps`, or what is planned for the learning rate, or epochs by
        words where a batch has words.
    """
    training: Dict[str, Any] = job.config.interpolate()["training"]
    if training.get("max_steps"):
        return float(training["max_steps"])
    rate = training.get("optimizer", {}).get("learn_rate")
    if isinstance(rate, dict) and rate.get("total_steps"):
        return float(rate["total_steps"])
    size = training.get("batcher", {}).get("size", 1000)
    if isinstance(size, dict):
        size = size.get("stop", 1000)
    return math.ceil(words / float(size)) * float(training.get("max_epochs") or 1)


def count_words(grid: Grid, corpora: Path, corpus: str) -> int:
    """RETURNS (int): Words of the training data of a corpus.

    grid (Grid): The experiment.
    corpora (Path): The folder of the converted corpora.
    corpus (str): Its id.
    """
    path = corpora / corpus / f"{splits_of(grid)[0]}.spacy"
    return sum(len(doc) for doc in read_docs(path, Vocab()))


def _past(output: Path) -> Dict[Tuple[str, str], Measured]:
    try:
        rows = read_rows(output)
    except WeltError:
        return {}
    took: Dict[Tuple[str, str], List[Tuple[float, float]]] = {}
    for row in rows:
        key = (row["corpus"], row["encoder"])
        took.setdefault(key, []).append((row["seconds"], row["peak_mb"]))
    return {
        key: Measured(median(s for s, _ in values), max(mb for _, mb in values))
        for key, values in took.items()
    }


def _expected(
    corpus: str,
    encoder: str,
    words: Dict[str, int],
    past: Dict[Tuple[str, str], Measured],
) -> Tuple[Optional[float], Optional[float], str]:
    if same := past.get((corpus, encoder)):
        return same.seconds, same.peak_mb, "runs that are done"
    others = {
        other: told
        for (other, name), told in past.items()
        if name == encoder and words.get(other)
    }
    if not others:
        return None, None, "not measured"
    rate = median(told.seconds / words[other] for other, told in others.items())
    peak = max(told.peak_mb for told in others.values())
    return rate * words[corpus], peak, f"runs on {', '.join(sorted(others))}, by words"
