"""Slices of the entities, on a case counted by hand."""

from collections import Counter

import pytest
from spacy.tokens import Doc

from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.scoring.slices import (
    by_form,
    by_length,
    count_mentions,
    score_slices,
    slicers,
)
from welt_spacy.scoring.strict import ner_score

from ..factories.scoring import VOCAB, make_doc, make_example


def test_slices():
    example = make_example()
    mentions = count_mentions([make_doc("MPTP", "aspirin")] * 3)
    assert mentions == {"mptp": 3, "aspirin": 3}
    ways = slicers(mentions)
    assert "mention in train" not in slicers()
    found = score_slices(pair_examples([example]), ways["mention in train"])
    assert found["seen"].scores == (1.0, 0.5, pytest.approx(2 / 3))
    assert (found["seen"].n_gold, found["seen"].n_predicted) == (2, 1)
    assert found["unseen"].scores == (0.0, 0.0, 0.0)
    found = score_slices(pair_examples([example]), ways["frequency in train"])
    assert set(found) == {"0", "2 to 10"}
    found = score_slices(pair_examples([example]), ways["length"])
    assert found["2 tokens"].n_gold == 1 and found["2 tokens"].n_predicted == 0
    found = score_slices(pair_examples([example]), ways["form"])
    assert found["abbreviation"].scores.f == 1.0


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
    frequency = slicers(Counter(aspirin=101))["frequency in train"]
    assert frequency(doc[1:2]) == "over 100"


def test_slices_together_are_everything():
    example = make_example()
    for slicer in slicers(Counter()).values():
        found = score_slices(pair_examples([example]), slicer)
        assert sum(part.n_gold for part in found.values()) == 3
        right = sum(part.scores.r * part.n_gold for part in found.values())
        assert right / 3 == pytest.approx(ner_score([example])["ents_r"])
