"""What `tune` computes at once against what `nlp.evaluate` finds setting by setting."""

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin, Span
from spacy.training import Example
from thinc.api import Config

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.tuning.decoding import (
    Objective,
    later_setters,
    parse_objective,
    sweep,
    tune,
)
from welt_spacy.pipeline.inference import predict_examples

from ..factories import make_examples, make_nlp, run_command, train

KNOB_VALUES = {"o_bias": [-1.0, -0.3, 0.0, 0.4], "logit_adjustment": [-0.3, 0.0, 0.5]}


def make_uncertain(**settings):
    """A pipeline whose weights are random: all confidences occur."""
    nlp = make_nlp(model={"init_std": 0.3}, **settings)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def evaluate(nlp, **settings):
    pipe = nlp.get_pipe("welt_ner")
    for name, value in settings.items():
        setattr(pipe, name, value)
    return nlp.evaluate(make_examples(nlp))


@pytest.mark.parametrize("decoder", ["constrained", "greedy"])
@pytest.mark.parametrize("knob", KNOB_VALUES)
def test_scores_are_those_of_evaluate(knob, decoder):
    nlp = make_uncertain(decoder=decoder)
    before = evaluate(nlp)
    found = tune(
        nlp, make_examples(nlp), Objective(), knob=knob, values=KNOB_VALUES[knob]
    )
    assert found.before[3:] == pytest.approx([before[f"ents_{n}"] for n in "prf"])
    for point in [*found.curve, found.best]:
        scores = evaluate(
            nlp,
            o_bias=point.o_bias,
            logit_adjustment=point.logit_adjustment,
            threshold=point.threshold,
        )
        assert point[3:] == pytest.approx([scores[f"ents_{n}"] for n in "prf"])
        # no other threshold is better
        for threshold in np.linspace(0, 1, 30):
            assert evaluate(nlp, threshold=threshold)["ents_f"] <= point.f + 1e-9
    assert found.best.f == max(point.f for point in found.curve) >= found.before.f


def test_the_pipeline_has_the_best_settings():
    nlp = make_uncertain()
    found = tune(nlp, make_examples(nlp), Objective(beta=2))
    pipe = nlp.get_pipe("welt_ner")
    assert (pipe.o_bias, pipe.threshold) == (found.best.o_bias, found.best.threshold)
    kept = tune(nlp, make_examples(nlp), Objective(), thresholds=False)
    assert {point.threshold for point in kept.curve} == {found.best.threshold}


def test_bounds_are_kept_or_the_nearest_is_taken():
    nlp = make_trained()
    examples = make_examples(nlp)
    found = tune(nlp, examples, parse_objective("recall>=0.6"))
    assert found.best.r >= 0.6
    for point in found.curve:
        assert point.r < 0.6 or point.p <= found.best.p
    # an entity that is nowhere: out of reach
    examples[-1].reference.set_ents([Span(examples[-1].reference, 0, 4, "Disease")])
    found = tune(nlp, examples, parse_objective("recall>=1"))
    assert found.best.r == max(point.r for point in found.curve) < 1


def make_trained():
    nlp = make_nlp()
    train(nlp, make_examples(nlp))
    return nlp


def test_o_bias_decides_how_much_is_found():
    nlp = make_trained()
    recalls = [evaluate(nlp, o_bias=bias)["ents_r"] for bias in (0.0, 100.0)]
    assert recalls == [1.0, 0.0]
    found = tune(nlp, make_examples(nlp), Objective(), thresholds=False)
    assert found.before.r == 0.0 and found.best.r == 1.0
    assert len(found.curve) == 33


@pytest.mark.parametrize(
    "text, value",
    [("f1", 2 / 3), ("f2", 5 / 9), ("f0.5", 5 / 6), ("precision >= 0.9", 0.5), ("recall>=.6", 0.5 - 2)],
)  # fmt: skip
def test_objectives(text, value):
    rated = parse_objective(text).value(np.array([1.0]), np.array([0.5]))
    assert rated[0] == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["f", "f0", "f-1", "accuracy", "precision>=1.5", "recall>=0"]
)
def test_objectives_that_are_none(text):
    with pytest.raises(WeltError, match="Unknown objective"):
        parse_objective(text)


def test_logit_adjustment_is_that_of_the_formula():
    nlp = make_uncertain()
    pipe = nlp.get_pipe("welt_ner")
    docs = [eg.predicted for eg in make_examples(nlp)]
    probs = np.concatenate(pipe.predict(docs))
    counts = np.array([pipe.class_counts[tag] for tag in pipe.tags], dtype="float64")
    shares = np.maximum(counts, 1) / counts.sum()
    adjusted = probs / shares**0.7
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    lengths = np.array([len(doc) for doc in docs])
    wanted = pipe.get_decoder().decode(adjusted, lengths)
    pipe.logit_adjustment = 0.7
    found = pipe.get_decoder().decode(probs, lengths)
    assert found.starts.tolist() == wanted.starts.tolist()
    np.testing.assert_allclose(found.confidences, wanted.confidences, rtol=1e-5)
    loaded = make_nlp().from_bytes(nlp.to_bytes()).get_pipe("welt_ner")
    assert loaded.logit_adjustment == pytest.approx(0.7)


def test_what_can_not_be_tuned():
    nlp = make_uncertain()
    with pytest.raises(WeltError, match="0 components welt_ner"):
        tune(spacy.blank("en"), make_examples(nlp), Objective())
    with pytest.raises(WeltError, match="'beam'"):
        tune(nlp, make_examples(nlp), Objective(), knob="beam")
    other = make_examples(nlp, [("Mice slept.", [(0, 4, "Species")])])
    with pytest.raises(
        WeltError, match="There is Species in the data, and the pipeline finds"
    ):
        tune(nlp, other, Objective())
    nothing = [Example(eg.predicted, eg.predicted.copy()) for eg in make_examples(nlp)]
    with pytest.raises(WeltError, match="no entity"):
        tune(nlp, nothing, Objective())


def test_command(tmp_path):
    nlp = make_trained()
    nlp.get_pipe("welt_ner").o_bias = 100.0
    nlp.to_disk(tmp_path / "model")
    dev = tmp_path / "dev.spacy"
    DocBin(docs=[eg.reference for eg in make_examples(nlp)]).to_disk(dev)
    result = run_command("tune", tmp_path / "model", dev, "--objective", "f2")
    assert result.exit_code == 0, result.stderr
    assert "best" in result.stdout and "Before and after" in result.stdout
    tuned = spacy.load(tmp_path / "model-tuned").get_pipe("welt_ner")
    assert abs(tuned.o_bias) <= 4
    for arguments, part in (
        ([tmp_path / "model", dev], "exists. Use another"),
        ([tmp_path / "model", dev, tmp_path / "x", "-o", "f"], "Unknown objective"),
        (
            [tmp_path / "model", tmp_path / "none.spacy", tmp_path / "x"],
            "is not a file",
        ),
        (
            [tmp_path / "model", tmp_path / "model/meta.json", tmp_path / "x"],
            "not a .spacy",
        ),
        ([tmp_path / "nothing", dev, tmp_path / "deep/x"], "nothing"),
    ):
        result = run_command("tune", *arguments)
        assert result.exit_code == 1, arguments
        assert part in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists() and not (tmp_path / "deep").exists()


def test_components_before_and_after_count_as_they_do_in_the_pipeline(tmp_path):
    """Scores of a setting are what `nlp.evaluate` gives with it."""
    nlp = make_trained()
    ruler = nlp.add_pipe("entity_ruler", before="welt_ner")
    ruler.add_patterns([{"label": "Species", "pattern": "The"}])
    ruler.add_patterns([{"label": "Chemical", "pattern": "N"}])
    for wrong in ("given", "study", "blind", "patient"):
        ruler.add_patterns([{"label": "Disease", "pattern": wrong}])
    examples = make_examples(nlp)
    pipe = nlp.get_pipe("welt_ner")
    for threshold in (0.0, 0.9):
        pipe.threshold = threshold
        points = sweep(nlp, make_examples(nlp), [-2.0, 0.0])
        for point in points:
            pipe.o_bias = point.o_bias
            wanted = nlp.evaluate(make_examples(nlp))
            found = (point.p, point.r, point.f)
            assert found == tuple(wanted[f"ents_{key}"] for key in "prf")
        pipe.o_bias = 0.0
    found = tune(nlp, examples, Objective())
    assert found.best.f == nlp.evaluate(make_examples(nlp))["ents_f"]
    assert later_setters(nlp) == []
    nlp.add_pipe("entity_ruler", name="last")
    assert later_setters(nlp) == ["last"]


def test_entities_of_an_earlier_prediction_do_not_count_as_given():
    nlp = make_trained()
    ruler = nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    words = {token.text for eg in make_examples(nlp) for token in eg.reference}
    ruler.add_patterns([{"label": "Disease", "pattern": word} for word in words])
    expected = sweep(nlp, make_examples(nlp))
    examples = make_examples(nlp)
    predict_examples(nlp, examples)
    assert any(eg.predicted.ents for eg in examples)
    assert sweep(nlp, examples) == expected


def test_the_config_of_a_tuned_pipeline_says_so(tmp_path):
    nlp = make_trained()
    tune(nlp, make_examples(nlp), Objective(at_least=("r", 1.0)))
    nlp.to_disk(tmp_path)
    block = Config().from_disk(tmp_path / "config.cfg")["components"]["welt_ner"]
    pipe = nlp.get_pipe("welt_ner")
    assert (block["o_bias"], block["threshold"]) == (pipe.o_bias, pipe.threshold)
