"""Platt scaling of entity confidences, so that they match observed frequencies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError, check_number

# Confidences are clipped, because the log-odds of 0 and 1 are not finite
EDGE = 1e-9


def calibrated(
    confidences: NDArray[Any], calibration: Mapping[str, float] | None
) -> NDArray[np.float64]:
    """Calibrate confidences (Platt 1999; the temperature is that of Guo et al. 2017).

        sigmoid(log-odds(confidence) / temperature + shift)

    The order of the confidences does not change.
    """
    values = np.asarray(confidences, dtype="float64")
    if calibration is None:
        return values
    return _sigmoid(
        log_odds(values) / calibration["temperature"] + calibration["shift"]
    )


def uncalibrated(
    confidences: NDArray[Any], calibration: Mapping[str, float] | None
) -> NDArray[np.float64]:
    """Invert `calibrated`."""
    values = np.asarray(confidences, dtype="float64")
    if calibration is None:
        return values
    return _sigmoid(
        (log_odds(values) - calibration["shift"]) * calibration["temperature"]
    )


def log_odds(confidences: NDArray[Any]) -> NDArray[np.float64]:
    """Return finite log-odds of probabilities in [0, 1]."""
    values = np.clip(np.asarray(confidences, dtype="float64"), EDGE, 1 - EDGE)
    return np.log(values) - np.log1p(-values)


def check_calibration(name: str, value: Any) -> dict[str, float] | None:
    """Check a setting: None, or a temperature above 0 and a shift."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != {"temperature", "shift"}:
        raise WeltError(
            f"{name} is {value!r}: it must be null, or have temperature and shift. Set it "
            "with 'spacy welt tune calibration'."
        )
    temperature = check_number(f"{name}.temperature", value["temperature"], above=0)
    shift = check_number(f"{name}.shift", value["shift"])
    return {"temperature": temperature, "shift": shift}


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
