"""Precision against recall without retraining, by a bias of tags and the threshold."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from spacy.language import Language

from ...errors import WeltError
from ...pipeline.inference import get_welt_ner
from .objective import Objective
from .predictions import DevPredictions, temporary_settings
from .threshold import best_threshold

O_BIASES = tuple(np.linspace(-4.0, 4.0, 33).tolist())
LOGIT_ADJUSTMENTS = tuple(np.linspace(-0.5, 1.0, 31).tolist())
PARAMETERS = ("o_bias", "logit_adjustment")


class Point(NamedTuple):
    """Settings and the strict scores with them.

    o_bias, logit_adjustment, threshold (float): The settings of `welt_ner`.
    p, r, f (float): Strict scores in [0, 1].
    """

    o_bias: float
    logit_adjustment: float
    threshold: float
    p: float
    r: float
    f: float


class DecodingTuning(NamedTuple):
    """The settings before and after tuning.

    before (Point): The settings before.
    best (Point): The best settings.
    curve (list[Point]): For each value of the parameter, the best threshold.
    """

    before: Point
    best: Point
    curve: list[Point]


def tune_decoding(
    dev: DevPredictions,
    objective: Objective,
    *,
    parameter: str = "o_bias",
    values: Sequence[float] | None = None,
    keep_threshold: bool = False,
) -> DecodingTuning:
    """Set a parameter of decoding and the threshold to the best values.

    dev (DevPredictions): Predictions on dev data, not on the data to be reported on.
    objective (Objective): The objective.
    parameter (str): "o_bias" or "logit_adjustment"; the other stays.
    values (Sequence[float] | None): The values to try.
    keep_threshold (bool): Leave the threshold unchanged.
    RETURNS (DecodingTuning): The settings and their scores. Of equal ones, the value nearest
        to 0 wins. Entities of components before `welt_ner` count; changes by later
        components do not (see `later_setters`).
    RAISES (WeltError): If the parameter is unknown.
    """
    if parameter not in PARAMETERS:
        raise WeltError(
            f"Unknown parameter {parameter!r}: use one of {', '.join(PARAMETERS)}"
        )
    pipe = dev.pipe
    if values is None:
        values = O_BIASES if parameter == "o_bias" else LOGIT_ADJUSTMENTS
    before = measure(dev, Objective(), [pipe.threshold])
    curve = []
    for value in values:
        with temporary_settings(pipe, **{parameter: value}):
            thresholds = [pipe.threshold] if keep_threshold else None
            curve.append(measure(dev, objective, thresholds))
    ranks = [
        (float(objective.value(np.float64(c.p), np.float64(c.r))), -abs(value))
        for value, c in zip(values, curve)
    ]
    best = curve[max(range(len(curve)), key=ranks.__getitem__)]
    pipe.o_bias, pipe.logit_adjustment = best.o_bias, best.logit_adjustment
    pipe.threshold = best.threshold
    return DecodingTuning(before, best, curve)


def sweep_o_bias(
    dev: DevPredictions, values: Sequence[float] = O_BIASES
) -> list[Point]:
    """Score values of `o_bias` with all other settings unchanged."""
    pipe = dev.pipe
    points = []
    for value in sorted({*values, pipe.o_bias}):
        with temporary_settings(pipe, o_bias=value):
            points.append(measure(dev, Objective(), [pipe.threshold]))
    return points


def later_setters(nlp: Language) -> list[str]:
    """List the components that set entities after `welt_ner`. Scores of settings leave out
    their changes.
    """
    pipe = get_welt_ner(nlp)
    place = [component for _, component in nlp.pipeline].index(pipe)
    return [
        name
        for name in nlp.pipe_names[place + 1 :]
        if "doc.ents" in nlp.get_pipe_meta(name).assigns
    ]


def measure(
    dev: DevPredictions, objective: Objective, thresholds: Sequence[float] | None
) -> Point:
    """Score the current settings of a component with the best of some thresholds; see
    `best_threshold`.
    """
    confidences, right, _ = dev.judge_all(dev.decode())
    scores = best_threshold(confidences, right, dev.n_gold, objective, thresholds)
    return Point(dev.pipe.o_bias, dev.pipe.logit_adjustment, *scores)
