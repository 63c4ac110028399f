"""Expected calibration error and reliability table of confidences."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import WeltError
from .pairs import PairedDoc


class Bin(NamedTuple):
    """Predictions with a confidence in one interval.

    low, high (float): The bounds of the confidence.
    n (int): Number of predictions.
    confidence (float): Their mean confidence.
    precision (float): The share that is right.
    """

    low: float
    high: float
    n: int
    confidence: float
    precision: float


class Calibration(NamedTuple):
    """Confidences compared with observed frequencies.

    error (float): Expected calibration error: the mean gap between confidence and
        precision, weighted by the number of predictions (Naeini et al. 2015).
    bins (list[Bin]): The reliability table, without empty bins.
    """

    error: float
    bins: list[Bin]


def measure_calibration(
    confidences: Sequence[float], right: Sequence[bool], *, n_bins: int = 10
) -> Calibration:
    """Compare confidences with observed frequencies."""
    values = np.asarray(confidences, dtype="float64")
    hits = np.asarray(right, dtype="float64")
    if values.shape != hits.shape:
        raise WeltError(
            f"{len(values)} confidences and {len(hits)} outcomes: the numbers differ"
        )
    if ((values < 0) | (values > 1) | np.isnan(values)).any():
        raise WeltError("Confidences must be in [0, 1]")
    place = np.minimum((values * n_bins).astype(int), n_bins - 1)
    bins = [
        Bin(
            i / n_bins,
            (i + 1) / n_bins,
            int((place == i).sum()),
            float(values[place == i].mean()),
            float(hits[place == i].mean()),
        )
        for i in np.unique(place).tolist()
    ]
    gaps = sum(b.n * abs(b.confidence - b.precision) for b in bins)
    return Calibration(gaps / len(values) if len(values) else 0.0, bins)


def collect_outcomes(docs: Sequence[PairedDoc]) -> tuple[list[float], list[bool]]:
    """Return the confidence of each prediction that has one, and whether it is right."""
    confidences: list[float] = []
    right: list[bool] = []
    for doc in docs:
        hits = doc.right
        for span, confidence in zip(doc.predicted, doc.confidences):
            if confidence is not None:
                confidences.append(confidence)
                right.append(span in hits)
    return confidences, right
