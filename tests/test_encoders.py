import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.util import registry

from welt_spacy.encoders import (
    build_token_classifier,
    configure_strided_spans,
    on_gpu,
)

from .util import TINY_TOK2VEC

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
        for one, other in zip(predicted, trained):
            np.testing.assert_allclose(one, other, rtol=1e-5)
        backprop(trained)


@pytest.mark.parametrize("window_size", [0, 1, 2])
def test_docs_do_not_see_their_neighbours_in_the_batch(window_size):
    model, docs = make_model(hidden_width=8, window_size=window_size)
    together = model.predict(docs)
    for doc, expected in zip(docs, together):
        np.testing.assert_allclose(model.predict([doc])[0], expected, rtol=1e-4)


def test_output_layer_starts_small_but_not_at_zero():
    model, _ = make_model(hidden_width=64)
    weights = model.get_ref("output_layer").get_param("W")
    assert 0.03 < weights.std() < 0.07
    assert model.get_ref("tok2vec") is model.layers[0]


def test_window_needs_a_hidden_layer():
    with pytest.raises(ValueError, match="hidden_width"):
        make_model(window_size=1)


def test_on_gpu_is_false_here():
    assert on_gpu() is False


words = st.lists(st.text(alphabet="abé漢", min_size=1, max_size=12), max_size=60)


@given(words, st.integers(1, 20), st.integers(1, 20), st.integers(1, 40))
@settings(deadline=None)
def test_windows_cover_everything_and_fit(words, window, stride, max_pieces):
    if stride > window:
        window, stride = stride, window
    get_spans = configure_strided_spans(window, stride, max_pieces)
    doc = Doc(VOCAB, words=words)
    (spans,) = get_spans([doc])
    covered = set()
    for span in spans:
        covered.update(range(span.start, span.end))
        assert 0 < len(span) <= window
        size = sum(len(token.text.encode("utf8")) for token in span)
        assert len(span) == 1 or size <= max_pieces
    assert covered == set(range(len(doc)))
    starts = [span.start for span in spans]
    assert starts == sorted(set(starts))


def test_a_sentence_is_one_window():
    doc = Doc(VOCAB, words=["word"] * 100)
    assert len(configure_strided_spans(128, 96, 510)([doc])[0]) == 1


def test_windows_may_not_leave_gaps():
    with pytest.raises(ValueError, match="stride"):
        configure_strided_spans(10, 11)
