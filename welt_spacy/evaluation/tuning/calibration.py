"""Confidences fitted to dev data by likelihood."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from ...errors import WeltError
from ...pipeline.inference import get_welt_ner
from ...scoring.calibration_error import Calibration, calibrate
from ...tagging.platt_scaling import calibrated, log_odds
from .decoding import score_entities

# Fewer say nothing of frequencies
FEWEST = 20


class TooFew(WeltError):
    """There are too few entities, or all are right or all wrong."""


class Fit(NamedTuple):
    """What was found.

    before, after (Calibration): Of the entities above the threshold, which are the same
        in both.
    settings (dict[str, float]): "temperature" and "shift".
    """

    before: Calibration
    after: Calibration
    settings: dict[str, float]


def most_likely(
    confidences: NDArray[Any], right: NDArray[Any], *, shift: bool = True
) -> dict[str, float]:
    """Find the calibration under which outcomes are most likely.

    confidences (ndarray): Shape (E,), in [0, 1].
    right (ndarray): Shape (E,): whether each is right.
    shift (bool): Whether there is a shift, or a temperature alone.
    RETURNS (dict[str, float]): "temperature" and "shift".
    """
    odds = log_odds(confidences)

    def loss(w: NDArray[Any]) -> float:
        z = w[0] * odds + shift * w[1]
        return float(np.mean(np.logaddexp(0.0, z) - right * z))

    # The slope keeps the order of confidences
    from scipy.optimize import minimize

    slope, bias = minimize(loss, [1.0, 0.0], bounds=[(1e-2, 1e2), (-50, 50)]).x
    return {"temperature": float(1.0 / slope), "shift": float(shift * bias)}


def fit_calibration(nlp: Language, examples: Sequence[Example]) -> Fit:
    """Fit `calibration` of a `welt_ner`, and set it. The threshold goes along, so that
    the pipeline finds the same entities as before.

    nlp (Language): A pipeline with `welt_ner`, which is changed. What earlier components
        find plays no part in it.
    examples (Sequence[Example]): Dev data, not the data to be reported on.
    RETURNS (Fit): The settings, and the calibration before and after.
    RAISES (WeltError): As `tune`; `TooFew` if there are too few entities, or all are
        right or all wrong. Then nothing is changed.
    """
    pipe = get_welt_ner(nlp)
    before = pipe.calibration
    pipe.calibration = None
    try:
        confidences, right, _ = score_entities(nlp, examples)
    finally:
        pipe.calibration = before
    uncalibrated_threshold = pipe.uncalibrated_threshold
    kept = confidences >= uncalibrated_threshold
    confidences, right = confidences[kept], right[kept]
    if len(right) < FEWEST or right.all() or not right.any():
        raise TooFew(
            f"{len(right)} entities are found, {int(right.sum())} of them right: too few "
            "to calibrate confidences on. Give more dev data."
        )
    settings = most_likely(confidences, right)
    was = calibrate(calibrated(confidences, before).tolist(), right.tolist())
    pipe.calibration = settings
    if 0 < uncalibrated_threshold < 1:
        pipe.threshold = float(
            calibrated(np.array([uncalibrated_threshold]), settings)[0]
        )
    now = calibrate(calibrated(confidences, settings).tolist(), right.tolist())
    return Fit(was, now, settings)
