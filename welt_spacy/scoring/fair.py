"""FairEval: one error is counted once.

Under strict scoring an entity with one boundary off costs a false positive and a
false negative. FairEval (Ortmann 2022, "Fine-Grained Error Analysis and Fair
Evaluation of Labeled Spans", LREC) pairs predictions with what they were meant to
be and tells labelling errors, boundary errors and both apart.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from spacy.training import Example

from .pairs import (
    BOUNDARY,
    LARGER,
    OVERLAPPING,
    SMALLER,
    TYPES,
    Pair,
    PairedDoc,
    pair_examples,
    pair_spans,
)
from .spans import LabelledSpan, Scores, require_same_sentences, scores_of
from .strict import ner_score

Weights = Mapping[str, Mapping[str, float]]

# What an error counts as, in parts of a true positive, a false positive and a false
# negative: half an error, whichever it is.
FAIR: Weights = {
    "TP": {"TP": 1},
    "FP": {"FP": 1},
    "FN": {"FN": 1},
    **{name: {"FP": 0.5, "FN": 0.5} for name in TYPES[3:]},
}
# Ortmann's own weights: what was found of an entity counts too.
WEIGHTED: Weights = {
    **FAIR,
    SMALLER: {"TP": 0.5, "FN": 0.5},
    LARGER: {"TP": 0.5, "FP": 0.5},
    OVERLAPPING: {"TP": 0.5, "FP": 0.25, "FN": 0.25},
}


class FairCounts:
    """Counts of what was right and of each kind of error, and scores from them.

    counts (dict[str, Counter]): For each label, how many of each of `TYPES`.
    confusion (Counter): How often gold label and predicted label meet in an error;
        None stands for no span. Equal labels: boundary errors.
    n_gold, n_predicted (Counter): Spans by label.
    """

    def __init__(self) -> None:
        self.counts: dict[str, Counter] = {}
        self.confusion: Counter = Counter()
        self.n_gold: Counter = Counter()
        self.n_predicted: Counter = Counter()

    def add(
        self, gold: Sequence[LabelledSpan], predicted: Sequence[LabelledSpan]
    ) -> list[Pair]:
        """Count a sentence or a document.

        gold (Sequence[LabelledSpan]): Its gold spans.
        predicted (Sequence[LabelledSpan]): The predictions.
        RETURNS (list[Pair]): What was paired with what.
        """
        pairs = pair_spans(gold, predicted)
        self._add(gold, predicted, pairs)
        return pairs

    def add_doc(self, doc: PairedDoc) -> None:
        """Count a doc that is paired already.

        doc (PairedDoc): The doc.
        """
        self._add(doc.gold, doc.predicted, doc.pairs)

    def _add(
        self,
        gold: Sequence[LabelledSpan],
        predicted: Sequence[LabelledSpan],
        pairs: Sequence[Pair],
    ) -> None:
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
        """RETURNS (list[str]): All labels seen, sorted."""
        return sorted(set(self.n_gold) | set(self.n_predicted))

    def count(self, kind: str, label: str | None = None) -> int:
        """Look up a count.

        kind (str): One of `TYPES`, or "BE" for boundary errors of all kinds.
        label (str | None): The label; all of them if not set.
        RETURNS (int): The count.
        """
        kinds = (SMALLER, LARGER, OVERLAPPING) if kind == BOUNDARY else (kind,)
        labels = self.counts if label is None else [label]
        return sum(
            self.counts[name][k]
            for name in labels
            if name in self.counts
            for k in kinds
        )

    def traditional(self, label: str | None = None) -> Scores:
        """Count all errors as false positives and false negatives: strict scores.

        label (str | None): The label; all of them if not set.
        RETURNS (Scores): The scores.
        """
        right = self.count("TP", label)
        if label is None:
            n_gold, n_predicted = self.n_gold.total(), self.n_predicted.total()
        else:
            n_gold, n_predicted = self.n_gold[label], self.n_predicted[label]
        return scores_of(right, n_predicted - right, n_gold - right)

    def macro(self) -> Scores:
        """The mean of the strict scores of the labels; 0 without any."""
        per_type = [self.traditional(label) for label in self.labels]
        if not per_type:
            return Scores(0.0, 0.0, 0.0)
        return Scores(*map(mean, zip(*per_type)))

    def fair(self, label: str | None = None) -> Scores:
        """Each error with a label or a boundary wrong counts half a false positive
        and half a false negative.

        label (str | None): The label; all of them if not set.
        RETURNS (Scores): The scores.
        """
        return self.weighted(label, FAIR)

    def weighted(self, label: str | None = None, weights: Weights = WEIGHTED) -> Scores:
        """Count errors by weights.

        label (str | None): The label; all of them if not set.
        weights (Mapping): For each of `TYPES` the parts of "TP", "FP" and "FN".
        RETURNS (Scores): The scores.
        """
        parts = {"TP": 0.0, "FP": 0.0, "FN": 0.0}
        for kind in TYPES:
            n = self.count(kind, label)
            for part, weight in weights[kind].items():
                parts[part] += weight * n
        return scores_of(parts["TP"], parts["FP"], parts["FN"])


def count_pairs(docs: Iterable[PairedDoc]) -> FairCounts:
    """Count docs that are paired already.

    docs (Iterable[PairedDoc]): The docs; see `pair_examples`.
    RETURNS (FairCounts): Counts and scores.
    """
    found = FairCounts()
    for doc in docs:
        found.add_doc(doc)
    return found


def fair_eval(
    gold: Iterable[Sequence[LabelledSpan]], predicted: Iterable[Sequence[LabelledSpan]]
) -> FairCounts:
    """Compare predictions with gold annotation.

    gold (Iterable[Sequence[LabelledSpan]]): For each sentence or document, its
        spans: label, first token, token after the last.
    predicted (Iterable[Sequence[LabelledSpan]]): The predictions for the same.
    RETURNS (FairCounts): Counts and scores.
    RAISES (WeltError): If one has more sentences than the other, or a span is empty.
    """
    found = FairCounts()
    golds, guesses = list(gold), list(predicted)
    require_same_sentences(golds, guesses)
    for one, other in zip(golds, guesses):
        found.add(one, other)
    return found


def fair_score(examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
    """Score the entities of a pipeline, strict and fair.

    examples (Iterable[Example]): Predictions and references.
    RETURNS (dict[str, Any]): What `ner_score` returns, and `fair_p`, `fair_r`,
        `fair_f` in [0, 1] and `fair_per_type`; None if no reference is annotated.
    """
    examples = list(examples)
    annotated = [eg for eg in examples if eg.reference.has_annotation("ENT_IOB")]
    found = count_pairs(pair_examples(annotated))
    scores = ner_score(examples, **kwargs)
    if not annotated:
        return {**scores, **dict.fromkeys(("fair_p", "fair_r", "fair_f"))}
    overall = found.fair()
    per_type = {label: found.fair(label)._asdict() for label in found.labels}
    return {
        **scores,
        **{f"fair_{name}": value for name, value in overall._asdict().items()},
        "fair_per_type": per_type,
    }


def make_fair_scorer() -> Callable[..., dict[str, Any]]:
    """Registered as `welt_spacy.fair_scorer.v1` in `@scorers`."""
    return fair_score
