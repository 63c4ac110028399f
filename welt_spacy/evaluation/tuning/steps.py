"""Several tuning steps of a pipeline on one set of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from spacy.language import Language
from spacy.training import Example

from ...errors import WeltError
from ...llm.generative_ner import GenerativeNER
from ...pipeline.welt_ner import WeltNER
from .calibration import (
    CalibrationTuning,
    TooFewEntities,
    rescale_threshold,
    tune_calibration,
)
from .decoding import DecodingTuning, later_setters, tune_decoding
from .label_propagation import LabelPropagationTuning, tune_label_propagation
from .objective import Objective
from .predictions import predict_dev
from .threshold import ThresholdTuning, tune_generative_threshold, tune_threshold

LABEL_PROPAGATION, DECODING = "label-propagation", "decoding"
THRESHOLD, CALIBRATION = "threshold", "calibration"
# In the order in which they run, because each depends on the settings of those before
STEPS = (LABEL_PROPAGATION, DECODING, THRESHOLD, CALIBRATION)


@dataclass(frozen=True)
class TuningOptions:
    """The steps to run and their options.

    steps (tuple[str, ...]): One or several of `STEPS`, in any order.
    objective (Objective): The objective of "decoding" and "threshold".
    parameter (str): The parameter that "decoding" tunes: "o_bias" or "logit_adjustment".
    keep_threshold (bool): Whether "decoding" leaves the threshold unchanged.
    """

    steps: tuple[str, ...]
    objective: Objective = field(default_factory=Objective)
    parameter: str = "o_bias"
    keep_threshold: bool = False

    def __post_init__(self) -> None:
        if unknown := [step for step in self.steps if step not in STEPS]:
            raise WeltError(
                f"Unknown step {unknown[0]!r}: use one or several of {', '.join(STEPS)}"
            )


@dataclass(frozen=True)
class TuningResults:
    """The results of each step; None for other steps.

    label_propagation (LabelPropagationTuning | None): Of "label-propagation".
    decoding (DecodingTuning | None): Of "decoding". All thresholds but that of "before" are
        in the scale of the confidences of the tuned pipeline.
    threshold (ThresholdTuning | None): Of "threshold", likewise.
    calibration (CalibrationTuning | None): Of "calibration".
    warnings (list[str]): Reasons why a step changed nothing, and components that the scores
        leave out.
    """

    label_propagation: LabelPropagationTuning | None = None
    decoding: DecodingTuning | None = None
    threshold: ThresholdTuning | None = None
    calibration: CalibrationTuning | None = None
    warnings: list[str] = field(default_factory=list)


def tune_pipeline(
    nlp: Language, examples: Sequence[Example], options: TuningOptions
) -> TuningResults:
    """Tune settings of a pipeline on dev data, and set them. The model runs once.

    nlp (Language): A pipeline with one `welt_ner`, or one `generative_ner`, whose threshold
        can be tuned.
    examples (Sequence[Example]): Dev data, not the data to be reported on.
    options (TuningOptions): The steps and their options.
    RETURNS (TuningResults): The settings and their scores.
    RAISES (WeltError): If a step is not possible with the pipeline, there is no gold entity,
        or one with a label that the pipeline cannot predict.
    """
    if _is_generative(nlp):
        if set(options.steps) != {THRESHOLD}:
            raise WeltError(
                "Only the threshold of a generative_ner can be tuned: use the step "
                f"{THRESHOLD}"
            )
        return TuningResults(
            threshold=tune_generative_threshold(nlp, examples, options.objective)
        )
    dev = predict_dev(nlp, examples)
    warnings = []
    if later := later_setters(nlp):
        warnings.append(
            f"The scores leave out the changes of {', '.join(later)} after welt_ner"
        )
    results = TuningResults(warnings=warnings)
    if LABEL_PROPAGATION in options.steps:
        results = replace(results, label_propagation=tune_label_propagation(dev))
    if DECODING in options.steps:
        decoding = tune_decoding(
            dev,
            options.objective,
            parameter=options.parameter,
            keep_threshold=options.keep_threshold,
        )
        results = replace(results, decoding=decoding)
    if THRESHOLD in options.steps:
        results = replace(results, threshold=tune_threshold(dev, options.objective))
    if CALIBRATION in options.steps:
        before = dev.pipe.calibration
        try:
            calibration = tune_calibration(dev)
        except TooFewEntities as err:
            warnings.append(f"Confidences are not calibrated: {err}")
        else:
            results = _rescale(results, before, calibration.settings)
            results = replace(results, calibration=calibration)
    return results


def _rescale(
    results: TuningResults,
    before: dict[str, float] | None,
    after: dict[str, float],
) -> TuningResults:
    """Convert thresholds to the calibrated confidences, as the pipeline is saved."""

    def rescale(point):
        threshold = rescale_threshold(point.threshold, before, after)
        return point._replace(threshold=threshold)

    if (decoding := results.decoding) is not None:
        decoding = decoding._replace(
            best=rescale(decoding.best), curve=list(map(rescale, decoding.curve))
        )
    if (threshold := results.threshold) is not None:
        threshold = threshold._replace(best=rescale(threshold.best))
    return replace(results, decoding=decoding, threshold=threshold)


def _is_generative(nlp: Language) -> bool:
    kinds = [type(pipe) for _, pipe in nlp.pipeline]
    return GenerativeNER in kinds and WeltNER not in kinds
