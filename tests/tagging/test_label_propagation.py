"""The other occurrences of a name in its doc."""

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


def spread(texts, found, own=0.1, **changes):
    vocab = Vocab()
    docs = [Doc(vocab, words=text.split()) for text in texts]
    got = propagate_entities(
        docs, found, lambda s, e, n: np.full(len(s), own), {**SETTINGS, **changes}
    )
    return [
        (s, e, n, round(c, 6)) for s, e, n, c in zip(*(col.tolist() for col in got))
    ]


def test_a_name_found_for_sure_is_found_elsewhere_in_its_doc():
    text = "renal failure was seen ; renal failure and failure"
    # 1 - (1 - 0.1) (1 - 0.6)
    assert spread([text], entities((0, 2, 0, 0.9))) == [
        (0, 2, 0, 0.9),
        (5, 7, 0, 0.64),
    ]
    # not in another doc, nor one that is unsure, nor one that comes too seldom
    assert spread(["renal x", "renal y"], entities((0, 1, 0, 0.9))) == [(0, 1, 0, 0.9)]
    assert len(spread([text], entities((0, 2, 0, 0.7)))) == 1
    assert len(spread([text], entities((0, 2, 0, 0.9)), min_count=2)) == 1
    assert spread([text], entities()) == []
    assert spread([""], entities()) == []


def test_others_are_witnesses_not_the_entity_itself():
    # the second has the first as a witness, the first has none that is sure
    got = spread(["nadh and nadh"], entities((0, 1, 1, 0.9), (2, 3, 1, 0.2)))
    assert got == [(0, 1, 1, 0.9), (2, 3, 1, 0.68)]
    got = spread(["nadh nadh nadh"], entities((0, 1, 1, 0.9), (2, 3, 1, 0.9)))
    assert got == [(0, 1, 1, 0.96), (1, 2, 1, 0.64), (2, 3, 1, 0.96)]


def test_what_is_more_likely_than_not_stays():
    text = ["ache here , head ache there"]
    kept = [(0, 1, 0, 0.9), (3, 5, 0, 0.6)]
    assert spread(text, entities(*kept)) == kept
    # an unlikely one gives way to a more likely one, and not to a less likely
    unlikely = entities((0, 1, 0, 0.9), (3, 5, 0, 0.4))
    assert spread(text, unlikely) == [(0, 1, 0, 0.9), (4, 5, 0, 0.64)]
    assert spread(text, unlikely, weight=0.1)[1] == (3, 5, 0, 0.4)
    # the same tokens with two labels: the more confident
    both = entities((0, 1, 0, 0.9), (2, 3, 1, 0.85))
    assert [row[:3] for row in spread(["a b a c a"], both)][:1] == [(0, 1, 0)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["greedy", "constrained"]),
)
def test_properties(seed, times, confidence, share, decoder):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, size=4)
    vocab = Vocab()
    docs = [Doc(vocab, words=rng.choice(list("abc"), size=n).tolist()) for n in lengths]
    probs = rng.dirichlet(np.full(5, 0.4), size=int(lengths.sum())).reshape(-1, 5)
    found = decode(probs, lengths, decoder=decoder)
    asked = {"min_count": times, "min_confidence": confidence, "weight": share}

    def score(*spans):
        return score_spans(probs, lengths, *spans, decoder=decoder)

    np.testing.assert_allclose(
        score(found.starts, found.ends, found.labels), found.confidences
    )
    got = propagate_entities(docs, found, score, asked)
    assert (got.ends[:-1] <= got.starts[1:]).all()
    assert ((got.confidences >= 0) & (got.confidences <= 1)).all()
    kept = set(zip(*(column.tolist() for column in got[:3])))
    before = dict(zip(zip(*(c.tolist() for c in found[:3])), found.confidences))
    after = dict(zip(zip(*(c.tolist() for c in got[:3])), got.confidences))
    for span, value in before.items():
        if value >= 0.5:
            assert span in kept and after[span] >= value - 1e-12
    # a new one is an occurrence of a name that is found for sure in the same doc
    flat = [(i, token.text) for i, doc in enumerate(docs) for token in doc]
    for start, end, label in kept - set(before):
        same = [
            value
            for (s, e, other), value in before.items()
            if other == label and flat[s:e] == flat[start:end]
        ]
        assert sum(value >= confidence for value in same) >= times


def test_it_is_kept_and_checked(tmp_path):
    nlp = make_nlp(threshold=0.5)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("welt_ner")
    assert pipe.label_propagation is None
    pipe.label_propagation = SETTINGS
    nlp.to_disk(tmp_path / "model")
    assert "weight = 0.6" in (tmp_path / "model" / "config.cfg").read_text("utf8")
    again = load_pipeline(tmp_path / "model")
    assert again.get_pipe("welt_ner").label_propagation == SETTINGS
    assert (
        spacy.load(
            tmp_path / "model",
            config={"components": {"welt_ner": {"label_propagation": None}}},
        )
        .get_pipe("welt_ner")
        .label_propagation
        is None
    )
    for wrong in (0.5, {}, {**SETTINGS, "weight": 2}, {**SETTINGS, "min_count": 0}):
        with pytest.raises(WeltError, match="label_propagation"):
            pipe.label_propagation = wrong
