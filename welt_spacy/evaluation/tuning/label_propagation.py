"""What the other occurrences of a name in a doc say of one: `label_propagation`, tuned on dev."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from spacy.language import Language
from spacy.training import Example

from ...pipeline.welt_ner import WeltNER
from .decoding import (
    Objective,
    Point,
    Predicted,
    as_spans,
    get_welt_ner,
    measure,
    predict_examples,
)

MIN_COUNTS = (1, 2)
MIN_CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
WEIGHTS = (0.2, 0.35, 0.5)


class LabelPropagationTuning(NamedTuple):
    """What was found.

    before (Point): The scores without.
    after (Point): The scores with the settings.
    settings (dict[str, float] | None): "min_count", "min_confidence", "weight"; None if nothing
        is better than without.
    added (int): Entities more than without.
    right (int): Those of them that are right.
    """

    before: Point
    after: Point
    settings: dict[str, float] | None
    added: int
    right: int


def tune_label_propagation(
    nlp: Language, examples: Sequence[Example]
) -> LabelPropagationTuning:
    """Find the `label_propagation` with the best F1, and set it. The threshold and all else
    stay as they are.

    nlp (Language): A pipeline with `welt_ner`, which is changed.
    examples (Sequence[Example]): Dev data, not the data to be reported on: whole documents,
        since a name hardly comes twice in a sentence.
    RETURNS (LabelPropagationTuning): The settings and their scores. If all other occurrences
        are to be added, the weight is the share of right entities among them.
    RAISES (WeltError): As `tune`.
    """
    pipe = get_welt_ner(nlp)
    data = predict_examples(nlp, pipe, examples)
    pipe.label_propagation = None
    before = best = _measure(pipe, data)
    without = _found(pipe, data)
    settings = None
    for min_count, min_confidence, weight in product(
        MIN_COUNTS, MIN_CONFIDENCES, WEIGHTS
    ):
        pipe.label_propagation = {
            "min_count": min_count,
            "min_confidence": min_confidence,
            "weight": weight,
        }
        point = _measure(pipe, data)
        if point.f > best.f:
            best, settings = point, pipe.label_propagation
    pipe.label_propagation = settings
    new = _found(pipe, data) - without
    right = len(new & data.gold)
    if settings is not None and settings["weight"] >= pipe.uncalibrated_threshold:
        # The same entities for every weight from the threshold on
        weight = max(right / max(len(new), 1), pipe.uncalibrated_threshold)
        pipe.label_propagation = {**settings, "weight": round(weight, 3)}
    return LabelPropagationTuning(before, best, pipe.label_propagation, len(new), right)


def _measure(pipe: WeltNER, data: Predicted) -> Point:
    return measure(pipe, data, Objective(), [pipe.threshold])


def _found(pipe: WeltNER, data: Predicted) -> set[tuple[int, int, int]]:
    found = pipe.find_entities(data.docs, data.probs, data.earlier)
    spans, annotated = as_spans(found.select(found.confidences >= pipe.threshold), data)
    return {span for span, told in zip(spans, annotated) if told}
