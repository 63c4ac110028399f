"""How long an experiment will take."""

import pytest
import srsly

from welt_spacy.corpora.convert import write_docs
from welt_spacy.experiments.estimate import (
    Measured,
    Rate,
    Size,
    _expected,
    estimate,
    measure,
    n_steps,
)
from welt_spacy.experiments.jobs import jobs_of

from ..factories import make_examples, make_nlp
from ..factories.experiments import SMALL, VANILLA, make_grid, put_run


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
    corpora = some_corpora(tmp_path)
    base = {**SMALL, "training.max_steps": 0, "training.max_epochs": 5}
    grid = make_grid(tmp_path, overrides={**base, **changes})
    assert n_steps(jobs_of(grid, corpora)[0], Size(docs=40, words=1000)) == steps


def some_corpora(folder):
    """Train twice as large as dev, and dev twice as large as test."""
    docs = [eg.reference for eg in make_examples(make_nlp())]
    for corpus in ("ncbi_disease", "linnaeus"):
        for n, split in ((4, "train"), (2, "dev"), (1, "test")):
            write_docs(folder / "corpora" / corpus / f"{split}.spacy", docs * n)
    return folder / "corpora"


def test_hours_of_known_rates(tmp_path):
    corpora = some_corpora(tmp_path)
    overrides = {**SMALL, "training.max_steps": 100, "training.eval_frequency": 20}
    grid = make_grid(tmp_path, overrides=overrides, tuned={"vanilla": ["o_bias"]})
    jobs = jobs_of(grid, corpora)
    words = sum(len(eg.reference) for eg in make_examples(make_nlp()))
    rates = {"": Rate(1.0, step=2.0, dev=0.5, test=3.0, peak_mb=900, peak_gpu_mb=50)}
    (found,) = estimate(jobs, grid, corpora, tmp_path / "out", rates=rates)
    assert (found.runs, found.left, found.words) == (2, 2, 4 * words)
    # dev is scored at the start and after each 20 steps; the first run is tuned
    seconds = 2 * (1.0 + 100 * 2.0 + 6 * 2 * words * 0.5) + (2 + 1) * words * 3.0
    assert found.hours == pytest.approx(seconds / 3600)
    assert (found.peak_mb, found.peak_gpu_mb) == (900, 50)
    (unknown,) = estimate(jobs, grid, corpora, tmp_path / "out")
    assert unknown.hours is None and unknown.source == "not measured"


def test_from_other_corpora_by_words():
    past = {("a", "x"): Measured(10.0, 500, 0), ("b", "x"): Measured(60.0, 800, 7)}
    words = {"a": 100, "b": 200, "c": 1000}
    # 0.1 and 0.3 seconds a word
    assert _expected("c", "x", words, past) == (
        Measured(200.0, 800, 7),
        "runs on a, b, by words",
    )
    assert _expected("a", "x", words, past)[0].seconds == 10.0
    assert _expected("c", "y", words, past) == (None, "not measured")


def test_measured_by_short_trainings(tmp_path, monkeypatch):
    """Trainings whose parts take known times; the first takes longer, as it does."""
    corpora = some_corpora(tmp_path)
    grid = make_grid(tmp_path, schemes={"vanilla": VANILLA}, tuned={})
    told, begun = [], []

    def execute(job, grid, corpora, output, **options):
        training = job.config["training"]
        begun.append((training["max_steps"], training["eval_frequency"]))
        # spaCy scores before the first step and after the last, too
        scorings = 1 + training["max_steps"] // training["eval_frequency"]
        train = 1.0 + 0.25 * training["max_steps"] + 2.0 * scorings
        folder = put_run(output, job.run, [[1, 2, 2]])
        folder = folder.rename(folder.with_name(job.name))
        (row,) = srsly.read_json(folder / "metrics.json")
        row["train_seconds"] = train + 50 * (len(begun) == 1)
        row["seconds"] = row["train_seconds"] + 4.0 + 3.0
        row["peak_gpu_mb"] = 7
        srsly.write_json(folder / "metrics.json", [row])
        srsly.write_json(folder / "evaluate-test.usage.json", {"seconds": 4.0})

    monkeypatch.setattr("welt_spacy.experiments.estimate.execute", execute)
    jobs = jobs_of(grid, corpora)
    rate = measure(jobs, grid, corpora, tmp_path / "short", report=told.append)[""]
    assert begun == [(10, 100), (10, 100), (40, 100), (10, 2)]
    words = sum(len(eg.reference) for eg in make_examples(make_nlp()))
    assert rate.step == pytest.approx(0.25)
    assert rate.dev == pytest.approx(2.0 / (2 * words))
    assert rate.test == pytest.approx(4.0 / words)
    # 3 of the process, and 1 of the training before its first step
    assert rate.start == pytest.approx(4.0)
    assert (rate.peak_mb, rate.peak_gpu_mb) == (100, 7)
    assert told == [
        "the config: 4.0 s to start, 0.250 s a step, 2.0 and 4.0 s to score dev and test of "
        "ncbi_disease"
    ]
