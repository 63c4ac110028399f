"""Selected files follow everything that decides them, and finished work is not repeated."""

import importlib
import json
import os
import shutil

import pytest
from spacy.tokens import DocBin

import welt_spacy.training.selection.ifd_cache as ifd_cache
from welt_spacy.training.selection.ifd import IFDScorer, ScorerSettings
from welt_spacy.training.selection.select_file import SelectionSettings, select_file
from welt_spacy.util.fingerprint import get_versions

from ..factories import TRAIN_DATA, make_examples, make_nlp, train


def write_data(path, data):
    DocBin(docs=[eg.reference for eg in make_examples(make_nlp(), data)]).to_disk(path)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "train.spacy"
    write_data(path, TRAIN_DATA * 3)
    return path


@pytest.fixture
def by_ifd(tiny_lm, tmp_path):
    """Return settings with a language model that may be changed."""
    model = shutil.copytree(tiny_lm, tmp_path / "scorer")
    return SelectionSettings(keep=0.3, scorer=ScorerSettings(str(model)))


@pytest.fixture
def n_scored(monkeypatch):
    """Count the documents that a language model scores in each call, two in a shard."""
    monkeypatch.setattr(ifd_cache, "SHARD_SIZE", 2)
    calls = []
    score = IFDScorer.__call__

    def count(self, examples):
        calls.append(len(examples))
        return score(self, examples)

    monkeypatch.setattr(IFDScorer, "__call__", count)
    return calls


def read_rows(output):
    return [json.loads(line) for line in output.with_suffix(".jsonl").open()]


def test_a_killed_call_is_resumed(data, tmp_path, by_ifd, n_scored):
    whole, killed = tmp_path / "whole.spacy", tmp_path / "killed.spacy"
    select_file(data, whole, by_ifd)
    assert sum(n_scored) == 9
    n_scored.clear()

    def kill(done, n):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select_file(data, killed, by_ifd, report=kill)
    assert not killed.exists()
    select_file(data, killed, by_ifd)
    assert sum(n_scored) == 9
    assert killed.read_bytes() == whole.read_bytes()
    assert read_rows(killed) == read_rows(whole)


def test_a_file_that_is_up_to_date_is_not_written_again(
    data, tmp_path, by_ifd, monkeypatch
):
    output = tmp_path / "half.spacy"
    first = select_file(data, output, by_ifd)
    before = output.stat().st_mtime_ns
    name = "welt_spacy.training.selection.select_file._read_candidates"
    monkeypatch.delattr(name)
    second = select_file(data, output, by_ifd)
    assert output.stat().st_mtime_ns == before
    assert (first.is_new, second.is_new) == (True, False)
    assert first.summary == second.summary


@pytest.mark.parametrize("suffix", [".spacy", ".jsonl", ".html"])
def test_damaged_files_are_written_again(data, tmp_path, suffix):
    output = tmp_path / "half.spacy"
    settings = SelectionSettings("longest")
    select_file(data, output, settings)
    damaged = output.with_suffix(suffix)
    before = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    assert select_file(data, output, settings).is_new
    assert damaged.read_bytes() == before


def test_a_damaged_score_is_computed_again(data, tmp_path, by_ifd, n_scored):
    # The damaged shard looks like one with other scores
    output = tmp_path / "half.spacy"
    select_file(data, output, by_ifd)
    before = read_rows(output)
    shard = tmp_path / ".half.ifd" / "000000.json"
    scores = json.loads(shard.read_text())
    shard.write_text(json.dumps([[9.0, *values] for _, *values in scores]))
    output.unlink()
    n_scored.clear()
    select_file(data, output, by_ifd)
    assert n_scored == [2] and read_rows(output) == before


def change_weights(model):
    """Change the weights of a language model, but neither the size nor the time of files."""
    from safetensors.numpy import load_file, save_file

    path = model / "model.safetensors"
    stat = path.stat()
    weights = {name: -array for name, array in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})
    assert path.stat().st_size == stat.st_size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_selection_follows_the_weights_of_the_scorer(data, tmp_path, by_ifd):
    output = tmp_path / "half.spacy"
    select_file(data, output, by_ifd)
    before = read_rows(output)
    change_weights(tmp_path / "scorer")
    assert select_file(data, output, by_ifd).is_new
    assert read_rows(output) != before


def test_a_selection_follows_the_versions_of_packages(
    data, tmp_path, by_ifd, n_scored, monkeypatch
):
    select_file(data, tmp_path / "half.spacy", by_ifd)
    n_scored.clear()
    monkeypatch.setitem(get_versions(), "torch", "0.0.0")
    assert select_file(data, tmp_path / "half.spacy", by_ifd).is_new
    assert sum(n_scored) == 9


def test_a_selection_follows_its_data(data, tmp_path):
    output = tmp_path / "half.spacy"
    assert select_file(data, output, SelectionSettings("longest")).is_new
    write_data(data, TRAIN_DATA)
    assert select_file(data, output, SelectionSettings("longest")).is_new


def test_a_selection_follows_its_tagger(data, tmp_path):
    nlp, tagger = make_nlp(), tmp_path / "tagger"
    output = tmp_path / "half.spacy"
    settings = SelectionSettings("tagger_loss", tagger=tagger)
    train(nlp, make_examples(nlp), steps=1)
    nlp.to_disk(tagger)
    select_file(data, output, settings)
    assert not select_file(data, output, settings).is_new
    train(nlp, make_examples(nlp), steps=2)
    nlp.to_disk(tagger)
    assert select_file(data, output, settings).is_new


@pytest.mark.parametrize(
    "change",
    [{"keep": 0.4}, {"keep_negatives": 0.5}, {"seed": 1}, {"diverse": True}],
)
def test_a_selection_follows_its_settings(data, tmp_path, change):
    output = tmp_path / "half.spacy"
    select_file(data, output, SelectionSettings("random"))
    assert select_file(data, output, SelectionSettings("random", **change)).is_new


def test_settings_without_effect_change_nothing(data, tmp_path):
    output = tmp_path / "half.spacy"
    select_file(data, output, SelectionSettings("random"))
    settings = SelectionSettings("random", scorer=ScorerSettings("some/model"))
    assert not select_file(data, output, settings).is_new


def test_scores_are_shared_by_strategies(data, tmp_path, by_ifd, n_scored):
    output = tmp_path / "half.spacy"
    select_file(data, output, by_ifd)
    n_scored.clear()
    settings = SelectionSettings("lowest_ifd", scorer=by_ifd.scorer)
    select_file(data, output, settings)
    assert n_scored == []


def test_a_selection_follows_the_code_of_a_strategy(data, tmp_path, monkeypatch):
    code = (
        "import numpy as np\n"
        "from spacy import registry\n"
        "from welt_spacy.training.selection.strategies import Strategy\n"
        "@registry.misc('first_documents.v1')\n"
        "def make():\n"
        "    return Strategy(lambda candidates, places: -np.array(places))\n"
    )
    module, output = tmp_path / "my_strategies.py", tmp_path / "half.spacy"
    module.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("my_strategies")
    settings = SelectionSettings("first_documents.v1")
    assert select_file(data, output, settings).is_new
    assert not select_file(data, output, settings).is_new
    module.write_text(code.replace("-np", "np"))
    assert select_file(data, output, settings).is_new
