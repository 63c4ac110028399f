"""Evaluations and comparisons against the scorers, from Python and as commands."""

import json
from dataclasses import replace

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.evaluate import (
    compare,
    evaluate,
    evaluate_docs,
    score_predictions,
)
from welt_spacy.evaluation.records import Comparison, Evaluation
from welt_spacy.evaluation.tuning.decoding import sweep_o_bias
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.pipeline.inference import predict_examples
from welt_spacy.scoring.fair import fair_score
from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.scoring.slices import count_mentions

from ..factories import (
    ents,
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
    save_docs,
    train,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Save a pipeline that predicts all gold entities, a copy with a bias so high that it
    predicts none, and gold data."""
    folder = tmp_path_factory.mktemp("evaluation")
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    nlp.to_disk(folder / "good")
    nlp.get_pipe("welt_ner").o_bias = 100.0
    nlp.to_disk(folder / "bad")
    save_docs(folder / "test.spacy", make_examples(nlp))
    return folder


@pytest.fixture(scope="module")
def pipelines(folder):
    return [spacy.load(folder / name) for name in ("good", "bad")]


@pytest.fixture(scope="module")
def evaluations(pipelines):
    """Return the evaluation of each pipeline with its examples."""
    results = []
    for nlp in pipelines:
        examples = make_examples(nlp)
        evaluation = evaluate(nlp, examples, mentions=count_mentions([]))
        results.append((evaluation, examples))
    return results


def test_scores_are_those_of_the_scorers(evaluations):
    for evaluation, examples in evaluations:
        scores = fair_score(examples)
        for name in "prf":
            strict = getattr(evaluation.strict, name)
            assert strict == pytest.approx(scores[f"ents_{name}"])
            fair = getattr(evaluation.fair, name)
            assert fair == pytest.approx(scores[f"fair_{name}"])
            low, high = evaluation.intervals[name]
            assert low <= strict <= high


def test_counts_agree_with_each_other(evaluations):
    for evaluation, _ in evaluations:
        assert (evaluation.gold, evaluation.docs) == (6, 4)
        n_wrong = sum(n for kind, n in evaluation.counts.items() if kind != "TP")
        assert sum(evaluation.errors.values()) == n_wrong
        assert sum(row.n for row in evaluation.confusion) == n_wrong
        assert set(evaluation.slices["mention in train"]) <= {"unseen"}
        n_binned = sum(b.n for b in evaluation.calibration.bins)
        assert n_binned == evaluation.predicted
        assert evaluation.speed > 0


def test_an_evaluation_survives_json(evaluations):
    for evaluation, _ in evaluations:
        values = evaluation.to_dict()
        assert json.loads(json.dumps(values)) == values
        assert Evaluation.from_dict(json.loads(json.dumps(values))) == evaluation


def test_json_has_the_keys_that_other_programs_read(evaluations):
    values = evaluations[0][0].to_dict()
    assert values["strict"] == {"p": 1.0, "r": 1.0, "f": 1.0}
    assert values["per_type"]["Disease"]["strict"]["f"] == 1.0
    unseen = values["slices"]["mention in train"]["unseen"]
    assert unseen == {"p": 1.0, "r": 1.0, "f": 1.0, "gold": 6, "predicted": 6}
    assert values["decoding"]["threshold"] == 0.0
    assert values["text"] is None and values["by_doc"][0] == [3, 3, 3]


def test_values_that_are_no_evaluation(evaluations):
    values = evaluations[0][0].to_dict()
    with pytest.raises(WeltError, match=r"^strict\.f: .*number"):
        Evaluation.from_dict({**values, "strict": {**values["strict"], "f": "high"}})
    del values["gold"]
    with pytest.raises(WeltError, match="^gold: Field required"):
        Evaluation.from_dict(values)


def test_strict_scores_that_differ_from_seqeval_are_an_error(monkeypatch, pipelines):
    from welt_spacy.evaluation import evaluate as module

    def miscounted(docs):
        strict = module.count_pairs(docs).strict()
        return strict._replace(micro=strict.micro._replace(f=0.5))

    monkeypatch.setattr(module, "seqeval_eval", miscounted)
    with pytest.raises(WeltError, match="all labels: seqeval has .* 50.0000 and the"):
        evaluate(pipelines[0], make_examples(pipelines[0]))


def test_overlapping_predictions_on_other_tokens(pipelines):
    """Score three predictions on one gold token: two of one label, one of another."""
    nlp = pipelines[0]
    gold = Doc(nlp.vocab, words=["abc", "helps"], ents=["B-Chemical", "O"])
    predicted = Doc(
        nlp.vocab,
        words=["a", "b", "c", "helps"],
        spaces=[False, False, True, False],
        ents=["B-Chemical", "B-Chemical", "B-Disease", "O"],
    )
    evaluation = score_predictions(nlp, pair_examples([Example(predicted, gold)]))
    assert evaluation.strict == pytest.approx((1 / 3, 1.0, 0.5))
    assert evaluation.per_type["Disease"].strict == (0.0, 0.0, 0.0)


def count_predicted_docs(pipe, counts):
    predict = pipe.predict

    def counted(docs):
        docs = list(docs)
        counts.append(len(docs))
        return predict(docs)

    pipe.predict = counted


def test_predictions_and_curve_come_from_one_run_of_the_model(folder):
    nlp = spacy.load(folder / "good")
    expected = evaluate(nlp, make_examples(nlp))
    curve = sweep_o_bias(predict_dev(nlp, make_examples(nlp)))
    counts: list[int] = []
    count_predicted_docs(nlp.get_pipe("welt_ner"), counts)
    results = evaluate_docs(nlp, make_examples(nlp), with_curve=True)
    assert sum(counts) == 4
    assert replace(results.evaluation, speed=None) == replace(expected, speed=None)
    assert results.curve == curve


def test_the_curve_leaves_out_components_after_welt_ner(folder):
    nlp = spacy.load(folder / "good")
    curve = sweep_o_bias(predict_dev(nlp, make_examples(nlp)))
    ruler = nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    words = {token.text for eg in make_examples(nlp) for token in eg.reference}
    ruler.add_patterns([{"label": "Disease", "pattern": word} for word in words])
    results = evaluate_docs(nlp, make_examples(nlp), with_curve=True)
    assert results.curve == curve
    assert results.evaluation.strict.f < 1.0


def test_documents_are_those_of_the_whole_pipeline(folder):
    """Run components before and after `welt_ner` as `nlp.pipe` does, batch by batch."""
    nlp = spacy.load(folder / "good")
    nlp.batch_size = 3
    ruler = nlp.add_pipe("entity_ruler", before="welt_ner", name="before")
    ruler.add_patterns([{"label": "Disease", "pattern": "study"}])
    ruler = nlp.add_pipe("entity_ruler", name="after")
    ruler.add_patterns([{"label": "Chemical", "pattern": "blind"}])
    expected, examples = make_examples(nlp), make_examples(nlp)
    predict_examples(nlp, expected)
    evaluate_docs(nlp, examples, with_curve=True)
    for eg, same in zip(examples, expected):
        assert ents(eg.predicted) == ents(same.predicted)
        for ent, other in zip(eg.predicted.ents, same.predicted.ents):
            assert ent._.confidence == other._.confidence


@pytest.fixture(scope="module")
def sides(pipelines):
    sides = []
    for nlp in pipelines:
        sides.append(make_examples(nlp))
        predict_examples(nlp, sides[-1])
    return sides


def test_comparison_lists_the_changes(sides):
    comparison = compare(*sides)
    assert comparison.difference == 1.0 and comparison.interval == (1.0, 1.0)
    assert len(comparison.fixed) == 6 and not comparison.broken
    change = comparison.fixed[0]
    assert change.gold and change.label == "Chemical"
    text = change.text[change.start : change.end]
    assert text in [ent.text for ent in sides[0][change.doc].reference.ents]


def test_comparison_in_the_other_order(sides):
    there, back = compare(*sides), compare(*reversed(sides))
    assert back.difference == -there.difference
    assert back.broken == there.fixed


def test_a_comparison_survives_json(sides):
    comparison = compare(*sides)
    values = json.loads(json.dumps(comparison.to_dict()))
    assert Comparison.from_dict(values) == comparison


def test_evaluate_command(folder, tmp_path):
    result = run_command(
        *("evaluate", folder / "good", folder / "test.spacy"),
        *("--train", folder / "test.spacy", "--json", tmp_path / "scores.json"),
    )
    assert result.exit_code == 0, result.stderr
    for part in ("strict", "fair", "weighted", "95 % intervals", "seen", "calibration"):
        assert part in result.stdout
    values = json.loads((tmp_path / "scores.json").read_text())
    assert Evaluation.from_dict(values).strict.f == 1.0


def test_evaluate_command_writes_a_page_and_predictions(folder, tmp_path):
    result = run_command(
        *("evaluate", folder / "good", folder / "test.spacy", "--score-raw-text"),
        *("--html", tmp_path / "page.html", "--predictions", tmp_path / "out.spacy"),
    )
    assert result.exit_code == 0, result.stderr
    assert "Precision against recall" in (tmp_path / "page.html").read_text()
    assert "raw text" in result.stdout
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(make_nlp().vocab))
    assert sum(len(doc.ents) for doc in docs) == 6


def test_compare_command(folder, tmp_path):
    result = run_command(
        *("compare", folder / "good", folder / "bad", folder / "test.spacy"),
        *("--json", tmp_path / "changes.json"),
    )
    assert result.exit_code == 0, result.stderr
    assert "paired bootstrap" in result.stdout and "[Selegiline]" in result.stdout
    assert json.loads((tmp_path / "changes.json").read_text())["fixed"]


@pytest.fixture(scope="module")
def predictions(folder, tmp_path_factory):
    """Save documents of a pipeline on its own tokens."""
    nlp = spacy.load(folder / "good")
    gold = DocBin().from_disk(folder / "test.spacy").get_docs(nlp.vocab)
    docs = nlp.pipe(doc.text for doc in gold)
    path = tmp_path_factory.mktemp("predictions") / "predictions.spacy"
    DocBin(store_user_data=True, docs=docs).to_disk(path)
    return path


def test_evaluate_predictions_from_a_file(folder, predictions, tmp_path):
    result = run_command(
        *("evaluate", predictions, folder / "test.spacy"),
        *("--json", tmp_path / "scores.json", "--html", tmp_path / "page.html"),
    )
    assert result.exit_code == 0, result.stderr
    evaluation = Evaluation.from_dict(
        json.loads((tmp_path / "scores.json").read_text())
    )
    assert evaluation.strict.f == 1.0 and evaluation.pipeline == "predictions.spacy"
    assert evaluation.calibration.bins
    assert evaluation.speed is None and evaluation.decoding is None
    assert "predictions.spacy on" in (tmp_path / "page.html").read_text()


def test_compare_predictions_from_a_file(folder, predictions):
    result = run_command("compare", predictions, folder / "bad", folder / "test.spacy")
    assert "+100.00" in result.stdout, result.stderr


def relabel(docs, labels, path):
    for doc in docs:
        doc.ents = [Span(doc, e.start, e.end, label=labels[e.label_]) for e in doc.ents]
    DocBin(docs=docs).to_disk(path)
    return path


def test_labels_that_the_pipeline_does_not_know(folder, pipelines, tmp_path):
    docs = [eg.reference for eg in make_examples(pipelines[0])]
    data = relabel(docs, {"Chemical": "Chemical", "Disease": "Gene"}, tmp_path / "data")
    result = run_command(
        "evaluate", folder / "good", data, "--html", tmp_path / "page.html"
    )
    assert result.exit_code == 0
    assert "Precision against recall" not in (tmp_path / "page.html").read_text()
    assert (
        result.stderr.strip()
        == "⚠ The pipeline cannot predict Gene: all entities with this label are missed"
    )


@pytest.mark.parametrize("command", [["evaluate"], ["compare", "bad"]])
def test_no_label_in_common(folder, pipelines, tmp_path, command):
    docs = [eg.reference for eg in make_examples(pipelines[0])]
    data = relabel(docs, {"Chemical": "Gene", "Disease": "Gene"}, tmp_path / "data")
    models = [folder / name for name in (*command[1:], "good")]
    fails_with_one_line(
        run_command(command[0], *models, data),
        "predicts Chemical, Disease, and the data have only Gene",
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["evaluate", "good", "none.spacy"], "is not a file"),
        (["evaluate", "good", "empty.spacy"], "has no documents"),
        (["evaluate", "good", "text.spacy"], "is not a .spacy file"),
        (["evaluate", "none", "test.spacy"], "none"),
        (["compare", "good", "no_such", "test.spacy"], "no_such"),
        (["evaluate", "fewer.spacy", "test.spacy"], "has 3 documents and"),
        (["evaluate", "other.spacy", "test.spacy"], "document 2: the text"),
        (["evaluate", "empty.spacy", "test.spacy"], "has no documents"),
        (
            ["evaluate", "test.spacy", "test.spacy", "--score-raw-text"],
            "cannot be run on raw text",
        ),
        (["evaluate", "good", "test.spacy", "-g", "7"], "GPU 7 can't"),
    ],
)
def test_bad_input_gives_one_line(
    folder, pipelines, tmp_path, monkeypatch, arguments, message
):
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    DocBin().to_disk("empty.spacy")
    (tmp_path / "text.spacy").write_text("text")
    docs = [eg.reference for eg in make_examples(pipelines[0])]
    DocBin(docs=docs[1:]).to_disk("fewer.spacy")
    docs[1] = pipelines[0].make_doc("Another text.")
    DocBin(docs=docs).to_disk("other.spacy")
    fails_with_one_line(run_command(*arguments), message)
