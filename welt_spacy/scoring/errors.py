"""What went wrong, and where: error types, slices of the entities, calibration."""

from collections import Counter
from math import inf
from typing import (
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import WeltError
from ..pipeline.confidence import confidence_of
from .fair import pair_spans
from .strict import LabelledSpan, Scores, aligned_predictions, scores_of, spans_of

# The paper's types (Mobasher et al. 2023, section 5)
SPURIOUS, MISSED, OVERLAPPING = 1, 2, 3
ERROR_TYPES = {
    SPURIOUS: "spurious: a prediction where there is nothing",
    MISSED: "missed: an entity without a prediction",
    OVERLAPPING: "overlapping: borders or label are wrong",
}
TYPE_OF_KIND = {"FP": SPURIOUS, "FN": MISSED}

Slicer = Callable[[Span], str]


class Error(NamedTuple):
    """An error of a pipeline.

    type (int): 1 spurious, 2 missed, 3 overlapping.
    kind (str): What FairEval calls it: "FP", "FN", "LE", "BES", "BEL", "BEO", "LBE".
    example (int): The index of the example.
    gold (Optional[Span]): The gold entity.
    predicted (Optional[Span]): The prediction, on the tokens of the reference.
    """

    type: int
    kind: str
    example: int
    gold: Optional[Span]
    predicted: Optional[Span]


def find_errors(examples: Sequence[Example]) -> List[Error]:
    """List the errors of a pipeline. An entity that two predictions overlap makes two.

    examples (Sequence[Example]): Predictions and references; what is not annotated
        is left out.
    RETURNS (List[Error]): The errors, example by example, in the order of the text.
    """
    errors: List[Error] = []
    for i, example in enumerate(examples):
        found = [
            Error(
                TYPE_OF_KIND.get(pair.kind, OVERLAPPING),
                pair.kind,
                i,
                _span(example, pair.gold),
                _span(example, pair.predicted),
            )
            for pair in pair_spans(*spans_of(example))
            if pair.kind != "TP"
        ]
        errors += sorted(found, key=_place)
    return errors


def _place(error: Error) -> int:
    span = error.gold if error.gold is not None else error.predicted
    assert span is not None
    return span.start


def _span(example: Example, span: Optional[LabelledSpan]) -> Optional[Span]:
    if span is None:
        return None
    return Span(example.reference, span[1], span[2], label=span[0])


def count_mentions(references: Iterable[Doc]) -> Counter:
    """Count the entities of a training corpus by their text.

    references (Iterable[Doc]): Its docs.
    RETURNS (Counter): How often each text is an entity, in lower case.
    """
    return Counter(ent.text.lower() for doc in references for ent in doc.ents)


def slicers(mentions: Optional[Mapping[str, int]] = None) -> Dict[str, Slicer]:
    """Get the ways to slice entities.

    mentions (Optional[Mapping[str, int]]): What `count_mentions` found in the
        training corpus; without it there are no slices by what was seen.
    RETURNS (Dict[str, Slicer]): For each way, a function from an entity to the name
        of its slice.
    """
    ways: Dict[str, Slicer] = {"length": by_length, "form": by_form}
    if mentions is not None:
        counts = mentions
        ways["mention in train"] = lambda span: (
            "seen" if counts.get(span.text.lower()) else "unseen"
        )
        ways["frequency in train"] = lambda span: _frequency(
            counts.get(span.text.lower(), 0)
        )
    return ways


def by_length(span: Span) -> str:
    """RETURNS (str): The number of tokens, from 5 on as one slice."""
    return "1 token" if len(span) == 1 else f"{min(len(span), 5)}{_plus(span)} tokens"


def _plus(span: Span) -> str:
    return " or more" if len(span) >= 5 else ""


def by_form(span: Span) -> str:
    """RETURNS (str): "abbreviation" for one token of at most eight characters with
    two capitals or more, such as "MPTP" or "5-HT"; "word" for others."""
    text = span.text
    short = len(span) == 1 and len(text) <= 8
    return "abbreviation" if short and sum(map(str.isupper, text)) > 1 else "word"


def _frequency(count: int) -> str:
    for limit, name in ((0, "0"), (1, "1"), (10, "2 to 10"), (100, "11 to 100")):
        if count <= limit:
            return name
    return "over 100"


class SliceScores(NamedTuple):
    """Strict scores of the entities in a slice.

    scores (Scores): Precision of the predictions in it, recall of the gold entities
        in it.
    n_gold, n_predicted (int): How many of each there are.
    """

    scores: Scores
    n_gold: int
    n_predicted: int


def score_slices(examples: Iterable[Example], slicer: Slicer) -> Dict[str, SliceScores]:
    """Score slices of the entities.

    examples (Iterable[Example]): Predictions and references.
    slicer (Slicer): From an entity to the name of its slice; see `slicers`.
    RETURNS (Dict[str, SliceScores]): The slices by name.
    """
    right: Counter = Counter()
    n_gold: Counter = Counter()
    n_predicted: Counter = Counter()
    for example in examples:
        gold, predicted = spans_of(example)
        for spans, counter in ((gold, n_gold), (predicted, n_predicted)):
            counter.update(_names(example, spans, slicer))
        right.update(_names(example, set(gold) & set(predicted), slicer))
    return {
        name: SliceScores(
            scores_of(
                right[name], n_predicted[name] - right[name], n_gold[name] - right[name]
            ),
            n_gold[name],
            n_predicted[name],
        )
        for name in sorted({*n_gold, *n_predicted}, key=_by_number)
    }


def _by_number(name: str) -> Tuple[float, str]:
    number = name.split()[0]
    return (int(number) if number.isdigit() else inf), name


def _names(
    example: Example, spans: Iterable[LabelledSpan], slicer: Slicer
) -> Iterator[str]:
    for span in spans:
        found = _span(example, span)
        assert found is not None
        yield slicer(found)


class Bin(NamedTuple):
    """Entities of like confidence.

    low, high (float): The borders of the confidence.
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
    bins (List[Bin]): The reliability table; bins without entities are left out.
    """

    error: float
    bins: List[Bin]


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


def outcomes(examples: Iterable[Example]) -> Tuple[List[float], List[bool]]:
    """Get what `calibrate` takes from predictions with confidences.

    examples (Iterable[Example]): Predictions of `welt_ner` and references.
    RETURNS (Tuple[List[float], List[bool]]): The confidence of each prediction, and
        whether it is right.
    """
    confidences: List[float] = []
    right: List[bool] = []
    for example in examples:
        gold = set(spans_of(example)[0])
        for span, ent in aligned_predictions(example):
            confidence = confidence_of(ent)
            if confidence is not None:
                confidences.append(confidence)
                right.append(span in gold)
    return confidences, right
