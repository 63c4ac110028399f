"""Label propagation between occurrences of an entity in its document, tuned on dev data."""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...pipeline.entities import fit_entities
from ...tagging.decoding import Entities, decode, score_spans
from ...tagging.label_propagation import propagate_entities
from ...tagging.platt_scaling import calibrated
from ...util.arrays import Ints
from .objective import Objective
from .predictions import DevPredictions
from .threshold import ThresholdScores, best_threshold

MIN_COUNTS = (1, 2)
MIN_CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
WEIGHTS = (0.2, 0.35, 0.5)

Settings = dict[str, float]


class LabelPropagationTuning(NamedTuple):
    """The scores before and after tuning.

    before (ThresholdScores): The scores without label propagation.
    after (ThresholdScores): The scores with the settings.
    settings (dict[str, float] | None): "min_count", "min_confidence", "weight"; None if no
        setting raises F1.
    added (int): Number of additional entities.
    right (int): Number of additional entities that are right.
    """

    before: ThresholdScores
    after: ThresholdScores
    settings: Settings | None
    added: int
    right: int


def tune_label_propagation(dev: DevPredictions) -> LabelPropagationTuning:
    """Set the `label_propagation` of a `welt_ner` to the settings with the best F1. The
    threshold and all other settings stay. The probabilities are decoded once.

    dev (DevPredictions): Predictions on dev data, not on the data to be reported on. Whole
        documents, because an entity rarely occurs twice in a sentence.
    RETURNS (LabelPropagationTuning): The settings and their scores. If the weight is at least
        the threshold, so that all other occurrences are added, it is replaced by the share
        of right ones among them.
    """
    pipe = dev.pipe
    propagator = _Propagator(dev)
    before = best = propagator.score(None)
    settings: Settings | None = None
    for min_count, min_confidence, weight in product(
        MIN_COUNTS, MIN_CONFIDENCES, WEIGHTS
    ):
        candidate = {
            "min_count": min_count,
            "min_confidence": min_confidence,
            "weight": weight,
        }
        scores = propagator.score(candidate)
        if scores.f > best.f:
            best, settings = scores, candidate
    added = np.setdiff1d(propagator.predict(settings), propagator.predict(None))
    right = len(np.intersect1d(added, dev.gold_keys))
    threshold = pipe.uncalibrated_threshold
    if settings is not None and settings["weight"] >= threshold:
        # All weights from the threshold on add the same entities
        weight = max(right / max(len(added), 1), threshold)
        settings = {**settings, "weight": round(weight, 3)}
    pipe.label_propagation = settings
    return LabelPropagationTuning(
        before, best, pipe.label_propagation, len(added), right
    )


class _Propagator:
    """Entities with various settings of label propagation, from one decoding."""

    def __init__(self, dev: DevPredictions):
        self.dev = dev
        self.options = dev.pipe.get_decoder().options
        self.decoded = decode(dev.probs, dev.lengths, **self.options)
        self._keys: Ints = np.zeros(0, dtype="int64")
        self._confidences: NDArray = np.zeros(0)
        # The most lenient settings propagate to all spans of the others
        lenient = {
            "min_count": min(MIN_COUNTS),
            "min_confidence": min(MIN_CONFIDENCES),
            "weight": 0.0,
        }
        propagate_entities(dev.docs, self.decoded, self._store_confidences, lenient)

    def predict(self, settings: Settings | None) -> Ints:
        """Return the sorted keys of the entities above the threshold."""
        dev = self.dev
        entities = self._propagate(settings)
        above = entities.select(entities.confidences >= dev.pipe.threshold)
        return np.unique(dev.keys(above.select(dev.is_annotated(above))))

    def score(self, settings: Settings | None) -> ThresholdScores:
        dev = self.dev
        confidences, right, _ = dev.judge_all(self._propagate(settings))
        return best_threshold(
            confidences, right, dev.n_gold, Objective(), [dev.pipe.threshold]
        )

    def _propagate(self, settings: Settings | None) -> Entities:
        dev, entities = self.dev, self.decoded
        if settings is not None:
            entities = propagate_entities(
                dev.docs, entities, self._load_confidences, settings
            )
        confidences = calibrated(entities.confidences, dev.pipe.calibration)
        entities = entities._replace(confidences=confidences)
        return fit_entities(dev.docs, entities, dev.earlier)

    def _store_confidences(self, starts: Ints, ends: Ints, labels: Ints) -> NDArray:
        dev = self.dev
        confidences = score_spans(
            dev.probs, dev.lengths, starts, ends, labels, **self.options
        )
        keys = dev.keys(Entities(starts, ends, labels, confidences))
        self._keys, first = np.unique(keys, return_index=True)
        self._confidences = confidences[first]
        return confidences

    def _load_confidences(self, starts: Ints, ends: Ints, labels: Ints) -> NDArray:
        keys = self.dev.keys(Entities(starts, ends, labels, starts))
        return self._confidences[np.searchsorted(self._keys, keys)]
