"""Calibration of confidences on dev data."""

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.evaluate import evaluate
from welt_spacy.evaluation.tuning.calibration import (
    TooFewEntities,
    rescale_threshold,
    tune_calibration,
)
from welt_spacy.evaluation.tuning.predictions import predict_dev
from welt_spacy.tagging.platt_scaling import calibrated, uncalibrated
from welt_spacy.tokens.docs import read_examples

from ..factories import ents, make_examples, make_nlp, save_docs, train

SETTINGS = st.fixed_dictionaries(
    {"temperature": st.floats(0.2, 5), "shift": st.floats(-3, 3)}
)


@given(st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1), SETTINGS)
def test_calibration_can_be_inverted(values, settings):
    array = np.array(values)
    there = calibrated(array, settings)
    assert ((there >= 0) & (there <= 1)).all()
    assert (np.diff(there[np.argsort(array)]) >= 0).all()
    back = uncalibrated(there, settings)
    inner = (there > 1e-6) & (there < 1 - 1e-6)
    np.testing.assert_allclose(back[inner], array[inner], atol=1e-3)
    np.testing.assert_array_equal(calibrated(array, None), array)


@pytest.fixture(scope="module")
def half_right_folder(tmp_path_factory):
    """Save a pipeline that predicts much that is not gold: half of the entities that it
    learned were removed from the gold annotation."""
    folder = tmp_path_factory.mktemp("half_right")
    nlp = make_nlp(threshold=0.5)
    train(nlp, make_examples(nlp))
    nlp.to_disk(folder / "model")
    dev = []
    for i in range(24):
        for eg in make_examples(nlp):
            eg.reference.set_ents(
                [ent for j, ent in enumerate(eg.reference.ents) if (i + j) % 2],
                default="outside",
            )
            dev.append(eg)
    save_docs(folder / "dev.spacy", dev)
    return folder


@pytest.fixture
def half_right(half_right_folder):
    nlp = spacy.load(half_right_folder / "model")
    return nlp, read_examples(nlp, half_right_folder / "dev.spacy")


def test_confidences_become_frequencies(half_right):
    nlp, dev = half_right
    tuning = tune_calibration(predict_dev(nlp, dev))
    # Half of all are right, whatever the confidence
    assert tuning.before.error > 0.3 and tuning.after.error < 0.02
    for ent in nlp(dev[0].reference.text).ents:
        assert ent._.confidence == pytest.approx(0.5, abs=0.05)


def test_the_same_entities_are_predicted(half_right):
    nlp, dev = half_right
    pipe = nlp.get_pipe("welt_ner")
    texts = [eg.reference.text for eg in dev[:4]]
    before = [ents(doc) for doc in nlp.pipe(texts)]
    settings = tune_calibration(predict_dev(nlp, dev)).settings
    assert [ents(doc) for doc in nlp.pipe(texts)] == before
    assert pipe.calibration == settings
    assert pipe.threshold == pytest.approx(calibrated(np.array([0.5]), settings)[0])


def test_an_evaluation_has_the_errors_before_and_after(half_right):
    nlp, dev = half_right
    tuning = tune_calibration(predict_dev(nlp, dev))
    calibration = evaluate(nlp, dev).calibration
    assert calibration.error == pytest.approx(tuning.after.error)
    assert calibration.before.error == pytest.approx(tuning.before.error, abs=1e-6)


def test_a_second_calibration_replaces_the_first(half_right):
    nlp, dev = half_right
    first = tune_calibration(predict_dev(nlp, dev))
    second = tune_calibration(predict_dev(nlp, dev))
    assert second.settings == pytest.approx(first.settings)
    assert second.before.error == pytest.approx(second.after.error)


def test_it_is_saved(half_right, tmp_path):
    nlp, dev = half_right
    settings = {"temperature": 2.0, "shift": -0.5}
    nlp.get_pipe("welt_ner").calibration = settings
    nlp.to_disk(tmp_path / "model")
    expected = [ent._.confidence for ent in nlp(dev[0].reference.text).ents]
    loaded = spacy.load(tmp_path / "model")
    assert loaded.get_pipe("welt_ner").calibration == settings
    doc = loaded(dev[0].reference.text)
    assert [ent._.confidence for ent in doc.ents] == pytest.approx(expected)
    config = {"components": {"welt_ner": {"calibration": None}}}
    plain = spacy.load(tmp_path / "model", config=config)
    assert plain.get_pipe("welt_ner").calibration is None


@pytest.mark.parametrize(
    "value",
    [
        {"temperature": 0, "shift": 0},
        {"temperature": 1},
        {"temperature": 1, "shift": float("nan")},
        "none",
        {"temperature": 1, "shift": 0, "more": 1},
    ],
)
def test_wrong_settings(half_right, value):
    pipe = half_right[0].get_pipe("welt_ner")
    with pytest.raises(WeltError, match="calibration"):
        pipe.calibration = value
    assert pipe.calibration is None


def test_too_few_entities(half_right):
    nlp, dev = half_right
    pipe = nlp.get_pipe("welt_ner")
    all_right = make_examples(nlp) * 8
    for examples in (dev[:2], all_right):
        with pytest.raises(TooFewEntities, match="too few to calibrate"):
            tune_calibration(predict_dev(nlp, examples))
    assert pipe.calibration is None and pipe.threshold == 0.5


def test_dev_data_on_other_tokens(half_right):
    nlp, dev = half_right
    examples = [Example(nlp.make_doc(eg.reference.text), eg.reference) for eg in dev]
    assert tune_calibration(predict_dev(nlp, examples)).after.error < 0.02


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_only_a_threshold_of_zero_stays(half_right, threshold):
    nlp, dev = half_right
    pipe = nlp.get_pipe("welt_ner")
    pipe.threshold = threshold
    tune_calibration(predict_dev(nlp, dev))
    assert (pipe.threshold == threshold) == (threshold == 0.0)


def test_thresholds_between_calibrations():
    a, b = {"temperature": 2.0, "shift": 0.5}, {"temperature": 0.5, "shift": -1.0}
    threshold = rescale_threshold(0.4, a, b)
    assert rescale_threshold(threshold, b, a) == pytest.approx(0.4)
    assert rescale_threshold(0.4, None, None) == 0.4
    assert [rescale_threshold(t, a, b) for t in (0.0, 1.0)] == [0.0, 1.0]
