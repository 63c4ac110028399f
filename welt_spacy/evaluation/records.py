"""Results of evaluations and comparisons as records that can be saved as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

from ..errors import WeltError
from ..scoring.calibration_error import Bin, Calibration
from ..scoring.llm_responses import ResponseIssues
from ..scoring.slices import SliceScores
from ..scoring.spans import Scores
from ..scoring.text import TextScores

Interval = tuple[float, float]
RecordT = TypeVar("RecordT", bound="JsonRecord")


class JsonRecord:
    """A dataclass that can be converted to and from the values of JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as strings, numbers, lists and dicts."""
        return _to_plain(self)

    @classmethod
    def from_dict(cls: type[RecordT], values: Mapping[str, Any]) -> RecordT:
        """Return the record that `to_dict` converted; raise a `WeltError` for other values."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(dict(values))
        except ValidationError as err:
            error = err.errors()[0]
            place = ".".join(map(str, error["loc"]))
            raise WeltError(f"{place}: {error['msg']}") from None


def _to_plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _to_plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: _to_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_plain(part) for part in value]
    return value


@dataclass(frozen=True)
class LabelEvaluation:
    """Scores of one label.

    strict (Scores): Boundaries and label are right.
    fair (Scores): An error of label or boundaries counts once (FairEval).
    weighted (Scores): The part of an entity that was predicted counts (FairEval).
    counts (dict[str, int]): Number of pairs of each kind; see `scoring.pairs.KINDS`.
    """

    strict: Scores
    fair: Scores
    weighted: Scores
    counts: dict[str, int]


@dataclass(frozen=True)
class Confusion:
    """Errors with one gold label and one predicted label.

    gold, predicted (str | None): The labels; None stands for no entity.
    n (int): Number of errors.
    """

    gold: str | None
    predicted: str | None
    n: int


@dataclass(frozen=True)
class CalibrationResult:
    """Confidences compared with observed frequencies.

    error (float): Expected calibration error.
    bins (list[Bin]): The reliability table.
    before (Calibration | None): The same predictions without the calibration of the
        pipeline; None if it has none.
    """

    error: float
    bins: list[Bin]
    before: Calibration | None = None


@dataclass(frozen=True)
class ClassWeights:
    """Class weights of a component.

    weighting (str): The weighting scheme with its settings.
    counts (dict[str, int]): Tokens of the training corpus by tag.
    weights (dict[str, float]): The weight of each tag.
    """

    weighting: str
    counts: dict[str, int]
    weights: dict[str, float]


@dataclass(frozen=True)
class DecodingSettings:
    """The settings of a `welt_ner` that decide how probabilities become entities."""

    decoder: str
    o_bias: float
    logit_adjustment: float
    threshold: float
    label_propagation: dict[str, float] | None = None
    calibration: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation(LabelEvaluation, JsonRecord):
    """Results of a pipeline on a data set. All scores are in [0, 1].

    pipeline, version (str): Name and version of the pipeline.
    docs, tokens (int): Size of the data set.
    gold, predicted (int): Number of gold entities and of predictions.
    strict, fair, weighted, counts: As in `LabelEvaluation`, of all labels together. Strict
        scores are seqeval's.
    intervals (dict[str, tuple[float, float]]): 95 % intervals of the strict "p", "r", "f".
    macro (Scores): The mean of the strict scores of the labels.
    strings (Scores): Scores of entities as sets of strings.
    per_type (dict[str, LabelEvaluation]): Scores by label.
    confusion (list[Confusion]): Errors by gold and predicted label, most frequent first.
    errors (dict[str, int]): Errors by the types of Mobasher et al. (2023).
    slices (dict[str, dict[str, SliceScores]]): Strict scores by criterion and slice.
    calibration (CalibrationResult): Expected calibration error and reliability table.
    by_doc (list[list[int]]): Right, predicted and gold entities of each document.
    class_weights (dict[str, ClassWeights]): Class weights by component.
    unknown_labels (list[str]): Gold labels that the pipeline cannot predict.
    decoding (DecodingSettings | None): The settings, if there is exactly one `welt_ner`.
    llm_responses (ResponseIssues | None): Issues in the responses of a language model.
    text (TextScores | None): Scores on raw text, if requested.
    speed (float | None): Tokens per second; None if the predictions were read from a file.
    """

    pipeline: str
    version: str
    docs: int
    tokens: int
    gold: int
    predicted: int
    intervals: dict[str, Interval]
    macro: Scores
    strings: Scores
    per_type: dict[str, LabelEvaluation]
    confusion: list[Confusion]
    errors: dict[str, int]
    slices: dict[str, dict[str, SliceScores]]
    calibration: CalibrationResult
    by_doc: list[list[int]]
    class_weights: dict[str, ClassWeights]
    unknown_labels: list[str]
    decoding: DecodingSettings | None = None
    llm_responses: ResponseIssues | None = None
    text: TextScores | None = None
    speed: float | None = None


@dataclass(frozen=True)
class Change:
    """An error of one of two pipelines.

    doc (int): Index of the document.
    text (str): Its text.
    start, end (int): First character of the span and the character after the last.
    label (str): Its label.
    gold (bool): Whether it is a gold entity, which was missed, or a spurious prediction.
    """

    doc: int
    text: str
    start: int
    end: int
    label: str
    gold: bool


@dataclass(frozen=True)
class Comparison(JsonRecord):
    """The difference of two pipelines on the same data.

    docs (int): Number of documents.
    difference (float): Strict F1 of the first minus that of the second.
    interval (tuple[float, float]): Its 95 % interval.
    p_bootstrap, p_randomization (float): p-values of the paired bootstrap and of
        approximate randomization, two-sided.
    fixed, broken (list[Change]): Errors that only the second makes, and that only the first
        makes.
    """

    docs: int
    difference: float
    interval: Interval
    p_bootstrap: float
    p_randomization: float
    fixed: list[Change]
    broken: list[Change]
