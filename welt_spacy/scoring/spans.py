"""Labelled spans, taken out of examples, and the scores of counts."""

from collections.abc import Iterator, Sized
from typing import NamedTuple

from spacy.tokens import Span
from spacy.training import Example

from ..errors import WeltError
from ..tokens.annotated_labels import is_annotated

# Label, first token, token after the last
LabelledSpan = tuple[str, int, int]


class Scores(NamedTuple):
    """Precision, recall and F1.

    p, r, f (float): Each in [0, 1]; 0 where there is nothing to divide by.
    """

    p: float
    r: float
    f: float


def scores_of(right: float, wrong: float, missed: float) -> Scores:
    """Compute precision, recall and F1.

    right, wrong, missed (float): True positives, false positives and false
        negatives, or parts of them.
    RETURNS (Scores): The scores.
    """
    p = right / (right + wrong) if right + wrong else 0.0
    r = right / (right + missed) if right + missed else 0.0
    return Scores(p, r, 2 * p * r / (p + r) if p + r else 0.0)


def require_same_sentences(gold: Sized, predicted: Sized) -> None:
    """Check that gold annotation and predictions can be of the same sentences.

    gold (Sized): The gold spans of each sentence.
    predicted (Sized): The predictions.
    RAISES (WeltError): If one has more sentences than the other.
    """
    if len(gold) != len(predicted):
        raise WeltError(
            f"There are {len(gold)} sentences of gold annotation and {len(predicted)} "
            "of predictions: give both for the same sentences"
        )


def spans_of(example: Example) -> tuple[list[LabelledSpan], list[LabelledSpan]]:
    """Get gold spans and predictions on the tokens of the reference.

    example (Example): The example.
    RETURNS (tuple[list[LabelledSpan], list[LabelledSpan]]): Gold spans and
        predictions. As in spaCy's scorer, a prediction that touches a token without
        annotation is left out: it is neither right nor wrong. So a reference
        without any annotation has neither. The same goes for a prediction whose label
        was not looked for in the reference (`annotated_labels`).
    """
    gold = [(ent.label_, ent.start, ent.end) for ent in example.reference.ents]
    return gold, [span for span, _ in aligned_predictions(example)]


def aligned_predictions(example: Example) -> Iterator[tuple[LabelledSpan, Span]]:
    """Get the predictions that can be right or wrong; see `spans_of`.

    example (Example): The example.
    YIELDS (tuple[LabelledSpan, Span]): Each prediction on the tokens of the
        reference, and as it is.
    """
    aligned = example.alignment.x2y
    for ent in example.predicted.ents:
        if not is_annotated(example.reference, ent.label_):
            continue
        tokens = aligned[ent.start : ent.end]
        if len(tokens):
            start, end = int(tokens[0]), int(tokens[-1]) + 1
            if all(token.ent_iob != 0 for token in example.reference[start:end]):
                yield (ent.label_, start, end), ent
