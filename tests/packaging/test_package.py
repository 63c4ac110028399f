"""Packages of trained pipelines: a wheel that `push` takes, with scores and a card."""

import subprocess
import sys
import zipfile

import pytest
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.evaluate import evaluate
from welt_spacy.packaging.package import package_pipeline
from welt_spacy.packaging.push import read_package, write_repository

from ..factories import make_examples, make_nlp, train

ABOUT = {
    "corpus": "bc5cdr",
    "title": "BC5CDR",
    "source": "somewhere",
    "licence": "CC-BY-4.0",
    "citation": "Li et al. (2016)",
    "sha256": {"test": "0f3a"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    nlp = make_nlp()
    train(nlp, make_examples(nlp), steps=2)
    nlp.to_disk(folder / "model")
    evaluation = evaluate(nlp, make_examples(nlp))
    srsly.write_json(folder / "metrics.json", evaluation.to_dict())
    srsly.write_json(folder / "corpus.json", ABOUT)
    return folder


@pytest.fixture(scope="module")
def packaged(trained):
    return package_pipeline(
        trained / "model",
        trained / "metrics.json",
        trained / "packages",
        corpus=trained / "corpus.json",
        name="welt_bc5cdr",
        version="1.2.3",
    )


def test_the_wheel_has_scores_and_provenance(trained, packaged):
    assert packaged.wheel.name == "en_welt_bc5cdr-1.2.3-py3-none-any.whl"
    meta = read_package(packaged.wheel).meta
    scores = srsly.read_json(trained / "metrics.json")
    assert meta["performance"]["ents_f"] == scores["strict"]["f"]
    assert meta["sources"][0]["license"] == "CC-BY-4.0"
    assert meta["evaluation"]["revision"] == "0f3a"


def test_the_wheel_has_the_card(packaged):
    with zipfile.ZipFile(packaged.wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("1.2.3/README.md")]
        card = archive.read(name).decode("utf8")
    assert card.startswith("# en_welt_bc5cdr\n") and "Li et al. (2016)" in card
    hub_card = packaged.card.read_text("utf8")
    assert hub_card.startswith("---\n") and hub_card.endswith(card)


def test_push_takes_the_wheel(packaged, tmp_path):
    write_repository(read_package(packaged.wheel), tmp_path / "repository")
    assert (tmp_path / "repository/config.cfg").is_file()


def test_the_command_without_a_corpus(trained, tmp_path):
    command = [
        *(sys.executable, "-m", "welt_spacy", "package", str(trained / "model")),
        *(str(trained / "metrics.json"), str(tmp_path), "--name", "mine"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("en_mine-*.whl")
    assert str(wheel) in done.stdout
    card = next(tmp_path.glob("*.README.md")).read_text("utf8")
    assert "unpublished data" in card and "Licence: " not in card
    assert "\n\n\n" not in card


@pytest.mark.parametrize("name", ["model", "metrics.json", "corpus.json"])
@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_wrong_inputs_are_one_line(trained, tmp_path, name, content):
    paths = {key: trained / key for key in ("model", "metrics.json", "corpus.json")}
    paths[name] = tmp_path / name
    if content is not None:
        (tmp_path / name).write_text(content)
    model, metrics, corpus = paths.values()
    with pytest.raises(WeltError, match=name) as err:
        package_pipeline(model, metrics, tmp_path / "out", corpus=corpus)
    assert "\n" not in str(err.value) and not (tmp_path / "out").exists()
