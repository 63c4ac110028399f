"""The scorer against seqeval in strict mode."""

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.scoring.strict import make_ner_scorer, ner_score

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
def test_scores_are_those_of_seqeval(batch):
    golds = [list(legal(gold for gold, _ in sentence)) for sentence in batch]
    guesses = [list(legal(guess for _, guess in sentence)) for sentence in batch]
    examples = [
        Example(
            Doc(VOCAB, words=["w"] * len(gold), ents=guess),
            Doc(VOCAB, words=["w"] * len(gold), ents=gold),
        )
        for gold, guess in zip(golds, guesses)
    ]
    scores = ner_score(examples)
    if not any(tag != "O" for tags in golds + guesses for tag in tags):
        assert scores["ents_f"] is None or scores["ents_f"] == 0
        return
    strict = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    assert scores["ents_p"] == pytest.approx(precision_score(golds, guesses, **strict))
    assert scores["ents_r"] == pytest.approx(recall_score(golds, guesses, **strict))
    assert scores["ents_f"] == pytest.approx(f1_score(golds, guesses, **strict))


def test_without_annotation_there_is_no_score():
    doc = Doc(VOCAB, words=["a"])
    scores = make_ner_scorer()([Example(doc, doc)])
    assert set(scores) == {"ents_p", "ents_r", "ents_f", "ents_per_type"}
    assert set(scores.values()) == {None}
