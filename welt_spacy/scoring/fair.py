"""FairEval scores, which count one error once.

In strict scores an entity with one wrong boundary costs a false positive and a false
negative. FairEval (Ortmann 2022, "Fine-Grained Error Analysis and Fair Evaluation of
Labeled Spans", LREC) pairs predictions with gold spans and distinguishes labelling errors,
boundary errors and both.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spacy.training import Example

from .pairs import (
    BOUNDARY,
    KINDS,
    LARGER,
    OVERLAPPING,
    SMALLER,
    Pair,
    PairedDoc,
    pair_examples,
    pair_spans,
)
from .spans import LabelledSpan, Scores, compute_scores, require_same_length
from .strict import StrictScores, mean_scores, ner_score

Weights = Mapping[str, Mapping[str, float]]

# Each error counts half, as parts of a true positive, a false positive and a false negative
FAIR: Weights = {
    "TP": {"TP": 1},
    "FP": {"FP": 1},
    "FN": {"FN": 1},
    **{kind: {"FP": 0.5, "FN": 0.5} for kind in KINDS[3:]},
}
# Ortmann's own weights: the part of an entity that was predicted counts too
WEIGHTED: Weights = {
    **FAIR,
    SMALLER: {"TP": 0.5, "FN": 0.5},
    LARGER: {"TP": 0.5, "FP": 0.5},
    OVERLAPPING: {"TP": 0.5, "FP": 0.25, "FN": 0.25},
}


class FairCounts:
    """Counts of right predictions and of each kind of error, and scores from them.

    counts (dict[str, Counter]): For each label, the number of each of `KINDS`.
    confusion (Counter): The number of errors by gold label and predicted label; None
        stands for no span. Equal labels are boundary errors.
    n_gold, n_predicted (Counter): Spans by label.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter] = {}
        self.confusion: Counter = Counter()
        self.n_gold: Counter = Counter()
        self.n_predicted: Counter = Counter()

    def add(
        self,
        gold: Sequence[LabelledSpan],
        predicted: Sequence[LabelledSpan],
        pairs: Sequence[Pair],
    ) -> None:
        """Count the spans and pairs of a document."""
        self.n_gold.update(span[0] for span in gold)
        self.n_predicted.update(span[0] for span in predicted)
        for pair in pairs:
            self.counts.setdefault(pair.label, Counter())[pair.kind] += 1
            if pair.kind != "TP":
                labels = (
                    pair.gold[0] if pair.gold else None,
                    pair.predicted[0] if pair.predicted else None,
                )
                self.confusion[labels] += 1

    @property
    def labels(self) -> list[str]:
        """The labels of all spans, sorted."""
        return sorted(set(self.n_gold) | set(self.n_predicted))

    def count(self, kind: str, label: str | None = None) -> int:
        """Count pairs."""
        kinds = (SMALLER, LARGER, OVERLAPPING) if kind == BOUNDARY else (kind,)
        labels = self.counts if label is None else [label]
        return sum(
            self.counts[name][k]
            for name in labels
            if name in self.counts
            for k in kinds
        )

    def traditional(self, label: str | None = None) -> Scores:
        """Compute strict scores: each error is a false positive, a false negative or both."""
        right = self.count("TP", label)
        if label is None:
            n_gold, n_predicted = self.n_gold.total(), self.n_predicted.total()
        else:
            n_gold, n_predicted = self.n_gold[label], self.n_predicted[label]
        return compute_scores(right, n_predicted - right, n_gold - right)

    def strict(self) -> StrictScores:
        """Compute strict scores of all labels together and of each label."""
        per_type = {label: self.traditional(label) for label in self.labels}
        return StrictScores(
            self.traditional(), mean_scores(per_type.values()), per_type
        )

    def fair(self, label: str | None = None) -> Scores:
        """Compute fair scores: an error of label or boundaries is half a false positive
        and half a false negative.
        """
        return self.weighted(label, FAIR)

    def weighted(self, label: str | None = None, weights: Weights = WEIGHTED) -> Scores:
        """Compute scores from weighted errors."""
        parts = {"TP": 0.0, "FP": 0.0, "FN": 0.0}
        for kind in KINDS:
            n = self.count(kind, label)
            for part, weight in weights[kind].items():
                parts[part] += weight * n
        return compute_scores(parts["TP"], parts["FP"], parts["FN"])


def count_pairs(docs: Iterable[PairedDoc]) -> FairCounts:
    """Count the pairs of documents."""
    counts = FairCounts()
    for doc in docs:
        counts.add(doc.gold, doc.predicted, doc.pairs)
    return counts


def fair_eval(
    gold: Iterable[Sequence[LabelledSpan]], predicted: Iterable[Sequence[LabelledSpan]]
) -> FairCounts:
    """Compare predictions with gold annotation."""
    counts = FairCounts()
    golds, guesses = list(gold), list(predicted)
    require_same_length(golds, guesses)
    for targets, predictions in zip(golds, guesses):
        counts.add(targets, predictions, pair_spans(targets, predictions))
    return counts


def fair_score(examples: Iterable[Example], **kwargs: Any) -> Mapping[str, Any]:
    """Score the entities of a pipeline, strict and fair."""
    examples = list(examples)
    annotated = [eg for eg in examples if eg.reference.has_annotation("ENT_IOB")]
    counts = count_pairs(pair_examples(annotated))
    scores = ner_score(examples, **kwargs)
    if not annotated:
        return {**scores, **dict.fromkeys(("fair_p", "fair_r", "fair_f"))}
    overall = counts.fair()
    per_type = {label: counts.fair(label)._asdict() for label in counts.labels}
    return {
        **scores,
        **{f"fair_{name}": value for name, value in overall._asdict().items()},
        "fair_per_type": per_type,
    }


def make_fair_scorer() -> Callable[..., Mapping[str, Any]]:
    """Return `fair_score`. Registered as `welt_spacy.fair_scorer.v1` in `@scorers`."""
    return fair_score
