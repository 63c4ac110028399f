import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
from spacy.util import registry

from welt_spacy.ml.token_classifier import build_token_classifier

from ..factories import TINY_TOK2VEC

VOCAB = spacy.blank("en").vocab


def make_model(**settings):
    tok2vec = registry.resolve({"tok2vec": TINY_TOK2VEC})["tok2vec"]
    model = build_token_classifier(tok2vec, nO=5, **settings)
    docs = [Doc(VOCAB, words=words.split()) for words in ("a b c", "", "d e", "f")]
    model.initialize(X=docs)
    return model, docs


@pytest.mark.parametrize(
    "settings",
    [{}, {"hidden_width": 8}, {"hidden_width": 8, "window_size": 2}, {"dropout": 0.5}],
)
def test_probabilities_in_training_and_in_prediction(settings):
    model, docs = make_model(**settings)
    predicted = model.predict(docs)
    assert [array.shape for array in predicted] == [(3, 5), (0, 5), (2, 5), (1, 5)]
    for array in predicted:
        np.testing.assert_allclose(array.sum(axis=1), 1.0, rtol=1e-5)
    if not settings.get("dropout"):
        trained, backprop = model.begin_update(docs)
        for expected, array in zip(predicted, trained):
            np.testing.assert_allclose(array, expected, rtol=1e-5)
        backprop(trained)


@pytest.mark.parametrize("window_size", [0, 1, 2])
def test_documents_of_a_batch_are_independent(window_size):
    model, docs = make_model(hidden_width=8, window_size=window_size)
    for doc, expected in zip(docs, model.predict(docs)):
        np.testing.assert_allclose(model.predict([doc])[0], expected, rtol=1e-4)


def test_output_layer_starts_small_but_not_at_zero():
    model, _ = make_model(hidden_width=64)
    weights = model.get_ref("output_layer").get_param("W")
    assert 0.03 < weights.std() < 0.07
    assert model.get_ref("tok2vec") is model.layers[0]


def test_window_needs_a_hidden_layer():
    with pytest.raises(ValueError, match="hidden_width"):
        make_model(window_size=1)
