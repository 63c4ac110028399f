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
from welt_spacy.scoring.spans import spans_of
from welt_spacy.scoring.strict import make_ner_scorer, ner_score, strict_eval

VOCAB = spacy.blank("en").vocab


def legal(tags):
    previous = "O"
    for tag in tags:
        if tag[0] == "I" and previous[1:] != tag[1:]:
            tag = "B" + tag[1:]
        previous = tag
        yield tag


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
@pytest.mark.filterwarnings("ignore")  # seqeval warns of zero divisions
def test_scores_are_those_of_seqeval_and_spacy(batch):
    golds = [list(legal(gold for gold, _ in sentence)) for sentence in batch]
    guesses = [list(legal(guess for _, guess in sentence)) for sentence in batch]
    examples = [
        Example(
            Doc(VOCAB, words=["w"] * len(gold), ents=guess),
            Doc(VOCAB, words=["w"] * len(gold), ents=gold),
        )
        for gold, guess in zip(golds, guesses)
    ]
    pairs = [spans_of(example) for example in examples]
    found = strict_eval([gold for gold, _ in pairs], [guess for _, guess in pairs])
    if not any(tag != "O" for tags in golds + guesses for tag in tags):
        assert found.micro == found.macro == (0, 0, 0) and not found.per_type
        return
    strict = {"scheme": IOB2, "zero_division": 0}
    for mine, average in ((found.micro, "micro"), (found.macro, "macro")):
        theirs = precision_recall_fscore_support(
            golds, guesses, average=average, **strict
        )
        assert mine == pytest.approx(theirs[:3])
    each = precision_recall_fscore_support(golds, guesses, average=None, **strict)
    assert [list(scores) for scores in found.per_type.values()] == [
        pytest.approx(row) for row in zip(*each[:3])
    ]
    scores = ner_score(examples)
    for mine, theirs in (
        (found.micro, {name: scores[f"ents_{name}"] for name in "prf"}),
        *((found.per_type[n], part) for n, part in scores["ents_per_type"].items()),
    ):
        assert mine._asdict() == pytest.approx(theirs)


@pytest.mark.parametrize(
    "corpus",
    ["ncbi_disease", "bc5cdr", "bc5cdr_chemical", "bc5cdr_disease"]
    + ["bc2gm", "linnaeus", "biored_chemical", "biored_disease"],
)
def test_parity_on_real_test_splits(mirror, benchmark, corpus):
    parity = benchmark("scoring_parity")
    found = parity.compare(parity.load_test(corpus))
    assert found.figures >= 18
    assert found.seqeval < 1e-12 and found.spacy < 1e-12
    assert found.seconds["ours"] < 1


def test_different_lengths_are_told():
    with pytest.raises(WeltError, match="1 sentences of gold annotation and 2"):
        strict_eval([[]], [[], []])


def test_without_annotation_there_is_no_score():
    doc = Doc(VOCAB, words=["a"])
    scores = make_ner_scorer()([Example(doc, doc)])
    assert set(scores) == {"ents_p", "ents_r", "ents_f", "ents_per_type"}
    assert set(scores.values()) == {None}
