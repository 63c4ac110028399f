"""Error types, slices and calibration, on cases counted by hand."""

from collections import Counter

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example

from welt_spacy.errors import WeltError
from welt_spacy.pipeline.welt_ner import install_extensions
from welt_spacy.scoring.errors import (
    MISSED,
    OVERLAPPING,
    SPURIOUS,
    by_form,
    by_length,
    calibrate,
    count_mentions,
    find_errors,
    outcomes,
    score_slices,
    slicers,
)
from welt_spacy.scoring.strict import ner_score

VOCAB = spacy.blank("en").vocab
WORDS = [
    "We",
    "gave",
    "MPTP",
    ",",
    "aspirin",
    ",",
    "valproic",
    "acid",
    "and",
    "saline",
    "to",
    "mice",
]


def make_doc(*ents):
    doc = Doc(VOCAB, words=WORDS)
    doc.set_ents([doc.char_span(*span, label="x") for span in map(place, ents)])
    return doc


def place(text):
    start = " ".join(WORDS).index(text)
    return start, start + len(text)


@pytest.fixture
def example():
    gold = make_doc("MPTP", "aspirin", "valproic acid")
    return Example(make_doc("MPTP", "valproic", "saline"), gold)


def test_types_of_errors(example):
    unknown = Doc(VOCAB, words=["a"])
    right = Example(make_doc("MPTP"), make_doc("MPTP"))
    errors = find_errors([Example(unknown, unknown.copy()), right, example])
    assert [(e.type, e.kind, e.example) for e in errors] == [
        (MISSED, "FN", 2),
        (OVERLAPPING, "BES", 2),
        (SPURIOUS, "FP", 2),
    ]
    assert errors[0].gold.text == "aspirin" and errors[0].predicted is None
    assert errors[1].gold.text == "valproic acid"
    assert errors[1].predicted.text == "valproic"
    assert errors[2].predicted.text == "saline" and errors[2].gold is None


def test_slices(example):
    mentions = count_mentions([make_doc("MPTP", "aspirin")] * 3)
    assert mentions == {"mptp": 3, "aspirin": 3}
    ways = slicers(mentions)
    assert "mention in train" not in slicers()
    found = score_slices([example], ways["mention in train"])
    assert found["seen"].scores == (1.0, 0.5, pytest.approx(2 / 3))
    assert (found["seen"].n_gold, found["seen"].n_predicted) == (2, 1)
    assert found["unseen"].scores == (0.0, 0.0, 0.0)
    found = score_slices([example], ways["frequency in train"])
    assert set(found) == {"0", "2 to 10"}
    found = score_slices([example], ways["length"])
    assert found["2 tokens"].n_gold == 1 and found["2 tokens"].n_predicted == 0
    found = score_slices([example], ways["form"])
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


def test_slices_together_are_everything(example):
    for slicer in slicers(Counter()).values():
        found = score_slices([example], slicer)
        assert sum(part.n_gold for part in found.values()) == 3
        right = sum(part.scores.r * part.n_gold for part in found.values())
        assert right / 3 == pytest.approx(ner_score([example])["ents_r"])


def test_calibration_by_hand():
    found = calibrate([0.95, 0.91, 0.55, 1.0], [True, False, True, True])
    assert [(b.low, b.n) for b in found.bins] == [(0.5, 1), (0.9, 3)]
    assert found.bins[1].precision == pytest.approx(2 / 3)
    gap = 0.45 + 3 * abs((0.95 + 0.91 + 1.0) / 3 - 2 / 3)
    assert found.error == pytest.approx(gap / 4)
    assert calibrate([], []) == (0.0, [])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
@settings(deadline=None)
def test_calibration_is_between_no_bins_and_the_worst(pairs):
    confidences, right = zip(*pairs)
    found = calibrate(confidences, right)
    assert sum(b.n for b in found.bins) == len(pairs)
    overall = abs(np.mean(confidences) - np.mean(right))
    assert overall - 1e-9 <= found.error <= 1.0


def test_sure_and_right_is_calibrated():
    rng = np.random.default_rng(0)
    confidences = rng.random(100_000)
    assert calibrate(confidences, rng.random(100_000) < confidences).error < 0.01


def test_bad_confidences():
    with pytest.raises(WeltError, match="1 confidences do not fit 2"):
        calibrate([0.5], [True, False])
    with pytest.raises(WeltError, match="must be in"):
        calibrate([1.5], [True])


def test_outcomes_of_predictions(example):
    install_extensions()
    for ent, confidence in zip(example.predicted.ents, (0.9, 0.6, None)):
        ent._.confidence = confidence
    assert outcomes([example]) == ([0.9, 0.6], [True, False])
