"""Strict scores against seqeval and spaCy."""

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.scoring.fair import count_pairs
from welt_spacy.scoring.pairs import PairedDoc, pair_examples, pair_spans
from welt_spacy.scoring.strict import (
    make_ner_scorer,
    ner_score,
    seqeval_eval,
    strict_eval,
)
from welt_spacy.tokens.annotated_labels import set_annotated_labels

VOCAB = spacy.blank("en").vocab


def legal(tags):
    """Turn I tags that begin an entity into B tags."""
    previous = "O"
    for tag in tags:
        if tag[0] == "I" and previous[1:] != tag[1:]:
            tag = "B" + tag[1:]
        previous = tag
        yield tag


def make_doc(tags):
    return Doc(VOCAB, words=["w"] * len(tags), ents=tags)


sequences = st.lists(
    st.lists(
        st.tuples(*[st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"])] * 2),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=5,
)


@given(sequences)
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore")  # seqeval warns of divisions by zero
def test_scores_are_those_of_seqeval_and_spacy(batch):
    golds = [list(legal(gold for gold, _ in sentence)) for sentence in batch]
    guesses = [list(legal(guess for _, guess in sentence)) for sentence in batch]
    examples = [
        Example(make_doc(guess), make_doc(gold)) for gold, guess in zip(golds, guesses)
    ]
    docs = pair_examples(examples)
    strict = strict_eval([doc.gold for doc in docs], [doc.predicted for doc in docs])
    if not any(tag != "O" for tags in golds + guesses for tag in tags):
        assert strict.micro == strict.macro == (0, 0, 0) and not strict.per_type
        return
    options = {"scheme": IOB2, "zero_division": 0}
    for scores, average in ((strict.micro, "micro"), (strict.macro, "macro")):
        expected = precision_recall_fscore_support(
            golds, guesses, average=average, **options
        )
        assert scores == pytest.approx(expected[:3])
    columns = precision_recall_fscore_support(golds, guesses, average=None, **options)
    assert [list(scores) for scores in strict.per_type.values()] == [
        pytest.approx(row) for row in zip(*columns[:3])
    ]
    spacy_scores = ner_score(examples)
    for scores, expected in (
        (strict.micro, {name: spacy_scores[f"ents_{name}"] for name in "prf"}),
        *((strict.per_type[n], p) for n, p in spacy_scores["ents_per_type"].items()),
    ):
        assert scores._asdict() == pytest.approx(expected)


# Overlapping predictions, which occur with other tokens, and labels that seqeval would strip
LABELS = ["x", "x-", "micro avg", "O", ""]
spans = st.tuples(st.sampled_from(LABELS), st.integers(0, 7), st.integers(1, 3)).map(
    lambda span: (span[0], span[1], min(8, span[1] + span[2]))
)


@given(st.lists(st.tuples(st.lists(spans, max_size=3), st.lists(spans, max_size=6))))
@settings(deadline=None)
def test_seqeval_gives_the_scores_of_the_counts(batch):
    docs = []
    for gold, predicted in batch:
        flat = [span for i, span in enumerate(gold) if disjoint(span, gold[:i])]
        pairs = pair_spans(flat, predicted)
        doc = make_doc(["O"] * 8)
        docs.append(PairedDoc(doc, doc, flat, predicted, [None] * 6, pairs))
    strict, expected = seqeval_eval(docs), count_pairs(docs).strict()
    assert strict.micro == pytest.approx(expected.micro)
    assert strict.macro == pytest.approx(expected.macro)
    assert list(strict.per_type) == list(expected.per_type)
    for label, scores in strict.per_type.items():
        assert scores == pytest.approx(expected.per_type[label])


def disjoint(span, others):
    return not any(span[1] < end and start < span[2] for _, start, end in others)


def test_tokens_and_labels_without_annotation_do_not_reach_seqeval():
    gold = make_doc(["B-x", "O", "O", "O"])
    gold.set_ents(list(gold.ents), missing=[gold[2:3]])
    set_annotated_labels(gold, ["x"])
    docs = pair_examples([Example(make_doc(["B-x", "B-y", "B-x", "O"]), gold)])
    assert seqeval_eval(docs).micro == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "corpus",
    ["ncbi_disease", "bc5cdr", "bc5cdr_chemical", "bc5cdr_disease"]
    + ["bc2gm", "linnaeus", "biored_chemical", "biored_disease"],
)
def test_parity_on_real_test_splits(mirror, benchmark, corpus):
    parity = benchmark("scoring_parity")
    differences = parity.compare(parity.load_test(corpus))
    assert differences.figures >= 18
    assert differences.seqeval < 1e-12 and differences.spacy < 1e-12


def test_different_lengths_are_an_error():
    with pytest.raises(WeltError, match="1 documents with gold annotation and 2"):
        strict_eval([[]], [[], []])


def test_without_annotation_there_is_no_score():
    doc = Doc(VOCAB, words=["a"])
    scores = make_ner_scorer()([Example(doc, doc)])
    assert set(scores) == {"ents_p", "ents_r", "ents_f", "ents_per_type"}
    assert set(scores.values()) == {None}
