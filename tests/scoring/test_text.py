"""Scores of raw text by characters."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.scoring.spans import spans_of
from welt_spacy.scoring.strict import strict_eval
from welt_spacy.scoring.text import text_eval

NLP = spacy.blank("en")


def make(words, ents, spaces=None):
    doc = Doc(NLP.vocab, words=words, spaces=spaces)
    doc.set_ents([doc.char_span(*ent[:2], label=ent[2]) for ent in ents])
    return doc


def test_tokens_do_not_matter_but_borders_do():
    gold = make(
        ["TNF", "-", "alpha", "rose", "."],
        [(0, 9, "Gene")],
        [False, False, True, False, False],
    )
    same = make(["TNF-alpha", "rose", "."], [(0, 9, "Gene")], [True, False, False])
    found = text_eval([gold], [same])
    assert found.strict.micro == (1, 1, 1) and found.n_split == 0
    coarse = make(["TNF-alpha rose", "."], [(0, 14, "Gene")], [False, False])
    found = text_eval([gold], [coarse])
    assert found.strict.micro == (0, 0, 0) and found.n_split == 1
    assert (found.n_gold, found.n_predicted, found.n_tokens) == (1, 1, 2)


def test_on_the_same_tokens_both_figures_are_the_same():
    gold = make(["Aspirin", "or", "MPTP"], [(0, 7, "C"), (11, 15, "C")])
    guess = make(["Aspirin", "or", "MPTP"], [(0, 7, "C"), (8, 10, "D")])
    pair = spans_of(Example(guess, gold))
    found = text_eval([gold], [guess])
    assert found.strict == strict_eval([pair[0]], [pair[1]])
    assert found.n_joined == 1  # its spaces were not given


def test_what_is_not_annotated_is_left_out():
    gold = make(["Aspirin", "or", "MPTP"], [(0, 7, "C")])
    gold.set_ents(list(gold.ents), missing=[gold[2:3]])
    guess = make(["Aspirin", "or", "MPTP"], [(0, 7, "C"), (11, 15, "C")])
    assert text_eval([gold], [guess]).n_predicted == 1


def test_another_text_is_told():
    with pytest.raises(WeltError, match="The text of doc 0 is not"):
        text_eval([make(["a"], [])], [make(["b"], [])])
