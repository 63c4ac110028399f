"""Confidences that are frequencies."""

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.evaluation.evaluate import evaluate
from welt_spacy.evaluation.tuning.calibration import TooFew, fit_calibration
from welt_spacy.tagging.platt_scaling import calibrated, uncalibrated
from welt_spacy.tokens.docs import read_examples

from ..factories import ents, make_examples, make_nlp, train

SETTINGS = st.fixed_dictionaries(
    {"temperature": st.floats(0.2, 5), "shift": st.floats(-3, 3)}
)


@given(st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1), SETTINGS)
def test_there_and_back(values, settings):
    array = np.array(values)
    there = calibrated(array, settings)
    assert ((there >= 0) & (there <= 1)).all()
    assert (np.diff(there[np.argsort(array)]) >= 0).all()
    back = uncalibrated(there, settings)
    inner = (there > 1e-6) & (there < 1 - 1e-6)
    np.testing.assert_allclose(back[inner], array[inner], atol=1e-3)
    assert calibrated(array, None) is not None
    np.testing.assert_array_equal(calibrated(array, None), array)


@pytest.fixture(scope="module")
def half_right():
    """A pipeline that is sure of much that is not gold: half of what it learned was
    taken out of the gold annotation."""
    nlp = make_nlp(threshold=0.5)
    examples = make_examples(nlp)
    train(nlp, examples)
    dev = []
    for i in range(24):
        for eg in make_examples(nlp):
            eg.reference.set_ents(
                [ent for j, ent in enumerate(eg.reference.ents) if (i + j) % 2],
                default="outside",
            )
            dev.append(eg)
    return nlp, dev


def fresh(dev, nlp):
    examples = []
    for eg in dev:
        examples.append(type(eg)(nlp.make_doc(eg.reference.text), eg.reference))
    return examples


def test_likelihood_is_that_of_a_grid(half_right):
    nlp, dev = half_right
    fit = fit_calibration(nlp, fresh(dev, nlp))
    try:
        # Half of all are right, whatever the confidence
        assert fit.before.error > 0.3 and fit.after.error < 0.02
        text = dev[0].reference.text
        doc = nlp(text)
        for ent in doc.ents:
            assert ent._.confidence == pytest.approx(0.5, abs=0.05)
        # what is found is the same, and the page knows of both
        found = evaluate(nlp, fresh(dev, nlp))["calibration"]
        assert found["error"] == pytest.approx(fit.after.error)
        assert found["before"]["error"] == pytest.approx(fit.before.error, abs=1e-6)
        kept = nlp.get_pipe("welt_ner").threshold
        nlp.get_pipe("welt_ner").calibration = None
        nlp.get_pipe("welt_ner").threshold = 0.5
        assert ents(nlp(text)) == ents(doc)
        assert kept == pytest.approx(calibrated(np.array([0.5]), fit.settings)[0])
        # fitted again: from what the model says, not from what was made of it
        nlp.get_pipe("welt_ner").calibration = fit.settings
        nlp.get_pipe("welt_ner").threshold = kept
        again = fit_calibration(nlp, fresh(dev, nlp))
        assert again.settings == pytest.approx(fit.settings)
        assert again.before.error == pytest.approx(again.after.error)
    finally:
        nlp.get_pipe("welt_ner").calibration = None
        nlp.get_pipe("welt_ner").threshold = 0.5


def test_it_is_saved_and_can_be_set(half_right, tmp_path):
    nlp, dev = half_right
    pipe = nlp.get_pipe("welt_ner")
    pipe.calibration = {"temperature": 2.0, "shift": -0.5}
    try:
        nlp.to_disk(tmp_path / "model")
        expected = [ent._.confidence for ent in nlp(dev[0].reference.text).ents]
    finally:
        pipe.calibration = None
    loaded = spacy.load(tmp_path / "model")
    assert loaded.get_pipe("welt_ner").calibration == {
        "temperature": 2.0,
        "shift": -0.5,
    }
    doc = loaded(dev[0].reference.text)
    assert [ent._.confidence for ent in doc.ents] == pytest.approx(expected)
    config = {"components": {"welt_ner": {"calibration": None}}}
    plain = spacy.load(tmp_path / "model", config=config)
    assert plain.get_pipe("welt_ner").calibration is None
    for bad in (
        {"temperature": 0, "shift": 0},
        {"temperature": 1},
        {"temperature": 1, "shift": float("nan")},
        "none",
        {"temperature": 1, "shift": 0, "more": 1},
    ):
        with pytest.raises(WeltError, match="calibration"):
            pipe.calibration = bad
    assert pipe.calibration is None


def test_too_few(half_right):
    nlp, dev = half_right
    pipe = nlp.get_pipe("welt_ner")
    for part in (dev[:2], fresh(make_examples(nlp) * 8, nlp)):  # few; all right
        with pytest.raises(TooFew, match="too few to calibrate"):
            fit_calibration(nlp, fresh(part, nlp))
    assert pipe.calibration is None and pipe.threshold == 0.5


def test_on_a_real_pipeline_the_error_falls(half_right, tmp_path):
    """Read from a file, as the command does."""
    from welt_spacy.corpora.docbin import write_docs

    nlp, dev = half_right
    write_docs(tmp_path / "dev.spacy", [eg.reference for eg in dev])
    examples = read_examples(nlp, tmp_path / "dev.spacy")
    fit = fit_calibration(nlp, examples)
    nlp.get_pipe("welt_ner").calibration = None
    nlp.get_pipe("welt_ner").threshold = 0.5
    assert fit.after.error < fit.before.error


def test_a_threshold_of_none_stays(half_right):
    nlp, dev = half_right
    pipe = nlp.get_pipe("welt_ner")
    kept = pipe.threshold
    try:
        for threshold in (0.0, 0.3):
            pipe.threshold, pipe.calibration = threshold, None
            fit_calibration(nlp, fresh(dev, nlp))
            assert (pipe.threshold == threshold) == (threshold == 0.0)
    finally:
        pipe.threshold, pipe.calibration = kept, None
