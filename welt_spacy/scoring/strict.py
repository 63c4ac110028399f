"""Strict scores: an entity is right if its boundaries and its label are right."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from spacy.scorer import get_ner_prf
from spacy.tokens import Span
from spacy.training import Example

from ..tokens.annotated_labels import is_annotated
from .pairs import PairedDoc
from .spans import LabelledSpan, Scores, compute_scores, require_same_length


class StrictScores(NamedTuple):
    """Strict scores of entities, as seqeval computes them with `mode="strict"`.

    micro (Scores): Of all entities together.
    macro (Scores): The mean over the labels of gold spans and predictions.
    per_type (dict[str, Scores]): Of each label.
    """

    micro: Scores
    macro: Scores
    per_type: dict[str, Scores]


def strict_eval(
    gold: Sequence[Sequence[LabelledSpan]], predicted: Sequence[Sequence[LabelledSpan]]
) -> StrictScores:
    """Score spans. A span that a document has twice counts once."""
    require_same_length(gold, predicted)
    right: Counter = Counter()
    n_gold: Counter = Counter()
    n_predicted: Counter = Counter()
    for targets, guesses in zip(map(set, gold), map(set, predicted)):
        n_gold.update(span[0] for span in targets)
        n_predicted.update(span[0] for span in guesses)
        right.update(span[0] for span in targets & guesses)
    per_type = {
        label: compute_scores(
            right[label],
            n_predicted[label] - right[label],
            n_gold[label] - right[label],
        )
        for label in sorted(set(n_gold) | set(n_predicted))
    }
    total = right.total()
    micro = compute_scores(total, n_predicted.total() - total, n_gold.total() - total)
    return StrictScores(micro, mean_scores(per_type.values()), per_type)


def mean_scores(scores: Iterable[Scores]) -> Scores:
    """Average scores; 0 without any."""
    columns = list(zip(*scores))
    return Scores(*map(mean, columns)) if columns else Scores(0.0, 0.0, 0.0)


def seqeval_eval(docs: Sequence[PairedDoc]) -> StrictScores:
    """Compute strict scores with seqeval (`mode="strict", scheme=IOB2`).

    seqeval reads tags, so the spans that count are written as IOB2 tags. Tokens without
    annotation and labels that are not annotated labels become O on both sides, because
    their predictions are left out of `PairedDoc.predicted`. One sequence of tags cannot
    hold overlapping predictions, which occur where the pipeline has other tokens than the
    reference; the second of two becomes a prediction in a sequence without gold spans.
    Documents without spans are skipped.
    """
    labels = sorted({span[0] for doc in docs for span in (*doc.gold, *doc.predicted)})
    if not labels:
        nothing = Scores(0.0, 0.0, 0.0)
        return StrictScores(nothing, nothing, {})
    # Imported here because seqeval imports scikit-learn, which takes seconds
    from seqeval.metrics.v1 import classification_report
    from seqeval.scheme import IOB2

    # seqeval strips dashes off labels, so that "x-" and "x" would be one label
    codes = {label: str(i) for i, label in enumerate(labels)}
    gold: list[list[str]] = []
    predicted: list[list[str]] = []
    for doc in docs:
        length = len(doc.reference)
        for i, layer in enumerate(_layers(doc)):
            gold.append(_write_tags(doc.gold if i == 0 else (), length, codes))
            predicted.append(_write_tags(layer, length, codes))
    report = classification_report(
        gold, predicted, output_dict=True, scheme=IOB2, zero_division=0
    )
    rows = {
        name: Scores(*(float(row[key]) for key in ("precision", "recall", "f1-score")))
        for name, row in report.items()
    }
    return StrictScores(
        rows["micro avg"],
        rows["macro avg"],
        {label: rows[code] for label, code in codes.items()},
    )


def _layers(doc: PairedDoc) -> list[list[LabelledSpan]]:
    """Divide predictions into layers without overlaps; right ones into the first."""
    if not doc.gold and not doc.predicted:
        return []
    gold = set(doc.gold)
    layers: list[list[LabelledSpan]] = [[]]
    ends: list[set[int]] = [set()]
    for span in sorted(doc.predicted, key=lambda span: span not in gold):
        tokens = set(range(span[1], span[2]))
        for layer, taken in zip(layers, ends):
            if not tokens & taken:
                layer.append(span)
                taken |= tokens
                break
        else:
            layers.append([span])
            ends.append(tokens)
    return layers


def _write_tags(
    spans: Iterable[LabelledSpan], length: int, codes: dict[str, str]
) -> list[str]:
    tags = ["O"] * length
    for label, start, end in spans:
        tags[start] = f"B-{codes[label]}"
        tags[start + 1 : end] = [f"I-{codes[label]}"] * (end - start - 1)
    return tags


def ner_score(examples: Iterable[Example], **kwargs: Any) -> Mapping[str, Any]:
    """Score the entities of a pipeline, micro-averaged and per label."""
    return get_ner_prf(map(_drop_unannotated_labels, examples), **kwargs)


def _drop_unannotated_labels(example: Example) -> Example:
    reference, predicted = example.reference, example.predicted
    ents = [ent for ent in predicted.ents if is_annotated(reference, ent.label_)]
    if len(ents) == len(predicted.ents):
        return example
    copied = predicted.copy()
    copied.set_ents(
        [Span(copied, ent.start, ent.end, label=ent.label) for ent in ents],
        default="outside",
    )
    return Example(copied, reference)


def make_ner_scorer() -> Callable[..., Mapping[str, Any]]:
    """Return `ner_score`. Registered as `welt_spacy.ner_scorer.v1` in `@scorers`."""
    return ner_score
