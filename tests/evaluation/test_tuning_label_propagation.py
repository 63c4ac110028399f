"""Label propagation tuned on dev data."""

import numpy as np
import pytest
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.evaluation.tuning import label_propagation
from welt_spacy.evaluation.tuning.decoding import measure
from welt_spacy.evaluation.tuning.label_propagation import tune_label_propagation
from welt_spacy.evaluation.tuning.objective import Objective
from welt_spacy.evaluation.tuning.predictions import predict_dev, temporary_settings

from ..factories import make_examples, make_nlp

WORDS = ["aspirin", "helps", "and", "aspirin", "hurts"]


@pytest.fixture
def nlp():
    nlp = make_nlp(threshold=0.5, model={"init_std": 0.3})
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


@pytest.fixture
def probs(nlp):
    """Return probabilities of `WORDS`: the first word is a chemical, all others are not."""
    pipe = nlp.get_pipe("welt_ner")
    label = pipe.labels.index("Chemical")
    probs = np.full((5, len(pipe.tags)), 0.01)
    probs[:, 0] = 0.9
    probs[0, 0], probs[0, 1 + 2 * label] = 0.01, 0.9
    return (probs / probs.sum(axis=1, keepdims=True)).astype("float32")


def make_dev(nlp, probs, tags):
    words = WORDS[: len(tags)]
    pipe = nlp.get_pipe("welt_ner")
    pipe.predict = lambda docs: [probs[: len(tags)] for _ in docs]
    gold = Doc(nlp.vocab, words=words, ents=tags)
    return predict_dev(nlp, [Example(Doc(nlp.vocab, words=words), gold)])


def test_another_occurrence_is_added(nlp, probs):
    pipe = nlp.get_pipe("welt_ner")
    dev = make_dev(nlp, probs, ["B-Chemical", "O", "O", "B-Chemical", "O"])
    tuning = tune_label_propagation(dev)
    assert (tuning.added, tuning.right) == (1, 1)
    assert tuning.before.f == pytest.approx(2 / 3) and tuning.after.f == 1
    assert pipe.label_propagation == tuning.settings
    assert tuning.settings["min_count"] == 1
    doc = Doc(nlp.vocab, words=WORDS)
    pipe.set_annotations([doc], [probs])
    assert [ent.text for ent in doc.ents] == ["aspirin", "aspirin"]


def test_single_sentences_switch_it_off(nlp, probs):
    dev = make_dev(nlp, probs, ["B-Chemical", "O"])
    assert tune_label_propagation(dev).settings is None
    assert nlp.get_pipe("welt_ner").label_propagation is None


def make_random_dev(nlp, n_docs=30, length=25):
    """Predict documents in which three words occur again and again, with random
    probabilities and half of the occurrences as gold entities."""
    rng = np.random.default_rng(0)
    pipe = nlp.get_pipe("welt_ner")
    examples, arrays = [], []
    for _ in range(n_docs):
        words = rng.choice(list("abc"), size=length).tolist()
        tags = ["B-Chemical" if rng.random() < 0.5 else "O" for _ in words]
        gold = Doc(nlp.vocab, words=words, ents=tags)
        examples.append(Example(Doc(nlp.vocab, words=words), gold))
        arrays.append(rng.dirichlet(np.full(len(pipe.tags), 0.3), size=length))
    arrays = [array.astype("float32") for array in arrays]
    pipe.predict = lambda docs: arrays
    return predict_dev(nlp, examples)


def test_the_grid_is_decoded_once(nlp, monkeypatch):
    dev = make_random_dev(nlp)
    calls = []
    for name in ("decode", "score_spans"):

        def counted(*args, name=name, function=getattr(label_propagation, name), **kw):
            calls.append(name)
            return function(*args, **kw)

        monkeypatch.setattr(label_propagation, name, counted)
    monkeypatch.setattr(
        type(dev.pipe), "find_entities", lambda *args: pytest.fail("decoded again")
    )
    tune_label_propagation(dev)
    assert calls == ["decode", "score_spans"]


@pytest.mark.parametrize("calibration", [None, {"temperature": 1.5, "shift": 0.2}])
def test_scores_are_those_of_the_component(nlp, calibration):
    nlp.get_pipe("welt_ner").calibration = calibration
    dev = make_random_dev(nlp)
    propagator = label_propagation._Propagator(dev)
    for settings in (
        None,
        {"min_count": 1, "min_confidence": 0.6, "weight": 0.35},
        {"min_count": 2, "min_confidence": 0.9, "weight": 0.5},
    ):
        with temporary_settings(dev.pipe, label_propagation=settings):
            point = measure(dev, Objective(), [dev.pipe.threshold])
        assert propagator.score(settings) == point[2:]
