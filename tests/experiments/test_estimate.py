"""Estimates of the duration of an experiment."""

import pytest
import srsly
from thinc.api import Config

from welt_spacy.corpora.docbin import write_docs
from welt_spacy.experiments.estimate import (
    Costs,
    Rate,
    Size,
    count_steps,
    estimate,
    measure_rates,
    predict_costs,
)
from welt_spacy.experiments.jobs import make_jobs
from welt_spacy.experiments.layout import METRICS, to_json
from welt_spacy.experiments.metrics import read_metrics
from welt_spacy.experiments.workspace import Workspace

from ..factories import make_examples, make_nlp
from ..factories.experiments import SMALL, VANILLA, make_grid, put_run


def make_workspace(folder):
    """Make corpora with a train set twice as large as dev, and dev twice as large as test."""
    docs = [eg.reference for eg in make_examples(make_nlp())]
    workspace = Workspace(folder / "out", folder / "corpora")
    for corpus in ("ncbi_disease", "linnaeus"):
        for n, split in ((4, "train"), (2, "dev"), (1, "test")):
            write_docs(workspace.get_split(corpus, split), docs * n)
    return workspace


@pytest.mark.parametrize(
    "changes, steps",
    [
        ({"training.max_steps": 70}, 70),
        # 1,000 words in batches of 300 words, 5 epochs
        ({"training.batcher.size": 300}, 20),
        ({"training.batcher.size": {"@schedules": "compounding.v1", "start": 100,
                                    "stop": 500, "compound": 1.001}}, 10),
        # 40 docs in batches of 16
        ({"training.batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 16}}, 15),
        ({"training.optimizer.learn_rate": {"@schedules": "warmup_linear.v1",
          "initial_rate": 0.1, "warmup_steps": 1, "total_steps": 33}}, 33),
    ],
)  # fmt: skip
def test_steps(tmp_path, changes, steps):
    workspace = make_workspace(tmp_path)
    base = {**SMALL, "training.max_steps": 0, "training.max_epochs": 5}
    grid = make_grid(tmp_path, overrides={**base, **changes})
    (job, _) = make_jobs(grid, workspace)
    assert count_steps(job, Size(docs=40, words=1000)) == steps


def count_words():
    return sum(len(eg.reference) for eg in make_examples(make_nlp()))


def test_hours_from_known_rates(tmp_path):
    workspace, words = make_workspace(tmp_path), count_words()
    overrides = {**SMALL, "training.max_steps": 100, "training.eval_frequency": 20}
    grid = make_grid(tmp_path, overrides=overrides, tuned={"vanilla": ["o_bias"]})
    rates = {"": Rate(1.0, step=2.0, dev=0.5, test=3.0, peak_mb=900, peak_gpu_mb=50)}
    (cell,) = estimate(make_jobs(grid, workspace), workspace, rates=rates)
    assert (cell.runs, cell.left, cell.words) == (2, 2, 4 * words)
    # dev is scored at the start and after each 20 steps; the first run is tuned
    seconds = 2 * (1.0 + 100 * 2.0 + 6 * 2 * words * 0.5) + (2 + 1) * words * 3.0
    assert cell.hours == pytest.approx(seconds / 3600)
    assert (cell.peak_mb, cell.peak_gpu_mb) == (900, 50)


def test_no_hours_without_measurements(tmp_path):
    workspace, grid = make_workspace(tmp_path), make_grid(tmp_path)
    (cell,) = estimate(make_jobs(grid, workspace), workspace)
    assert cell.hours is None and cell.source == "not measured"


def test_hours_from_runs_that_are_done(tmp_path):
    workspace = make_workspace(tmp_path)
    grid = make_grid(tmp_path, tuned={}, seeds=[0, 1])
    first, *rest = make_jobs(grid, workspace)
    put_run(workspace, first, [(1, 2, 2)])
    (cell,) = estimate([first, *rest], workspace)
    assert (cell.left, cell.source) == (3, "runs that are done")
    assert cell.hours == pytest.approx(3 * 2.0 / 3600)


def test_costs_on_other_corpora_count_by_words():
    past = {("a", "x"): Costs(10.0, 500, 0), ("b", "x"): Costs(60.0, 800, 7)}
    words = {"a": 100, "b": 200, "c": 1000}
    # 0.1 and 0.3 seconds a word
    costs = Costs(200.0, 800, 7)
    assert predict_costs("c", "x", words, past) == (costs, "runs on a, b, by words")
    assert predict_costs("a", "x", words, past)[0].seconds == 10.0
    assert predict_costs("c", "y", words, past) == (None, "not measured")


def test_rates_from_short_trainings(tmp_path, monkeypatch):
    # The parts of the trainings take known times; the first takes longer, as it does
    workspace = make_workspace(tmp_path)
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    lines, calls = [], []

    def run_jobs(jobs, workspace, **options):
        (job,) = jobs
        training = Config().from_str(job.config, interpolate=False)["training"]
        calls.append((training["max_steps"], training["eval_frequency"]))
        # spaCy scores before the first step and after the last, too
        scorings = 1 + training["max_steps"] // training["eval_frequency"]
        train = 1.0 + 0.25 * training["max_steps"] + 2.0 * scorings
        path = put_run(workspace, job, [(1, 2, 2)]).path
        (row,) = read_metrics(path / METRICS)
        seconds = train + 50 * (len(calls) == 1)
        costs = {"train_seconds": seconds, "seconds": seconds + 4.0 + 3.0}
        row = row.model_copy(update={**costs, "peak_gpu_mb": 7})
        (path / METRICS).write_text(to_json([row.model_dump()]))
        srsly.write_json(path / "test.usage.json", {"seconds": 4.0})
        return []

    monkeypatch.setattr("welt_spacy.experiments.estimate.run_jobs", run_jobs)
    jobs, words = make_jobs(grid, workspace), count_words()
    rate = measure_rates(jobs, workspace, report=lines.append)[""]
    assert calls == [(10, 100), (10, 100), (40, 100), (10, 2)]
    assert rate.step == pytest.approx(0.25)
    assert rate.dev == pytest.approx(2.0 / (2 * words))
    assert rate.test == pytest.approx(4.0 / words)
    # 3 of the process, and 1 of the training before its first step
    assert rate.start == pytest.approx(4.0)
    assert (rate.peak_mb, rate.peak_gpu_mb) == (100, 7)
    assert lines == [
        "the config: 4.0 s to start, 0.250 s a step, 2.0 and 4.0 s to score dev and test of "
        "ncbi_disease"
    ]
