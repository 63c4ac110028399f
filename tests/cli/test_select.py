"""`spacy welt select`: options, tables, files and mistakes."""

import json

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.util import has_cupy_gpu

from ..factories import (
    TRAIN_DATA,
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
)
from ..factories import train as train_nlp

SUFFIXES = (".spacy", ".jsonl", ".html", ".json")


def write(path, data=TRAIN_DATA):
    nlp = make_nlp()
    DocBin(docs=[eg.reference for eg in make_examples(nlp, data)]).to_disk(path)
    return path


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train.spacy", TRAIN_DATA * 3)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "half.spacy"


def select(*arguments):
    result = run_command("select", *arguments)
    assert result.exit_code == 0, result.output
    return result


def test_selected_documents_are_written(train, output):
    select(train, output, "--strategy", "most_mentions", "--keep-negatives", "0")
    docs = list(DocBin().from_disk(output).get_docs(spacy.blank("en").vocab))
    assert len(docs) == 6  # two of three for each set of labels
    assert all(doc.ents for doc in docs)


def test_a_row_for_each_document_is_written(train, output):
    select(train, output, "--strategy", "most_mentions", "--keep-negatives", "0")
    rows = [json.loads(line) for line in output.with_suffix(".jsonl").open()]
    assert [row["doc"] for row in rows] == list(range(12))
    assert [row["selected"] for row in rows].count(True) == 6


def test_counts_are_written(train, output):
    select(train, output, "--strategy", "most_mentions", "--keep-negatives", "0")
    summary = json.loads(output.with_suffix(".json").read_text())["summary"]
    assert summary["all"]["mentions"] == {"Chemical": 9, "Disease": 9}
    assert summary["selected"]["negative"] == 0


def test_the_page_needs_no_network(train, output):
    select(train, output, "--strategy", "most_mentions")
    page = output.with_suffix(".html").read_text()
    assert "most_mentions of train.spacy" in page and "://" not in page


@pytest.mark.parametrize("strategy", ["tagger_loss", "tagger_confidence"])
def test_selection_by_a_tagger(train, output, tmp_path, strategy):
    nlp = make_nlp()
    train_nlp(nlp, make_examples(nlp), steps=2)
    nlp.to_disk(tmp_path / "tagger")
    select(train, output, "-s", strategy, "--tagger", tmp_path / "tagger")
    (row, *_) = map(json.loads, output.with_suffix(".jsonl").open())
    assert row[strategy] is not None


def test_selection_by_ifd(train, output, tiny_lm):
    result = select(train, output, "--scorer-model", tiny_lm, "--keep", 0.3)
    assert "Rank correlation of IFD with mentions" in result.stdout
    assert "At IFD 1 or above" in result.stdout


def test_the_same_command_again_is_up_to_date(train, output):
    first = select(train, output, "-s", "longest")
    second = select(train, output, "-s", "longest")
    assert f"{output} is up to date" in second.stdout
    # with the same table
    assert first.stdout.splitlines()[:5] == second.stdout.splitlines()[:5]


@pytest.mark.parametrize(
    "options, parts",
    [
        ([], ["--scorer-model"]),
        (["-s", "tagger_loss"], ["--tagger"]),
        (["-s", "best"], ["'best'", "longest"]),
        (["-s", "longest", "--keep", 0], ["keep"]),
        (["-s", "longest", "--keep-negatives", "some"], ["--keep-negatives"]),
        (["-s", "longest", "--keep-negatives", 2], ["keep_negatives"]),
        (["--scorer-model", "./missing"], ["./missing"]),
        (["--scorer-model", "x", "--ifd-variant", "best"], ["ppl_ratio"]),
    ],
)
def test_wrong_options(train, output, options, parts):
    fails_with_one_line(run_command("select", train, output, *options), *parts)
    assert not any(output.with_suffix(suffix).exists() for suffix in SUFFIXES)


def test_wrong_files(train, output, tmp_path):
    fails_with_one_line(
        run_command("select", train, train, "-s", "all"), "another name"
    )
    fails_with_one_line(
        run_command("select", train, tmp_path / "x.txt", "-s", "all"), ".spacy"
    )
    missing = tmp_path / "missing.spacy"
    fails_with_one_line(
        run_command("select", missing, output, "-s", "all"), "missing.spacy"
    )
    empty = write(tmp_path / "empty.spacy", [("Nothing.", [])])
    fails_with_one_line(
        run_command("select", empty, output, "-s", "all"), "no entities"
    )
    assert not any(output.with_suffix(suffix).exists() for suffix in SUFFIXES)


def test_files_of_others_are_replaced_by_force_alone(train, output):
    page = output.with_suffix(".html")
    page.write_text("mine")
    fails_with_one_line(run_command("select", train, output, "-s", "all"), "half.html")
    assert page.read_text() == "mine" and not output.exists()
    select(train, output, "-s", "all", "--force")
    assert page.read_text() != "mine"
    select(train, output, "-s", "longest")


@pytest.mark.skipif(has_cupy_gpu, reason="there is a GPU")
def test_a_gpu_that_does_not_exist(train, output, tiny_lm):
    options = ("--scorer-model", tiny_lm, "--gpu-id", 0)
    fails_with_one_line(run_command("select", train, output, *options), "GPU 0")
