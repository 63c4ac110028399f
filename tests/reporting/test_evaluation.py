"""Reports and comparisons against the scorers they are made of."""

import json

import pytest
from spacy.tokens import DocBin
from typer.testing import CliRunner

from welt_spacy.cli import app
from welt_spacy.data import read_examples
from welt_spacy.reporting.evaluation import compare, evaluate, predict
from welt_spacy.scoring.errors import count_mentions
from welt_spacy.scoring.fair import fair_score

from ..util import make_examples, make_nlp, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline that finds everything, the same so biased that it finds nothing, and
    data."""
    folder = tmp_path_factory.mktemp("evaluation")
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    nlp.to_disk(folder / "good")
    nlp.get_pipe("welt_ner").o_bias = 100.0
    nlp.to_disk(folder / "bad")
    docs = [eg.reference for eg in make_examples(nlp)]
    DocBin(docs=docs).to_disk(folder / "test.spacy")
    return folder


@pytest.fixture(scope="module")
def pipelines(folder):
    from spacy import load

    return [load(folder / name) for name in ("good", "bad")]


def test_report_is_what_the_scorers_say(pipelines):
    for nlp in pipelines:
        examples = make_examples(nlp)
        found = evaluate(nlp, examples, mentions=count_mentions([]))
        scores = fair_score(examples)
        for name in "prf":
            assert found["strict"][name] == pytest.approx(scores[f"ents_{name}"])
            assert found["fair"][name] == pytest.approx(scores[f"fair_{name}"])
            low, high = found["intervals"][name]
            assert low <= found["strict"][name] <= high
        assert found["gold"] == 6 and found["docs"] == 4
        n_wrong = sum(n for kind, n in found["counts"].items() if kind != "TP")
        assert sum(found["errors"].values()) == n_wrong
        assert sum(row["n"] for row in found["confusion"]) == n_wrong
        assert set(found["slices"]["mention in train"]) <= {"unseen"}
        assert sum(b["n"] for b in found["calibration"]["bins"]) == found["predicted"]
        assert json.loads(json.dumps(found)) == found


def test_comparison_lists_what_changed(pipelines):
    sides = []
    for nlp in pipelines:
        sides.append(make_examples(nlp))
        predict(nlp, sides[-1])
    found = compare(*sides)
    assert found["difference"] == 1.0 and found["interval"] == [1.0, 1.0]
    assert len(found["fixed"]) == 6 and not found["broken"]
    change = found["fixed"][0]
    assert change["gold"] and change["label"] == "Chemical"
    text = change["text"][change["start"] : change["end"]]
    assert text in [ent.text for ent in sides[0][change["doc"]].reference.ents]
    back = compare(*reversed(sides))
    assert back["difference"] == -found["difference"]
    assert back["broken"] == found["fixed"]


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_evaluate_command(folder, tmp_path):
    result = run(
        *("evaluate", folder / "good", folder / "test.spacy"),
        *("--train", folder / "test.spacy", "--json", tmp_path / "scores.json"),
    )
    assert result.exit_code == 0, result.stderr
    for part in ("strict", "fair", "weighted", "95 % intervals", "seen", "calibration"):
        assert part in result.stdout
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["strict"]["f"] == 1.0


def test_compare_command(folder, tmp_path):
    result = run(
        *("compare", folder / "good", folder / "bad", folder / "test.spacy"),
        *("--json", tmp_path / "changes.json"),
    )
    assert result.exit_code == 0, result.stderr
    assert "paired bootstrap" in result.stdout and "[Selegiline]" in result.stdout
    assert json.loads((tmp_path / "changes.json").read_text())["fixed"]


def test_bad_input_is_told_in_a_line(folder, pipelines, tmp_path):
    DocBin().to_disk(tmp_path / "empty.spacy")
    (tmp_path / "no.spacy").write_text("text")
    for arguments, part in (
        (["evaluate", folder / "good", tmp_path / "none.spacy"], "is no file"),
        (["evaluate", folder / "good", tmp_path / "empty.spacy"], "has no docs"),
        (["evaluate", folder / "good", tmp_path / "no.spacy"], "is no .spacy file"),
        (["evaluate", folder / "none", folder / "test.spacy"], "none"),
        (["compare", folder / "good", "no_such", folder / "test.spacy"], "no_such"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert part in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert len(read_examples(pipelines[0], folder / "test.spacy")) == 4
