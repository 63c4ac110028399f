"""Calibration errors computed by hand, and of calibrated confidences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from welt_spacy.errors import WeltError
from welt_spacy.scoring.calibration_error import collect_outcomes, measure_calibration
from welt_spacy.scoring.pairs import pair_examples
from welt_spacy.tokens.confidence import install_extensions

from ..factories.scoring import make_example


def test_calibration_by_hand():
    calibration = measure_calibration(
        [0.95, 0.91, 0.55, 1.0], [True, False, True, True]
    )
    assert [(b.low, b.n) for b in calibration.bins] == [(0.5, 1), (0.9, 3)]
    assert calibration.bins[1].precision == pytest.approx(2 / 3)
    gap = 0.45 + 3 * abs((0.95 + 0.91 + 1.0) / 3 - 2 / 3)
    assert calibration.error == pytest.approx(gap / 4)
    assert measure_calibration([], []) == (0.0, [])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1))
@settings(deadline=None)
def test_the_error_is_at_least_that_of_one_bin(pairs):
    confidences, right = zip(*pairs)
    calibration = measure_calibration(confidences, right)
    assert sum(b.n for b in calibration.bins) == len(pairs)
    overall = abs(np.mean(confidences) - np.mean(right))
    assert overall - 1e-9 <= calibration.error <= 1.0


def test_calibrated_confidences_have_no_error():
    rng = np.random.default_rng(0)
    confidences = rng.random(100_000)
    assert (
        measure_calibration(confidences, rng.random(100_000) < confidences).error < 0.01
    )


def test_bad_confidences():
    with pytest.raises(WeltError, match="1 confidences and 2 outcomes"):
        measure_calibration([0.5], [True, False])
    with pytest.raises(WeltError, match="must be in"):
        measure_calibration([1.5], [True])


def test_outcomes_of_predictions():
    example = make_example()
    install_extensions()
    for ent, confidence in zip(example.predicted.ents, (0.9, 0.6, None)):
        ent._.confidence = confidence
    assert collect_outcomes(pair_examples([example])) == ([0.9, 0.6], [True, False])
