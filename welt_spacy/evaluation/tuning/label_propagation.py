"""What the other occurrences of a name in a doc say of one: `consistency`, tuned on dev."""

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

TIMES = (1, 2)
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SHARES = (0.2, 0.35, 0.5)


class ConsistencyTuning(NamedTuple):
    """What was found.

    before (Point): The scores without.
    after (Point): The scores with the settings.
    settings (dict[str, float] | None): "times", "confidence", "share"; None if nothing
        is better than without.
    added (int): Entities more than without.
    right (int): Those of them that are right.
    """

    before: Point
    after: Point
    settings: dict[str, float] | None
    added: int
    right: int


def tune_consistency(nlp: Language, examples: Sequence[Example]) -> ConsistencyTuning:
    """Find the `consistency` with the best F1, and set it. The threshold and all else
    stay as they are.

    nlp (Language): A pipeline with `welt_ner`, which is changed.
    examples (Sequence[Example]): Dev data, not the data to be reported on: whole documents,
        since a name hardly comes twice in a sentence.
    RETURNS (ConsistencyTuning): The settings and their scores. If all other occurrences
        are to be added, the share is the one of right entities among them.
    RAISES (WeltError): As `tune`.
    """
    pipe = get_welt_ner(nlp)
    data = predict_examples(nlp, pipe, examples)
    pipe.consistency = None
    before = best = _measure(pipe, data)
    without = _found(pipe, data)
    settings = None
    for times, confidence, share in product(TIMES, CONFIDENCES, SHARES):
        pipe.consistency = {"times": times, "confidence": confidence, "share": share}
        point = _measure(pipe, data)
        if point.f > best.f:
            best, settings = point, pipe.consistency
    pipe.consistency = settings
    new = _found(pipe, data) - without
    right = len(new & data.gold)
    if settings is not None and settings["share"] >= pipe.raw_threshold:
        # The same entities for every share from the threshold on
        share = max(right / max(len(new), 1), pipe.raw_threshold)
        pipe.consistency = {**settings, "share": round(share, 3)}
    return ConsistencyTuning(before, best, pipe.consistency, len(new), right)


def _measure(pipe: WeltNER, data: Predicted) -> Point:
    return measure(pipe, data, Objective(), [pipe.threshold])


def _found(pipe: WeltNER, data: Predicted) -> set[tuple[int, int, int]]:
    found = pipe.find_entities(data.docs, data.probs, data.earlier)
    spans, annotated = as_spans(found.select(found.confidences >= pipe.threshold), data)
    return {span for span, told in zip(spans, annotated) if told}
