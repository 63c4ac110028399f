"""Strict scores: an entity counts when its borders and its label are right."""

from collections import Counter
from statistics import mean
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Sized,
    Tuple,
)

from spacy.scorer import get_ner_prf
from spacy.tokens import Span
from spacy.training import Example

from ..errors import WeltError

# Label, first token, token after the last
LabelledSpan = Tuple[str, int, int]


class Scores(NamedTuple):
    """Precision, recall and F1 in [0, 1]; 0 where there is nothing to divide by."""

    p: float
    r: float
    f: float


class StrictScores(NamedTuple):
    """Strict scores of entities, as seqeval's with `mode="strict"`.

    micro (Scores): Of all entities together.
    macro (Scores): The mean over labels, those of gold spans or predictions.
    per_type (Dict[str, Scores]): Of each label.
    """

    micro: Scores
    macro: Scores
    per_type: Dict[str, Scores]


def strict_eval(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]]
) -> StrictScores:
    """Score spans. Of spans given twice in a sentence one counts.

    gold (Sequence[Sequence[LabelledSpan]]): For each sentence or document, its
        spans: label, first token, token after the last.
    predicted (Sequence[Sequence[LabelledSpan]]): The predictions for the same.
    RETURNS (StrictScores): The scores; 0 where there is nothing to divide by.
    RAISES (WeltError): If one has more sentences than the other.
    """
    require_same_sentences(gold, predicted)
    right: Counter = Counter()
    n_gold: Counter = Counter()
    n_predicted: Counter = Counter()
    for one, other in zip(map(set, gold), map(set, predicted)):
        n_gold.update(span[0] for span in one)
        n_predicted.update(span[0] for span in other)
        right.update(span[0] for span in one & other)
    per_type = {
        label: scores_of(
            right[label],
            n_predicted[label] - right[label],
            n_gold[label] - right[label],
        )
        for label in sorted(set(n_gold) | set(n_predicted))
    }
    total = right.total()
    micro = scores_of(total, n_predicted.total() - total, n_gold.total() - total)
    if not per_type:
        return StrictScores(micro, micro, per_type)
    macro = Scores(*map(mean, zip(*per_type.values())))
    return StrictScores(micro, macro, per_type)


def require_same_sentences(gold: Sized, predicted: Sized) -> None:
    """RAISES (WeltError): If one has more sentences than the other."""
    if len(gold) != len(predicted):
        raise WeltError(
            f"There are {len(gold)} sentences of gold annotation and {len(predicted)} "
            "of predictions: give both for the same sentences"
        )


def scores_of(right: float, wrong: float, missed: float) -> Scores:
    """Compute precision, recall and F1.

    right, wrong, missed (float): True positives, false positives and false
        negatives, or parts of them.
    RETURNS (Scores): The scores.
    """
    p = right / (right + wrong) if right + wrong else 0.0
    r = right / (right + missed) if right + missed else 0.0
    return Scores(p, r, 2 * p * r / (p + r) if p + r else 0.0)


def spans_of(example: Example) -> Tuple[List[LabelledSpan], List[LabelledSpan]]:
    """Get gold spans and predictions on the tokens of the reference.

    example (Example): The example.
    RETURNS (Tuple[List[LabelledSpan], List[LabelledSpan]]): Gold spans and
        predictions. As in spaCy's scorer, a prediction that touches a token without
        annotation is left out: it is neither right nor wrong. So a reference
        without any annotation has neither.
    """
    gold = [(ent.label_, ent.start, ent.end) for ent in example.reference.ents]
    return gold, [span for span, _ in aligned_predictions(example)]


def aligned_predictions(example: Example) -> Iterator[Tuple[LabelledSpan, Span]]:
    """Get the predictions that can be right or wrong; see `spans_of`.

    example (Example): The example.
    YIELDS (Tuple[LabelledSpan, Span]): Each prediction on the tokens of the
        reference, and as it is.
    """
    aligned = example.alignment.x2y
    for ent in example.predicted.ents:
        tokens = aligned[ent.start : ent.end]
        if len(tokens):
            start, end = int(tokens[0]), int(tokens[-1]) + 1
            if all(token.ent_iob != 0 for token in example.reference[start:end]):
                yield (ent.label_, start, end), ent


def ner_score(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score the entities of a pipeline, micro-averaged and per label.

    examples (Iterable[Example]): Predictions and references. Predictions that
        touch a token without annotation are neither right nor wrong.
    RETURNS (Dict[str, Any]): `ents_p`, `ents_r`, `ents_f` in [0, 1] and
        `ents_per_type`; all None if no reference is annotated.

    DOCS: https://spacy.io/api/scorer#get_ner_prf
    """
    return get_ner_prf(examples, **kwargs)


def make_ner_scorer() -> Callable[..., Dict[str, Any]]:
    """Registered as `welt_spacy.ner_scorer.v1` in `@scorers`."""
    return ner_score
