"""Pipelines from disk and back: nothing is lost, whatever is asked for."""

import os
import shutil

import pytest
import spacy
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.util.pipelines import load_pipeline, replace_pipeline

from ..factories import make_examples, make_nlp, train


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    nlp = make_nlp()
    train(nlp, make_examples(nlp), steps=2)
    path = tmp_path_factory.mktemp("data") / "model"
    nlp.to_disk(path)
    return path


@pytest.fixture
def model(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def tree(path):
    return {str(p): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def replace(output, nlp, **settings):
    with replace_pipeline(output, **settings) as write:
        write(nlp)


@pytest.mark.parametrize(
    "output, part",
    [
        (".", "current folder"),
        ("..", "current folder"),
        ("../work", "current folder"),
        ("../model", "is .*model or contains it"),
        ("../thesis", "is not a pipeline"),
        ("../thesis/chapter.txt", "is not a pipeline"),
        ("../mixed", "contains notes.txt"),
        ("../file/below", "can't write here"),
    ],
)
def test_only_pipelines_are_replaced(model, tmp_path, monkeypatch, output, part):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    shutil.copytree(model, tmp_path / "mixed")
    (tmp_path / "mixed" / "notes.txt").write_text("precious")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("precious")
    monkeypatch.chdir(tmp_path / "work")
    before = tree(tmp_path)
    with pytest.raises(WeltError, match=part):
        replace(tmp_path / "work" / output, spacy.blank("en"), force=True, source=model)
    assert tree(tmp_path) == before


def test_a_pipeline_is_replaced_when_asked_to(model, tmp_path):
    before = tree(tmp_path)
    with pytest.raises(WeltError, match="exists. Use another name"):
        replace(model, spacy.blank("en"))
    assert tree(tmp_path) == before
    (tmp_path / "link").symlink_to(model)
    replace(tmp_path / "link", spacy.blank("de"), force=True)
    assert (tmp_path / "link").is_symlink() and spacy.load(model).lang == "de"
    assert sorted(os.listdir(tmp_path)) == ["link", "model"]


def test_a_failure_leaves_what_was_there(model, tmp_path, monkeypatch):
    before = tree(tmp_path)
    with pytest.raises(KeyError), replace_pipeline(model, force=True) as write:
        write(spacy.blank("en"))
        raise KeyError
    assert tree(tmp_path) == before

    def full(nlp, path, **settings):
        path.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spacy.language.Language, "to_disk", full)
    with pytest.raises(WeltError, match="No space left on device"):
        replace(model, spacy.blank("en"), force=True)
    with pytest.raises(WeltError, match="No space left on device"):
        replace(tmp_path / "deep" / "new", spacy.blank("en"))
    assert tree(tmp_path) == before and os.listdir(tmp_path) == ["model"]


def test_what_a_killed_process_left_is_put_right(model, tmp_path):
    before = tree(model)
    # Killed between two renames: the old pipeline comes back
    model.rename(tmp_path / ".model.welt-old")
    (tmp_path / ".model.welt-new").mkdir()
    with pytest.raises(WeltError, match="exists. Use another name"):
        replace(model, spacy.blank("en"))
    assert tree(model) == before and os.listdir(tmp_path) == ["model"]
    # Killed before the old one was deleted
    shutil.copytree(model, tmp_path / ".model.welt-old")
    replace(model, spacy.blank("en"), force=True)
    assert os.listdir(tmp_path) == ["model"]


def test_two_writers(model):
    with replace_pipeline(model, force=True) as write:
        with pytest.raises(WeltError, match="another process writes here"):
            replace(model, spacy.blank("en"), force=True)
        write(spacy.blank("de"))
    assert spacy.load(model).lang == "de"


@pytest.mark.parametrize(
    "name",
    [
        *("welt_ner/model", "welt_ner/cfg", "meta.json", "tokenizer", "config.cfg"),
        "vocab/strings.json",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_pipeline_is_told(model, name, damage):
    path = model / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:10])
    else:
        path.unlink()
    if (name, damage) in (("vocab/strings.json", "gone"), ("tokenizer", "gone")):
        return  # spaCy takes the defaults
    with pytest.raises(WeltError, match="model") as err:
        load_pipeline(model)
    assert "\n" not in str(err.value)


def test_labels_and_model_that_do_not_belong_together(model):
    cfg = srsly.read_json(model / "welt_ner/cfg")
    srsly.write_json(model / "welt_ner/cfg", {**cfg, "labels": ["A"]})
    with pytest.raises(WeltError, match="do not belong together"):
        load_pipeline(model)


def test_a_pipeline_of_unknown_components_is_told(model):
    text = (model / "config.cfg").read_text()
    (model / "config.cfg").write_text(text.replace('"welt_ner"\n', '"nosuch"\n'))
    with pytest.raises(WeltError, match="nosuch"):
        load_pipeline(model)
