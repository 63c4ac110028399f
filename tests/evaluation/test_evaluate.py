"""Reports and comparisons against the scorers they are made of."""

import json

import pytest
from spacy.tokens import DocBin, Span

from welt_spacy.evaluation.evaluate import compare, evaluate
from welt_spacy.pipeline.inference import predict_examples
from welt_spacy.scoring.fair import fair_score
from welt_spacy.scoring.slices import count_mentions
from welt_spacy.tokens.docs import read_examples

from ..factories import make_examples, make_nlp, run_command, train


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
        predict_examples(nlp, sides[-1])
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


def test_evaluate_command(folder, tmp_path):
    result = run_command(
        *("evaluate", folder / "good", folder / "test.spacy"),
        *("--train", folder / "test.spacy", "--json", tmp_path / "scores.json"),
    )
    assert result.exit_code == 0, result.stderr
    for part in ("strict", "fair", "weighted", "95 % intervals", "seen", "calibration"):
        assert part in result.stdout
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["strict"]["f"] == 1.0


def test_compare_command(folder, tmp_path):
    result = run_command(
        *("compare", folder / "good", folder / "bad", folder / "test.spacy"),
        *("--json", tmp_path / "changes.json"),
    )
    assert result.exit_code == 0, result.stderr
    assert "paired bootstrap" in result.stdout and "[Selegiline]" in result.stdout
    assert json.loads((tmp_path / "changes.json").read_text())["fixed"]


def test_predictions_from_a_file(folder, tmp_path):
    """Docs that a pipeline made, on tokens of its own, score as the pipeline does."""
    import spacy

    nlp = spacy.load(folder / "good")
    gold = DocBin().from_disk(folder / "test.spacy").get_docs(nlp.vocab)
    made = DocBin(store_user_data=True, docs=nlp.pipe(doc.text for doc in gold))
    made.to_disk(tmp_path / "made.spacy")
    result = run_command(
        *("evaluate", tmp_path / "made.spacy", folder / "test.spacy"),
        *("--json", tmp_path / "scores.json", "--html", tmp_path / "page.html"),
    )
    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["strict"]["f"] == 1.0 and found["pipeline"] == "made.spacy"
    assert found["calibration"]["bins"]
    assert "made.spacy on" in (tmp_path / "page.html").read_text()
    result = run_command(
        "compare", tmp_path / "made.spacy", folder / "bad", folder / "test.spacy"
    )
    assert "+100.00" in result.stdout, result.stderr


def relabel(docs, labels, path):
    for doc in docs:
        doc.ents = [Span(doc, e.start, e.end, label=labels[e.label_]) for e in doc.ents]
    DocBin(docs=docs).to_disk(path)
    return path


def test_labels_that_the_pipeline_does_not_know(folder, pipelines, tmp_path):
    docs = [eg.reference for eg in make_examples(pipelines[0])]
    some = relabel(docs, {"Chemical": "Chemical", "Disease": "Gene"}, tmp_path / "some")
    result = run_command(
        "evaluate", folder / "good", some, "--html", tmp_path / "page.html"
    )
    assert result.exit_code == 0
    assert "Precision against recall" not in (tmp_path / "page.html").read_text()
    assert (
        result.stderr.strip()
        == "⚠ The pipeline can't find Gene: all of those are missed"
    )
    none = relabel(docs, {"Chemical": "Gene", "Gene": "Gene"}, tmp_path / "none")
    for command in (["evaluate"], ["compare", folder / "bad"]):
        result = run_command(*command, folder / "good", none)
        assert result.exit_code == 1
        assert "finds Chemical, Disease, and the data have only Gene" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_bad_input_is_told_in_a_line(folder, pipelines, tmp_path):
    DocBin().to_disk(tmp_path / "empty.spacy")
    (tmp_path / "no.spacy").write_text("text")
    docs = [eg.reference for eg in make_examples(pipelines[0])]
    DocBin(docs=docs[1:]).to_disk(tmp_path / "less.spacy")
    docs[1] = pipelines[0].make_doc("Another text.")
    DocBin(docs=docs).to_disk(tmp_path / "other.spacy")
    for arguments, part in (
        (["evaluate", folder / "good", tmp_path / "none.spacy"], "is not a file"),
        (["evaluate", folder / "good", tmp_path / "empty.spacy"], "has no documents"),
        (["evaluate", folder / "good", tmp_path / "no.spacy"], "is not a .spacy file"),
        (["evaluate", folder / "none", folder / "test.spacy"], "none"),
        (["compare", folder / "good", "no_such", folder / "test.spacy"], "no_such"),
        (
            ["evaluate", tmp_path / "less.spacy", folder / "test.spacy"],
            "has 3 documents and",
        ),
        (
            ["evaluate", tmp_path / "other.spacy", folder / "test.spacy"],
            "document 2: the text",
        ),
        (
            ["evaluate", tmp_path / "empty.spacy", folder / "test.spacy"],
            "has no documents",
        ),
        (
            ["evaluate", folder / "test.spacy", folder / "test.spacy", "--gold-text"],
            "--gold-text needs a pipeline",
        ),
        (
            ["evaluate", folder / "good", folder / "test.spacy", "-g", "7"],
            "GPU 7 can't",
        ),
    ):
        result = run_command(*arguments)
        assert result.exit_code == 1
        assert part in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert len(read_examples(pipelines[0], folder / "test.spacy")) == 4
