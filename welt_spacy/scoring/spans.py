"""Labelled spans and the scores of counts."""

from collections.abc import Sized
from typing import NamedTuple

from ..errors import WeltError

# Label, first token, token after the last
LabelledSpan = tuple[str, int, int]


class Scores(NamedTuple):
    """Precision, recall and F1, each in [0, 1]; 0 where the denominator is 0."""

    p: float
    r: float
    f: float


def compute_scores(right: float, wrong: float, missed: float) -> Scores:
    """Compute scores from true positives, false positives and false negatives."""
    p = right / (right + wrong) if right + wrong else 0.0
    r = right / (right + missed) if right + missed else 0.0
    return Scores(p, r, 2 * p * r / (p + r) if p + r else 0.0)


def require_same_length(gold: Sized, predicted: Sized) -> None:
    """Raise a `WeltError` unless gold annotation and predictions have as many documents."""
    if len(gold) != len(predicted):
        raise WeltError(
            f"{len(gold)} documents with gold annotation and {len(predicted)} with "
            "predictions: the numbers differ. Give both for the same documents"
        )
