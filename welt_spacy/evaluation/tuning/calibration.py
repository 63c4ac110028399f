"""Calibration of confidences, fitted to dev data by maximum likelihood."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import WeltError
from ...scoring.calibration_error import Calibration, measure_calibration
from ...tagging.platt_scaling import calibrated, log_odds, uncalibrated
from .predictions import DevPredictions, temporary_settings

# Frequencies of fewer entities are too uncertain
MIN_ENTITIES = 20


class TooFewEntities(WeltError):
    """There are too few entities, or all of them are right or all wrong."""


class CalibrationTuning(NamedTuple):
    """The calibration before and after tuning.

    before, after (Calibration): Of the entities above the threshold, which are the same
        in both.
    settings (dict[str, float]): "temperature" and "shift".
    """

    before: Calibration
    after: Calibration
    settings: dict[str, float]


def fit_calibration(
    confidences: NDArray[Any], right: NDArray[Any], *, shift: bool = True
) -> dict[str, float]:
    """Find the calibration with the highest likelihood of the outcomes."""
    from scipy.optimize import minimize  # slow to import

    odds = log_odds(confidences)

    def loss(w: NDArray[Any]) -> float:
        z = w[0] * odds + shift * w[1]
        return float(np.mean(np.logaddexp(0.0, z) - right * z))

    # A positive slope keeps the order of confidences
    slope, bias = minimize(loss, [1.0, 0.0], bounds=[(1e-2, 1e2), (-50, 50)]).x
    return {"temperature": float(1.0 / slope), "shift": float(shift * bias)}


def tune_calibration(dev: DevPredictions) -> CalibrationTuning:
    """Fit the calibration of a `welt_ner` and set it. The threshold is calibrated too, so
    the pipeline predicts the same entities as before.

    dev (DevPredictions): Predictions on dev data, not on the data to be reported on. Entities
        of earlier components are not used.
    RETURNS (CalibrationTuning): The settings, and the calibration before and after.
    RAISES (TooFewEntities): If there are too few entities, or all are right or all wrong.
        Then no setting is changed.
    """
    pipe = dev.pipe
    with temporary_settings(pipe, calibration=None):
        confidences, right, _ = dev.judge(dev.decode())
    above = confidences >= pipe.uncalibrated_threshold
    confidences, right = confidences[above], right[above]
    if len(right) < MIN_ENTITIES or right.all() or not right.any():
        raise TooFewEntities(
            f"{len(right)} entities are predicted, {int(right.sum())} of them right: too "
            "few to calibrate confidences. Use more dev data"
        )
    settings = fit_calibration(confidences, right)
    before = calibrated(confidences, pipe.calibration)
    after = calibrated(confidences, settings)
    threshold = rescale_threshold(pipe.threshold, pipe.calibration, settings)
    pipe.calibration, pipe.threshold = settings, threshold
    return CalibrationTuning(
        measure_calibration(before.tolist(), right.tolist()),
        measure_calibration(after.tolist(), right.tolist()),
        settings,
    )


def rescale_threshold(
    threshold: float,
    before: Mapping[str, float] | None,
    after: Mapping[str, float] | None,
) -> float:
    """Convert a threshold from one calibration to another; 0 and 1 stay."""
    raw = threshold
    if threshold not in (0.0, 1.0):
        raw = float(uncalibrated(np.array([threshold]), before)[0])
    return float(calibrated(np.array([raw]), after)[0]) if 0 < raw < 1 else threshold
