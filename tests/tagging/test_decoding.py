"""Decoders, compared with enumerations of all tag sequences."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from welt_spacy.tagging.decoding import decode, tags_to_spans, viterbi
from welt_spacy.tagging.tags import legal_transitions, orphans, tag_names


def random_probs(seed, n_tokens, n_labels, sharpness=2.0):
    logits = np.random.default_rng(seed).normal(
        scale=sharpness, size=(n_tokens, 2 * n_labels + 1)
    )
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def all_sequences(probs, legal=None):
    """Yield each legal tag sequence and its probability."""
    n_tokens, n_tags = probs.shape
    for tags in product(range(n_tags), repeat=n_tokens):
        path = (0, *tags)
        if legal is None or all(legal[i, j] for i, j in zip(path, path[1:])):
            yield tags, float(np.prod([probs[t, tag] for t, tag in enumerate(tags)]))


def spans_of(tags):
    starts, ends, labels = tags_to_spans(np.array(tags), np.array([len(tags)]))
    return set(zip(starts.tolist(), ends.tolist(), labels.tolist()))


batches = st.tuples(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.integers(1, 2),
)


@given(batches)
@settings(max_examples=60, deadline=None)
def test_constrained_is_the_best_legal_sequence(batch):
    seed, lengths, n_labels = batch
    probs = random_probs(seed, sum(lengths), n_labels)
    legal = legal_transitions(n_labels)
    tags = viterbi(probs, np.array(lengths))
    assert not orphans(tags, np.array(lengths)).any()
    start = 0
    for length in lengths:
        if length:
            part = probs[start : start + length]
            best, _ = max(all_sequences(part, legal), key=lambda pair: pair[1])
            assert tuple(tags[start : start + length].tolist()) == best
        start += length


@given(batches)
@settings(max_examples=60, deadline=None)
def test_constrained_decode_and_confidence_by_brute_force(batch):
    seed, lengths, n_labels = batch
    probs = random_probs(seed, sum(lengths), n_labels)
    legal = legal_transitions(n_labels)
    entities = decode(probs, np.array(lengths))
    expected = {}
    start = 0
    for length in lengths:
        part = probs[start : start + length]
        sequences = list(all_sequences(part, legal))
        total = sum(p for _, p in sequences)
        best, _ = max(sequences, key=lambda pair: pair[1])
        for span in spans_of(best) if length else ():
            mass = sum(p for tags, p in sequences if span in spans_of(tags))
            expected[span[0] + start, span[1] + start, span[2]] = mass / total
        start += length
    confidences_of = dict(
        zip(
            zip(
                entities.starts.tolist(),
                entities.ends.tolist(),
                entities.labels.tolist(),
            ),
            entities.confidences,
        )
    )
    assert confidences_of.keys() == expected.keys()
    for span, confidence in expected.items():
        assert confidences_of[span] == pytest.approx(confidence, rel=1e-9, abs=1e-12)


@given(batches)
@settings(max_examples=60, deadline=None)
def test_greedy_decode_and_confidence_by_brute_force(batch):
    seed, lengths, n_labels = batch
    probs = random_probs(seed, sum(lengths), n_labels)
    entities = decode(probs, np.array(lengths), decoder="greedy")
    rows = list(
        zip(entities.starts, entities.ends, entities.labels, entities.confidences)
    )
    start = 0
    for length in lengths:
        part = probs[start : start + length]
        inside = [r for r in rows if start <= r[0] < start + length]
        spans = {(int(s) - start, int(e) - start, int(x)) for s, e, x, _ in inside}
        assert spans == (spans_of(part.argmax(axis=1)) if length else set())
        for s, e, x, confidence in inside:
            span = (int(s) - start, int(e) - start, int(x))
            mass = sum(p for tags, p in all_sequences(part) if span in spans_of(tags))
            assert confidence == pytest.approx(mass, rel=1e-9, abs=1e-12)
        start += length


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_spans_are_those_of_seqeval(tags):
    names = tag_names(["x", "y"])
    expected = {
        (start, end + 1, "xy".index(label))
        for label, start, end in get_entities([names[tag] for tag in tags])
    }
    assert spans_of(tags) == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_batches_equal_single_documents(seed, n_docs):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, size=n_docs)
    probs = random_probs(seed, int(lengths.sum()), 2)
    together = decode(probs, lengths)
    starts, confidences = [], []
    offset = 0
    for length in lengths:
        alone = decode(probs[offset : offset + length], np.array([length]))
        starts.extend((alone.starts + offset).tolist())
        confidences.extend(alone.confidences.tolist())
        offset += length
    assert together.starts.tolist() == starts
    np.testing.assert_allclose(together.confidences, confidences, rtol=1e-9)


def test_o_bias_shifts_the_log_odds_of_o():
    probs = np.array([[0.5, 0.3, 0.2]])
    for bias in (-2.0, -0.5, 0.5, 2.0):
        entities = decode(probs, np.array([1]), o_bias=bias)
        # The only legal tags with an entity are B, whose odds against O change by exp(b)
        odds = 0.3 / (0.5 * np.exp(bias))
        assert len(entities.starts) == (odds > 1)
        if len(entities.starts):
            assert entities.confidences[0] == pytest.approx(odds / (1 + odds))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_more_o_bias_never_gives_more_entity_tokens(seed):
    probs = random_probs(seed, 30, 2)
    lengths = np.array([10, 20])
    tokens = []
    for bias in (-3.0, -1.0, 0.0, 1.0, 3.0):
        entities = decode(probs, lengths, o_bias=bias)
        tokens.append(int((entities.ends - entities.starts).sum()))
    assert tokens == sorted(tokens, reverse=True)


@pytest.mark.parametrize("decoder", ["greedy", "constrained"])
def test_extreme_probabilities_stay_probabilities(decoder):
    # Probabilities of zero for tags that legal sequences need
    rng = np.random.default_rng(0)
    tags = rng.integers(0, 5, size=400)
    probs = np.zeros((400, 5), dtype="float32")
    probs[np.arange(400), tags] = 1.0
    entities = decode(probs, np.array([400]), decoder=decoder)
    assert len(entities.starts)
    assert np.isfinite(entities.confidences).all()
    assert (entities.confidences >= 0).all() and (entities.confidences <= 1).all()


def test_long_sequence():
    entities = decode(random_probs(0, 10_000, 2), np.array([10_000]))
    assert len(entities.starts) == len(entities.ends) > 100


@pytest.mark.parametrize("lengths", [[0, 0], []])
def test_empty_sequences(lengths):
    entities = decode(np.zeros((0, 5)), np.array(lengths, dtype=int))
    assert len(entities.starts) == 0


@pytest.mark.parametrize(
    "shape, decoder, message",
    [
        ((1, 3), "beam", "greedy"),
        ((1, 4), "greedy", "2K \\+ 1"),
        ((2, 3), "greedy", "one row per token"),
    ],
)
def test_bad_input_is_refused(shape, decoder, message):
    with pytest.raises(ValueError, match=message):
        decode(np.ones(shape), np.array([1]), decoder=decoder)
