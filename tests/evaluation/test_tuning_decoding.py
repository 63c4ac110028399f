"""Tuning of decoding against `nlp.evaluate` with each setting."""

import numpy as np
import pytest
from spacy.tokens import Span
from thinc.api import Config

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.tuning.decoding import (
    later_setters,
    sweep_o_bias,
    tune_decoding,
)
from welt_spacy.evaluation.tuning.objective import Objective, parse_objective
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.evaluation.tuning.threshold import best_threshold, tune_threshold
from welt_spacy.pipeline.inference import predict_examples

from ..factories import make_examples, make_nlp

VALUES = {"o_bias": [-1.0, -0.3, 0.0, 0.4], "logit_adjustment": [-0.3, 0.0, 0.5]}


def make_uncertain(**settings):
    """Return a pipeline with random weights, so that its confidences vary."""
    nlp = make_nlp(model={"init_std": 0.3}, **settings)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def evaluate(nlp, **settings):
    pipe = nlp.get_pipe("welt_ner")
    for name, value in settings.items():
        setattr(pipe, name, value)
    return nlp.evaluate(make_examples(nlp))


def predict(nlp):
    return predict_dev(nlp, make_examples(nlp))


@pytest.mark.parametrize("decoder", ["constrained", "greedy"])
@pytest.mark.parametrize("parameter", VALUES)
def test_scores_are_those_of_evaluate(parameter, decoder):
    nlp = make_uncertain(decoder=decoder)
    before = evaluate(nlp)
    tuning = tune_decoding(
        predict(nlp), Objective(), parameter=parameter, values=VALUES[parameter]
    )
    assert tuning.before[3:] == pytest.approx([before[f"ents_{n}"] for n in "prf"])
    for point in [*tuning.curve, tuning.best]:
        scores = evaluate(
            nlp,
            o_bias=point.o_bias,
            logit_adjustment=point.logit_adjustment,
            threshold=point.threshold,
        )
        assert point[3:] == pytest.approx([scores[f"ents_{n}"] for n in "prf"])
        # No other threshold is better
        for threshold in np.linspace(0, 1, 30):
            assert evaluate(nlp, threshold=threshold)["ents_f"] <= point.f + 1e-9
    assert tuning.best.f == max(p.f for p in tuning.curve) >= tuning.before.f


def test_the_pipeline_has_the_best_settings():
    nlp = make_uncertain()
    tuning = tune_decoding(predict(nlp), Objective(beta=2))
    pipe = nlp.get_pipe("welt_ner")
    assert (pipe.o_bias, pipe.threshold) == (tuning.best.o_bias, tuning.best.threshold)


def test_the_threshold_can_stay():
    nlp = make_uncertain(threshold=0.2)
    tuning = tune_decoding(predict(nlp), Objective(), keep_threshold=True)
    assert {point.threshold for point in tuning.curve} == {0.2}
    assert nlp.get_pipe("welt_ner").threshold == 0.2


def test_the_threshold_alone():
    nlp = make_uncertain()
    tuning = tune_threshold(predict(nlp), Objective())
    point = tune_decoding(predict(nlp), Objective(), values=[0.0]).best
    assert tuning.best == point[2:]
    assert tuning.before.threshold == 0.0 and tuning.before.f <= tuning.best.f
    assert nlp.get_pipe("welt_ner").threshold == tuning.best.threshold


def test_the_best_threshold_is_that_of_a_search_one_by_one():
    rng = np.random.default_rng(0)
    for objective in map(parse_objective, ("f1", "precision>=0.7", "recall>=0.4")):
        confidences = rng.integers(0, 12, size=40) / 12
        confidences[:4] = np.inf
        right = rng.random(40) < 0.6
        candidates = sorted({0.0, *confidences[4:].tolist()})
        best = best_threshold(confidences, right, 30, objective, candidates)
        points = []
        for threshold in candidates:
            above = confidences >= threshold
            p, r = right[above].sum() / above.sum(), right[above].sum() / 30
            points.append((float(objective.value(p, r)), -threshold))
        assert best.threshold == -max(points)[1]
        # Thresholds between the confidences select the same entities
        between = best_threshold(confidences, right, 30, objective)
        assert between[1:] == best[1:]


def test_a_bound_is_kept_if_it_can_be_reached(trained_nlp):
    tuning = tune_decoding(predict(trained_nlp), parse_objective("recall>=0.6"))
    assert tuning.best.r >= 0.6
    for point in tuning.curve:
        assert point.r < 0.6 or point.p <= tuning.best.p


def test_the_point_nearest_to_a_bound_that_is_out_of_reach(trained_nlp):
    examples = make_examples(trained_nlp)
    doc = examples[-1].reference
    doc.set_ents([Span(doc, 0, 4, "Disease")])  # no setting predicts it
    dev = predict_dev(trained_nlp, examples)
    tuning = tune_decoding(dev, parse_objective("recall>=1"))
    assert tuning.best.r == max(point.r for point in tuning.curve) < 1


def test_o_bias_changes_recall(trained_nlp):
    recalls = [evaluate(trained_nlp, o_bias=bias)["ents_r"] for bias in (0.0, 100.0)]
    assert recalls == [1.0, 0.0]
    tuning = tune_decoding(predict(trained_nlp), Objective(), keep_threshold=True)
    assert tuning.before.r == 0.0 and tuning.best.r == 1.0
    assert len(tuning.curve) == 33


@pytest.mark.parametrize(
    "text, value",
    [("f1", 2 / 3), ("f2", 5 / 9), ("f0.5", 5 / 6), ("precision >= 0.9", 0.5), ("recall>=.6", 0.5 - 2)],
)  # fmt: skip
def test_objectives(text, value):
    values = parse_objective(text).value(np.array([1.0]), np.array([0.5]))
    assert values[0] == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["f", "f0", "f-1", "accuracy", "precision>=1.5", "recall>=0"]
)
def test_unknown_objectives(text):
    with pytest.raises(WeltError, match="Unknown objective"):
        parse_objective(text)


def test_an_unknown_parameter():
    with pytest.raises(WeltError, match="'beam'"):
        tune_decoding(predict(make_uncertain()), Objective(), parameter="beam")


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
    expected = pipe.get_decoder().decode(adjusted, lengths)
    pipe.logit_adjustment = 0.7
    entities = pipe.get_decoder().decode(probs, lengths)
    assert entities.starts.tolist() == expected.starts.tolist()
    np.testing.assert_allclose(entities.confidences, expected.confidences, rtol=1e-5)
    loaded = make_nlp().from_bytes(nlp.to_bytes()).get_pipe("welt_ner")
    assert loaded.logit_adjustment == pytest.approx(0.7)


@pytest.fixture
def with_ruler(trained_nlp):
    """Return a pipeline with an entity component before `welt_ner` that is often wrong."""
    ruler = trained_nlp.add_pipe("entity_ruler", before="welt_ner")
    ruler.add_patterns([{"label": "Species", "pattern": "The"}])
    ruler.add_patterns([{"label": "Chemical", "pattern": "N"}])
    for wrong in ("given", "study", "blind", "patient"):
        ruler.add_patterns([{"label": "Disease", "pattern": wrong}])
    return trained_nlp


@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_earlier_components_count_as_they_do_in_the_pipeline(with_ruler, threshold):
    pipe = with_ruler.get_pipe("welt_ner")
    pipe.threshold = threshold
    for point in sweep_o_bias(predict(with_ruler), [-2.0, 0.0]):
        pipe.o_bias = point.o_bias
        scores = with_ruler.evaluate(make_examples(with_ruler))
        assert point[3:] == tuple(scores[f"ents_{key}"] for key in "prf")


def test_tuning_with_earlier_components(with_ruler):
    tuning = tune_decoding(predict(with_ruler), Objective())
    scores = with_ruler.evaluate(make_examples(with_ruler))
    assert tuning.best.f == scores["ents_f"]


def test_components_that_set_entities_later(with_ruler):
    assert later_setters(with_ruler) == []
    with_ruler.add_pipe("entity_ruler", name="last")
    assert later_setters(with_ruler) == ["last"]


def test_entities_of_an_earlier_prediction_are_not_given(trained_nlp):
    ruler = trained_nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    words = {token.text for eg in make_examples(trained_nlp) for token in eg.reference}
    ruler.add_patterns([{"label": "Disease", "pattern": word} for word in words])
    expected = sweep_o_bias(predict(trained_nlp))
    examples = make_examples(trained_nlp)
    predict_examples(trained_nlp, examples)
    assert any(eg.predicted.ents for eg in examples)
    assert sweep_o_bias(predict_dev(trained_nlp, examples)) == expected


def test_the_saved_config_has_the_tuned_settings(trained_nlp, tmp_path):
    tune_decoding(predict(trained_nlp), Objective(at_least=("r", 1.0)))
    trained_nlp.to_disk(tmp_path)
    block = Config().from_disk(tmp_path / "config.cfg")["components"]["welt_ner"]
    pipe = trained_nlp.get_pipe("welt_ner")
    assert (block["o_bias"], block["threshold"]) == (pipe.o_bias, pipe.threshold)
