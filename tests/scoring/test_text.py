"""Scores of raw text by characters."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.scoring.strict import strict_eval
from welt_spacy.scoring.text import text_eval

NLP = spacy.blank("en")


def make(words, ents, spaces=None):
    doc = Doc(NLP.vocab, words=words, spaces=spaces)
    doc.set_ents([doc.char_span(*ent[:2], label=ent[2]) for ent in ents])
    return doc


def score(gold, prediction):
    docs = pair_examples([Example(gold.copy(), gold)])
    return text_eval(docs, [prediction])


GOLD = make(
    ["TNF", "-", "alpha", "rose", "."],
    [(0, 9, "Gene")],
    [False, False, True, False, False],
)


def test_other_tokens_with_the_same_boundaries_are_right():
    scores = score(
        GOLD, make(["TNF-alpha", "rose", "."], [(0, 9, "Gene")], [True, False, False])
    )
    assert scores.strict == (1, 1, 1) and scores.split == 0


def test_a_boundary_inside_a_token_cannot_be_predicted():
    scores = score(
        GOLD, make(["TNF-alpha rose", "."], [(0, 14, "Gene")], [False, False])
    )
    assert scores.strict == (0, 0, 0) and scores.split == 1
    assert (scores.gold, scores.predicted, scores.tokens) == (1, 1, 2)


def test_on_the_same_tokens_both_scores_are_equal():
    gold = make(["Aspirin", "or", "MPTP"], [(0, 7, "C"), (11, 15, "C")])
    guess = make(["Aspirin", "or", "MPTP"], [(0, 7, "C"), (8, 10, "D")])
    (paired,) = docs = pair_examples([Example(guess, gold)])
    scores = text_eval(docs, [guess])
    strict = strict_eval([paired.gold], [paired.predicted])
    assert (scores.strict, scores.per_type) == (strict.micro, strict.per_type)
    assert scores.joined == 1  # its spaces are not known


def test_predictions_without_annotation_are_left_out():
    gold = make(["Aspirin", "or", "MPTP"], [(0, 7, "C")])
    gold.set_ents(list(gold.ents), missing=[gold[2:3]])
    guess = make(["Aspirin", "or", "MPTP"], [(0, 7, "C"), (11, 15, "C")])
    assert score(gold, guess).predicted == 1


def test_two_texts_that_differ_are_an_error():
    with pytest.raises(WeltError, match="Document 0: the text is 'b ' and in the gold"):
        score(make(["a"], []), make(["b"], []))
