"""Strategies of data selection."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy import registry
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

from welt_spacy.errors import WeltError
from welt_spacy.training.selection.ifd import Difficulty
from welt_spacy.training.selection.strategies import (
    Candidates,
    cover,
    doc_vectors,
    make_all,
    make_hybrid_superfilter,
    make_longest,
    make_lowest_ifd,
    make_most_mentions,
    make_random,
    make_superfilter,
    make_tagger_confidence,
    make_tagger_loss,
    select,
)
from welt_spacy.training.selection.tagger_scores import TaggerScore, score_with_tagger

from ..factories import make_examples, make_nlp, train

VOCAB = Vocab()


def make_doc(n_words, *labels):
    doc = Doc(VOCAB, words=["x"] * n_words)
    doc.set_ents([Span(doc, i, i + 1, label=name) for i, name in enumerate(labels)])
    return doc


def difficulty(value):
    return Difficulty(value, 1.0, 1.0, 3, False)


DOCS = [
    make_doc(9, "A"),
    make_doc(5),
    make_doc(4, "A", "A"),
    make_doc(6, "A", "B"),
    make_doc(7, "A"),
    make_doc(5),
    make_doc(8, "B", "A", "B"),
    make_doc(3, "A", "A", "A"),
]
IFD = {0: 0.9, 1: 0.1, 2: 0.5, 3: 0.2, 4: 0.9, 5: 0.95, 6: 0.3, 7: 1.2}
CANDIDATES = Candidates(
    DOCS,
    {i: difficulty(value) for i, value in IFD.items()},
    [TaggerScore(1 / (i + 1), -float(i)) for i in range(len(DOCS))],
)


@pytest.mark.parametrize(
    "strategy, expected",
    [
        # Of [0, 2, 4, 7] with A alone and [3, 6] with both, half each; 1 and 5 are empty
        (make_hybrid_superfilter(), [0, 1, 5, 6, 7]),
        (make_hybrid_superfilter(1.0), [0, 1, 4, 5, 6]),
        (make_superfilter(), [0, 4, 5, 7]),
        (make_lowest_ifd(), [0, 1, 2, 3, 5]),
        (make_longest(), [0, 1, 4, 5, 6]),
        (make_most_mentions(), [1, 2, 5, 6, 7]),
        (make_all(), list(range(8))),
        (make_tagger_loss(), [0, 1, 2, 3, 5]),
        (make_tagger_confidence(), [1, 4, 5, 6, 7]),
    ],
)
def test_selection_of_each_strategy(strategy, expected):
    selection = select(CANDIDATES, strategy)
    assert selection.places == expected
    assert selection.n_too_high == (strategy.high is not None)
    ranked = {i for i, score in enumerate(selection.ranks) if score is not None}
    assert ranked == set(range(8)) - (set() if strategy.negatives else {1, 5})


def test_random_selection_follows_the_seed():
    draws = {
        tuple(select(CANDIDATES, make_random(), seed=seed).places) for seed in range(9)
    }
    assert len(draws) > 1 and {len(draw) for draw in draws} == {5}
    assert select(CANDIDATES, make_random()) == select(CANDIDATES, make_random())


def test_shares():
    none = select(CANDIDATES, make_longest(), keep_negatives=0)
    assert none.places == [0, 4, 6]
    assert len(select(CANDIDATES, make_longest(), keep_negatives=0.5).places) == 4
    assert select(CANDIDATES, make_longest(), keep=1).places == list(range(8))


@pytest.mark.parametrize(
    "settings", [{"keep": 0}, {"keep": 1.1}, {"keep_negatives": -1}]
)
def test_shares_out_of_range(settings):
    with pytest.raises(WeltError, match="must be"):
        select(CANDIDATES, make_longest(), **settings)


def test_ranks_that_are_not_finite():
    broken = Candidates(DOCS, {i: difficulty(float("nan")) for i in range(8)})
    with pytest.raises(WeltError, match="Document 1"):
        select(broken, make_hybrid_superfilter())


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 10_000))
def test_cover_is_the_greedy_choice(m, n, seed):
    vectors = np.random.default_rng(seed).normal(size=(m, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = np.maximum(vectors @ vectors.T, 0)
    selected = []
    for _ in range(min(n, m)):
        others = [i for i in range(m) if i not in selected]
        values = [similar[[*selected, i]].max(axis=0).sum() for i in others]
        selected.append(others[int(np.argmax(values))])
    places = cover(vectors, n)

    def value(places):
        return similar[list(places)].max(axis=0).sum()

    assert value(places) == pytest.approx(value(selected))
    best = max(map(value, itertools.combinations(range(m), min(n, m))))
    assert value(places) >= (1 - 1 / np.e) * best


def test_diverse_selection():
    words = [["zinc", "pain"], ["zinc", "pain"], ["liver", "rat"], ["zinc", "pain"]]
    docs = [Doc(VOCAB, words=pair) for pair in words]
    for doc in docs:
        doc.set_ents([Span(doc, 0, 1, label="A")])
    vectors = doc_vectors(docs)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(vectors, doc_vectors(docs))
    selection = select(Candidates(docs), make_longest(), keep=0.5, vectors=vectors)
    assert selection.places == [0, 2]
    assert select(Candidates(docs), make_longest(), keep=0.5).places == [0, 1]
    assert doc_vectors([Doc(VOCAB, words=["a"])]).shape == (1, 1)


def test_scores_of_a_tagger():
    nlp = make_nlp()
    examples = make_examples(nlp)
    train(nlp, examples)
    docs = [eg.reference for eg in examples]
    scores = score_with_tagger(nlp, docs)
    pipe = nlp.get_pipe("welt_ner")
    for doc, score in zip(docs, scores):
        [probs] = pipe.predict([nlp.make_doc(doc.text)])
        assert score.confidence == pytest.approx(
            float(np.log(probs.max(axis=1)).mean()), abs=1e-4
        )
        assert score.loss >= -score.confidence - 1e-6 > 0


def test_a_tagger_that_does_not_know_a_label():
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp))
    other = Doc(nlp.vocab, words=["x"])
    other.set_ents([Span(other, 0, 1, label="Other")])
    with pytest.raises(WeltError, match="Other"):
        score_with_tagger(nlp, [other])


def test_strategies_are_registered():
    for name in ("hybrid_superfilter", "superfilter", "random", "tagger_loss", "all"):
        assert registry.misc.get(f"welt_spacy.{name}.v1")()
