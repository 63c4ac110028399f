"""`spacy welt select`, as its users see it."""

import json

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.util import has_cupy_gpu

import welt_spacy.training.selection.ifd_cache as scoring
from welt_spacy.training.selection.ifd import IFDScorer

from ..factories import (
    TRAIN_DATA,
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
)
from ..factories import train as train_nlp

ENDS = (".spacy", ".jsonl", ".html", ".json")


def write(path, data=TRAIN_DATA):
    nlp = make_nlp()
    DocBin(docs=[eg.reference for eg in make_examples(nlp, data)]).to_disk(path)
    return path


def read(path):
    return [
        doc.text for doc in DocBin().from_disk(path).get_docs(spacy.blank("en").vocab)
    ]


@pytest.fixture
def train(tmp_path):
    return write(tmp_path / "train.spacy", TRAIN_DATA * 3)


def test_controls_need_no_model(train, tmp_path):
    out = tmp_path / "half.spacy"
    done = run_command(
        "select", train, out, "--strategy", "most_mentions", "--negatives", "0"
    )
    assert done.exit_code == 0, done.output
    assert len(read(out)) == 6  # two of three for each set of labels
    rows = [json.loads(line) for line in out.with_suffix(".jsonl").open()]
    assert [row["kept"] for row in rows].count(True) == 6
    assert [row["doc"] for row in rows] == list(range(12))
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["found"]["all"]["mentions"] == {"Chemical": 9, "Disease": 9}
    assert record["found"]["kept"]["negative"] == 0
    page = out.with_suffix(".html").read_text()
    assert "most_mentions of train.spacy" in page and "://" not in page
    nlp = spacy.load(trained(tmp_path))
    for name in ("tagger_loss", "tagger_confidence"):
        again = run_command(
            "select", train, out, "-s", name, "--tagger", tmp_path / "tagger"
        )
        assert again.exit_code == 0, again.output
    assert nlp.pipe_names == ["welt_ner"]


def trained(path):
    nlp = make_nlp()
    train_nlp(nlp, make_examples(nlp), steps=2)
    nlp.to_disk(path / "tagger")
    return path / "tagger"


def test_killed_and_taken_up_again(train, tmp_path, tiny_lm, monkeypatch):
    def choose(name):
        out = tmp_path / name
        return out, run_command("select", train, out, "--weak", tiny_lm, "--keep", 0.3)

    monkeypatch.setattr(scoring, "PIECE", 2)
    whole, done = choose("whole.spacy")
    assert done.exit_code == 0, done.output
    assert "Rank correlation" in done.stdout
    calls = []
    score = IFDScorer.__call__

    def counted(self, examples):
        calls.append(len(examples))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, examples)

    monkeypatch.setattr(IFDScorer, "__call__", counted)
    out, killed = choose("killed.spacy")
    assert killed.exit_code != 0 and not out.exists()
    out, done = choose("killed.spacy")
    assert done.exit_code == 0 and sum(calls) == 9 + 2  # only the third piece twice
    assert read(out) == read(whole)
    told = [path.with_suffix(".jsonl").open() for path in (out, whole)]
    for row, other in zip(*(map(json.loads, lines) for lines in told)):
        assert row["kept"] == other["kept"]
        assert row.get("ifd") == pytest.approx(other.get("ifd"), abs=1e-6)
    calls.clear()
    assert choose("killed.spacy")[1].exit_code == 0 and calls == []
    # A damaged piece is scored again
    piece = next((tmp_path / ".killed.ifd").iterdir())
    piece.write_text("[[1,")
    assert choose("killed.spacy")[1].exit_code == 0 and len(calls) == 1


def test_mistakes(train, tmp_path, tiny_lm):
    out = tmp_path / "half.spacy"
    fails_with_one_line(run_command("select", train, out), "--weak")
    fails_with_one_line(
        run_command("select", train, out, "-s", "tagger_loss"), "--tagger"
    )
    fails_with_one_line(
        run_command("select", train, out, "-s", "best"), "'best'", "longest"
    )
    fails_with_one_line(
        run_command("select", train, train, "-s", "all"), "another name"
    )
    fails_with_one_line(
        run_command("select", train, tmp_path / "x.txt", "-s", "all"), ".spacy"
    )
    for options in (["--keep", 0], ["--negatives", "some"], ["--negatives", 2]):
        fails_with_one_line(
            run_command("select", train, out, "-s", "longest", *options)
        )
    fails_with_one_line(
        run_command("select", train, out, "--weak", tmp_path / "no"), "no"
    )
    fails_with_one_line(
        run_command("select", train, out, "--weak", tiny_lm, "--ifd", "best"),
        "ppl_ratio",
    )
    empty = write(tmp_path / "empty.spacy", [("Nothing.", [])])
    fails_with_one_line(run_command("select", empty, out, "-s", "all"), "no entities")
    assert not any(out.with_suffix(end).exists() for end in ENDS)
    # What others wrote stays
    out.with_suffix(".html").write_text("mine")
    fails_with_one_line(
        run_command("select", train, out, "-s", "all"), "half.html", "--force"
    )
    assert out.with_suffix(".html").read_text() == "mine" and not out.exists()
    assert run_command("select", train, out, "-s", "all", "--force").exit_code == 0
    assert run_command("select", train, out, "-s", "longest").exit_code == 0


@pytest.mark.skipif(has_cupy_gpu, reason="there is a GPU")
def test_a_gpu_that_is_not_there(train, tmp_path, tiny_lm):
    options = ("--weak", tiny_lm, "--gpu-id", 0)
    fails_with_one_line(
        run_command("select", train, tmp_path / "x.spacy", *options), "GPU 0"
    )
