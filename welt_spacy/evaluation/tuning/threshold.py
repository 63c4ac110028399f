"""The threshold of confidences that is best on dev data."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from ...llm.generative_ner import GenerativeNER
from ...pipeline.inference import get_only_pipe, predict_examples
from ...scoring.labels import require_known_labels
from ...scoring.pairs import pair_examples
from .objective import Objective
from .predictions import DevPredictions


class ThresholdScores(NamedTuple):
    """A threshold and the strict scores with it.

    threshold (float): Entities with a lower confidence are dropped.
    p, r, f (float): Strict scores in [0, 1].
    """

    threshold: float
    p: float
    r: float
    f: float


class ThresholdTuning(NamedTuple):
    """The threshold before and after tuning."""

    before: ThresholdScores
    best: ThresholdScores


def best_threshold(
    confidences: NDArray[np.float64],
    right: NDArray[np.bool_],
    n_gold: int,
    objective: Objective,
    candidates: Sequence[float] | None = None,
) -> ThresholdScores:
    """Find the best of several thresholds in O(n log n); the lowest of equal ones."""
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    hits = np.concatenate([[0], np.cumsum(right[order])])
    if candidates is None:
        own = ranked[np.isfinite(ranked)]
        middles = (own[:-1] + own[1:]) / 2
        limits = np.concatenate([middles[own[:-1] > own[1:]], [0.0]])
    else:
        limits = np.sort(np.asarray(candidates, dtype="float64"))[::-1]
    n_kept = np.searchsorted(-ranked, -limits, side="right")
    p, r = hits[n_kept] / np.maximum(n_kept, 1), hits[n_kept] / n_gold
    # From the highest to the lowest, so the last maximum is the lowest
    best = len(p) - 1 - int(np.argmax(objective.value(p, r)[::-1]))
    f = 2 * hits[n_kept[best]] / (n_kept[best] + n_gold)
    return ThresholdScores(
        float(limits[best]), float(p[best]), float(r[best]), float(f)
    )


def tune_threshold(dev: DevPredictions, objective: Objective) -> ThresholdTuning:
    """Set the threshold of a `welt_ner` to the best one. All other settings stay.

    dev (DevPredictions): Predictions on dev data, not on the data to be reported on.
    objective (Objective): The objective.
    RETURNS (ThresholdTuning): The thresholds before and after.
    """
    confidences, right, _ = dev.judge_all(dev.decode())
    before = best_threshold(
        confidences, right, dev.n_gold, objective, [dev.pipe.threshold]
    )
    best = best_threshold(confidences, right, dev.n_gold, objective)
    dev.pipe.threshold = best.threshold
    return ThresholdTuning(before, best)


def tune_generative_threshold(
    nlp: Language, examples: Sequence[Example], objective: Objective
) -> ThresholdTuning:
    """Set the threshold of a `generative_ner` to the best one."""
    pipe = get_only_pipe(nlp, GenerativeNER, "generative_ner")
    require_known_labels(nlp, [eg.reference for eg in examples])
    threshold = pipe.threshold
    pipe.threshold = 0.0
    try:
        predict_examples(nlp, examples)
    finally:
        pipe.threshold = threshold
    docs = pair_examples(examples)
    rows = [
        (np.inf if confidence is None else confidence, span in doc.gold)
        for doc in docs
        for span, confidence in zip(doc.predicted, doc.confidences)
    ]
    confidences = np.array([confidence for confidence, _ in rows], dtype="float64")
    right = np.array([is_right for _, is_right in rows], dtype=bool)
    n_gold = sum(len(doc.gold) for doc in docs)
    own = np.unique(confidences[np.isfinite(confidences)]).tolist()
    before = best_threshold(confidences, right, n_gold, objective, [threshold])
    best = best_threshold(confidences, right, n_gold, objective, [0.0, threshold, *own])
    pipe.threshold = best.threshold
    return ThresholdTuning(before, best)
