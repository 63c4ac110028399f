"""Strict scores: an entity counts when its boundaries and its label are right."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import mean
from typing import (
    Any,
    NamedTuple,
)

from spacy.scorer import get_ner_prf
from spacy.tokens import Span
from spacy.training import Example

from ..tokens.annotated_labels import is_annotated
from .spans import LabelledSpan, Scores, require_same_sentences, scores_of


class StrictScores(NamedTuple):
    """Strict scores of entities, as seqeval's with `mode="strict"`.

    micro (Scores): Of all entities together.
    macro (Scores): The mean over labels, those of gold spans or predictions.
    per_type (dict[str, Scores]): Of each label.
    """

    micro: Scores
    macro: Scores
    per_type: dict[str, Scores]


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


def ner_score(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    """Score the entities of a pipeline, micro-averaged and per label.

    examples (Iterable[Example]): Predictions and references. Predictions that
        touch a token without annotation, or whose label was not looked for in the
        reference, are neither right nor wrong.
    RETURNS (dict[str, Any]): `ents_p`, `ents_r`, `ents_f` in [0, 1] and
        `ents_per_type`; all None if no reference is annotated.

    DOCS: https://spacy.io/api/scorer#get_ner_prf
    """
    return get_ner_prf(map(_without_others, examples), **kwargs)


def _without_others(example: Example) -> Example:
    """The example without predictions of labels that were not looked for."""
    reference, predicted = example.reference, example.predicted
    kept = [ent for ent in predicted.ents if is_annotated(reference, ent.label_)]
    if len(kept) == len(predicted.ents):
        return example
    copied = predicted.copy()
    copied.set_ents(
        [Span(copied, ent.start, ent.end, label=ent.label) for ent in kept],
        default="outside",
    )
    return Example(copied, reference)


def make_ner_scorer() -> Callable[..., dict[str, Any]]:
    """Registered as `welt_spacy.ner_scorer.v1` in `@scorers`."""
    return ner_score
