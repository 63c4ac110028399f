"""Whether confidences are frequencies."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import WeltError
from .pairs import PairedDoc


class Bin(NamedTuple):
    """Entities of like confidence.

    low, high (float): The bounds of the confidence.
    n (int): How many.
    confidence (float): Their mean confidence.
    precision (float): The share that is right.
    """

    low: float
    high: float
    n: int
    confidence: float
    precision: float


class Calibration(NamedTuple):
    """How far confidences are from being frequencies.

    error (float): Expected calibration error: the mean gap between confidence and
        precision, weighted by entities (Naeini et al. 2015).
    bins (list[Bin]): The reliability table; bins without entities are left out.
    """

    error: float
    bins: list[Bin]


def calibrate(
    confidences: Sequence[float], right: Sequence[bool], *, n_bins: int = 10
) -> Calibration:
    """Compare confidences with how often they are right.

    confidences (Sequence[float]): The confidence of each prediction, in [0, 1].
    right (Sequence[bool]): Whether it is right.
    n_bins (int): Bins of equal width.
    RETURNS (Calibration): The error (0 without predictions) and the table.
    RAISES (WeltError): If there are not as many of both, or a confidence is outside
        of [0, 1].
    """
    values = np.asarray(confidences, dtype="float64")
    hits = np.asarray(right, dtype="float64")
    if values.shape != hits.shape:
        raise WeltError(f"{len(values)} confidences do not fit {len(hits)} outcomes")
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


def outcomes(docs: Iterable[PairedDoc]) -> tuple[list[float], list[bool]]:
    """Get what `calibrate` takes from predictions with confidences.

    docs (Iterable[PairedDoc]): Predictions of `welt_ner`, paired with references.
    RETURNS (tuple[list[float], list[bool]]): The confidence of each prediction, and
        whether it is right.
    """
    confidences: list[float] = []
    right: list[bool] = []
    for doc in docs:
        hits = doc.right
        for span, confidence in zip(doc.predicted, doc.confidences):
            if confidence is not None:
                confidences.append(confidence)
                right.append(span in hits)
    return confidences, right
