"""Slices of the entities, counted by hand."""

from collections import Counter

import pytest
from spacy.tokens import Doc

from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.scoring.slices import (
    by_form,
    by_length,
    count_mentions,
    make_slicers,
    score_slices,
)
from welt_spacy.scoring.strict import ner_score

from ..factories.scoring import VOCAB, make_doc, make_example


def score(criterion):
    mentions = count_mentions([make_doc("MPTP", "aspirin")] * 3)
    slicer = make_slicers(mentions)[criterion]
    return score_slices(pair_examples([make_example()]), slicer)


def test_mentions_are_counted_in_lower_case():
    assert count_mentions([make_doc("MPTP", "aspirin")] * 3) == {
        "mptp": 3,
        "aspirin": 3,
    }


def test_slices_by_mention_in_train():
    slices = score("mention in train")
    assert slices["seen"] == (1.0, 0.5, pytest.approx(2 / 3), 2, 1)
    assert slices["unseen"][:3] == (0.0, 0.0, 0.0)
    assert "mention in train" not in make_slicers()


def test_slices_by_frequency_in_train():
    assert set(score("frequency in train")) == {"0", "2 to 10"}


def test_slices_by_length():
    slices = score("length")
    assert (slices["2 tokens"].gold, slices["2 tokens"].predicted) == (1, 0)


def test_slices_by_form():
    assert score("form")["abbreviation"].f == 1.0


def test_names_of_slices():
    doc = Doc(VOCAB, words=["5-HT", "Aspirin", "a", "b", "c", "d", "MPTPMPTPMPTP"])
    assert [by_length(doc[:n]) for n in (1, 2, 5, 6)] == [
        "1 token",
        "2 tokens",
        "5 or more tokens",
        "5 or more tokens",
    ]
    forms = [by_form(doc[i : i + 1]) for i in (0, 1, 6)]
    assert forms == ["abbreviation", "word", "word"]
    frequency = make_slicers(Counter(aspirin=101))["frequency in train"]
    assert frequency(doc[1:2]) == "over 100"


def test_each_entity_is_in_one_slice():
    example = make_example()
    for slicer in make_slicers(Counter()).values():
        slices = score_slices(pair_examples([example]), slicer)
        assert sum(part.gold for part in slices.values()) == 3
        right = sum(part.r * part.gold for part in slices.values())
        assert right / 3 == pytest.approx(ner_score([example])["ents_r"])
