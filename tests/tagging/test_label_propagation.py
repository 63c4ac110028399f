"""Label propagation within a document."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from welt_spacy.errors import WeltError
from welt_spacy.tagging.decoding import Entities, decode, score_spans
from welt_spacy.tagging.label_propagation import propagate_entities
from welt_spacy.util.pipelines import load_pipeline

from ..factories import make_examples, make_nlp

SETTINGS = {"min_count": 1, "min_confidence": 0.8, "weight": 0.6}


def entities(*rows):
    starts, ends, labels, confidences = zip(*rows) if rows else ([], [], [], [])
    ints = [np.array(column, dtype="int64") for column in (starts, ends, labels)]
    return Entities(*ints, np.array(confidences, dtype="float64"))


def propagate(texts, predicted, missed_confidence=0.1, **changes):
    """Return the entities after propagation, if missed occurrences have this confidence."""
    vocab = Vocab()
    docs = [Doc(vocab, words=text.split()) for text in texts]
    result = propagate_entities(
        docs,
        predicted,
        lambda starts, ends, labels: np.full(len(starts), missed_confidence),
        {**SETTINGS, **changes},
    )
    columns = (column.tolist() for column in result)
    return [(s, e, label, round(c, 6)) for s, e, label, c in zip(*columns)]


TEXT = "renal failure was seen ; renal failure and failure"


def test_other_occurrences_of_a_confident_entity_are_added():
    # 1 - (1 - 0.1) (1 - 0.6)
    assert propagate([TEXT], entities((0, 2, 0, 0.9))) == [
        (0, 2, 0, 0.9),
        (5, 7, 0, 0.64),
    ]


def test_entities_are_not_propagated_to_other_documents():
    predicted = entities((0, 1, 0, 0.9))
    assert propagate(["renal x", "renal y"], predicted) == [(0, 1, 0, 0.9)]


def test_entities_below_the_minimum_confidence_are_not_propagated():
    assert len(propagate([TEXT], entities((0, 2, 0, 0.7)))) == 1


def test_entities_below_the_minimum_count_are_not_propagated():
    assert len(propagate([TEXT], entities((0, 2, 0, 0.9)), min_count=2)) == 1


@pytest.mark.parametrize("text", [TEXT, ""])
def test_documents_without_entities(text):
    assert propagate([text], entities()) == []


def test_an_entity_does_not_count_for_itself():
    result = propagate(["nadh and nadh"], entities((0, 1, 1, 0.9), (2, 3, 1, 0.2)))
    assert result == [(0, 1, 1, 0.9), (2, 3, 1, 0.68)]


def test_confident_entities_raise_each_other():
    result = propagate(["nadh nadh nadh"], entities((0, 1, 1, 0.9), (2, 3, 1, 0.9)))
    assert result == [(0, 1, 1, 0.96), (1, 2, 1, 0.64), (2, 3, 1, 0.96)]


OVERLAP = ["ache here , head ache there"]


def test_likely_entities_are_not_displaced():
    likely = [(0, 1, 0, 0.9), (3, 5, 0, 0.6)]
    assert propagate(OVERLAP, entities(*likely)) == likely


def test_unlikely_entities_are_displaced_by_more_likely_ones_only():
    unlikely = entities((0, 1, 0, 0.9), (3, 5, 0, 0.4))
    assert propagate(OVERLAP, unlikely) == [(0, 1, 0, 0.9), (4, 5, 0, 0.64)]
    assert propagate(OVERLAP, unlikely, weight=0.1)[1] == (3, 5, 0, 0.4)


def test_labels_of_equal_tokens_are_separate():
    both = entities((0, 1, 0, 0.9), (2, 3, 1, 0.85))
    assert propagate(["a b a c a"], both)[0][:3] == (0, 1, 0)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["greedy", "constrained"]),
)
def test_properties(seed, min_count, min_confidence, weight, decoder):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, size=4)
    vocab = Vocab()
    docs = [Doc(vocab, words=rng.choice(list("abc"), size=n).tolist()) for n in lengths]
    probs = rng.dirichlet(np.full(5, 0.4), size=int(lengths.sum())).reshape(-1, 5)
    decoded = decode(probs, lengths, decoder=decoder)
    options = {
        "min_count": min_count,
        "min_confidence": min_confidence,
        "weight": weight,
    }

    def score(*spans):
        return score_spans(probs, lengths, *spans, decoder=decoder)

    np.testing.assert_allclose(
        score(decoded.starts, decoded.ends, decoded.labels), decoded.confidences
    )
    result = propagate_entities(docs, decoded, score, options)
    assert (result.ends[:-1] <= result.starts[1:]).all()
    assert ((result.confidences >= 0) & (result.confidences <= 1)).all()
    spans = set(zip(*(column.tolist() for column in result[:3])))
    before = dict(zip(zip(*(c.tolist() for c in decoded[:3])), decoded.confidences))
    after = dict(zip(zip(*(c.tolist() for c in result[:3])), result.confidences))
    for span, value in before.items():
        if value >= 0.5:
            assert span in spans and after[span] >= value - 1e-12
    # An added entity is an occurrence of a confident one in the same document
    flat = [(i, token.text) for i, doc in enumerate(docs) for token in doc]
    for start, end, label in spans - set(before):
        same = [
            value
            for (s, e, other), value in before.items()
            if other == label and flat[s:e] == flat[start:end]
        ]
        assert sum(value >= min_confidence for value in same) >= min_count


@pytest.fixture
def nlp():
    nlp = make_nlp(threshold=0.5)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def test_the_setting_is_off_by_default(nlp):
    assert nlp.get_pipe("welt_ner").label_propagation is None


def test_the_setting_is_saved(nlp, tmp_path):
    nlp.get_pipe("welt_ner").label_propagation = SETTINGS
    nlp.to_disk(tmp_path)
    assert "weight = 0.6" in (tmp_path / "config.cfg").read_text("utf8")
    assert load_pipeline(tmp_path).get_pipe("welt_ner").label_propagation == SETTINGS


def test_the_saved_setting_can_be_turned_off_in_the_config(nlp, tmp_path):
    nlp.get_pipe("welt_ner").label_propagation = SETTINGS
    nlp.to_disk(tmp_path)
    config = {"components": {"welt_ner": {"label_propagation": None}}}
    loaded = spacy.load(tmp_path, config=config)
    assert loaded.get_pipe("welt_ner").label_propagation is None


@pytest.mark.parametrize(
    "value", [0.5, {}, {**SETTINGS, "weight": 2}, {**SETTINGS, "min_count": 0}]
)
def test_the_setting_is_checked(nlp, value):
    with pytest.raises(WeltError, match="label_propagation"):
        nlp.get_pipe("welt_ner").label_propagation = value
