"""FairEval: one error is counted once.

Under strict scoring an entity with one border off costs a false positive and a
false negative. FairEval (Ortmann 2022, "Fine-Grained Error Analysis and Fair
Evaluation of Labeled Spans", LREC) pairs predictions with what they were meant to
be and tells labelling errors, boundary errors and both apart.
"""

from bisect import bisect_left
from collections import Counter
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from spacy.training import Example

from ..errors import WeltError
from .strict import (
    LabelledSpan,
    Scores,
    ner_score,
    require_same_sentences,
    scores_of,
    spans_of,
)

LABEL, BOUNDARY, BOTH = "LE", "BE", "LBE"
SMALLER, LARGER, OVERLAPPING = "BES", "BEL", "BEO"
TYPES = ("TP", "FP", "FN", LABEL, SMALLER, LARGER, OVERLAPPING, BOTH)

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


class Pair(NamedTuple):
    """A prediction and what it was meant to be.

    kind (str): "TP", "FP", "FN", "LE" (the label is wrong), "BES", "BEL", "BEO"
        (right label; too small, too large, or overlapping), or "LBE" (label and
        borders are wrong).
    gold (Optional[LabelledSpan]): The gold span; None for a false positive.
    predicted (Optional[LabelledSpan]): The prediction; None for a false negative.
    """

    kind: str
    gold: Optional[LabelledSpan]
    predicted: Optional[LabelledSpan]

    @property
    def label(self) -> str:
        """RETURNS (str): The label it counts under: that of the gold span if there
        is one."""
        span = self.gold if self.gold is not None else self.predicted
        assert span is not None
        return span[0]


class FairCounts:
    """Counts of what was right and of each kind of error, and scores from them.

    counts (Dict[str, Counter]): For each label, how many of each of `TYPES`.
    confusion (Counter): How often gold label and predicted label meet in an error;
        None stands for no span. Equal labels: boundary errors.
    n_gold, n_predicted (Counter): Spans by label.
    """

    def __init__(self) -> None:
        self.counts: Dict[str, Counter] = {}
        self.confusion: Counter = Counter()
        self.n_gold: Counter = Counter()
        self.n_predicted: Counter = Counter()

    def add(
        self, gold: Sequence[LabelledSpan], predicted: Sequence[LabelledSpan]
    ) -> List[Pair]:
        """Count a sentence or a document.

        gold (Sequence[LabelledSpan]): Its gold spans.
        predicted (Sequence[LabelledSpan]): The predictions.
        RETURNS (List[Pair]): What was paired with what.
        """
        pairs = pair_spans(gold, predicted)
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
        return pairs

    @property
    def labels(self) -> List[str]:
        """RETURNS (List[str]): All labels seen, sorted."""
        return sorted(set(self.n_gold) | set(self.n_predicted))

    def count(self, kind: str, label: Optional[str] = None) -> int:
        """Look up a count.

        kind (str): One of `TYPES`, or "BE" for boundary errors of all kinds.
        label (Optional[str]): The label; all of them if not set.
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

    def traditional(self, label: Optional[str] = None) -> Scores:
        """Strict scores: all errors are false positives and false negatives."""
        right = self.count("TP", label)
        if label is None:
            n_gold, n_predicted = self.n_gold.total(), self.n_predicted.total()
        else:
            n_gold, n_predicted = self.n_gold[label], self.n_predicted[label]
        return scores_of(right, n_predicted - right, n_gold - right)

    def fair(self, label: Optional[str] = None) -> Scores:
        """Each error with a label or a border wrong counts half a false positive
        and half a false negative."""
        return self.weighted(label, FAIR)

    def weighted(
        self, label: Optional[str] = None, weights: Weights = WEIGHTED
    ) -> Scores:
        """Count errors by weights.

        label (Optional[str]): The label; all of them if not set.
        weights (Mapping): For each of `TYPES` the parts of "TP", "FP" and "FN".
        RETURNS (Scores): The scores.
        """
        parts = {"TP": 0.0, "FP": 0.0, "FN": 0.0}
        for kind in TYPES:
            n = self.count(kind, label)
            for part, weight in weights[kind].items():
                parts[part] += weight * n
        return scores_of(parts["TP"], parts["FP"], parts["FN"])


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


def pair_spans(
    gold: Sequence[LabelledSpan], predicted: Sequence[LabelledSpan]
) -> List[Pair]:
    """Pair the predictions of a sentence with gold spans.

    Identical spans are paired first, then overlapping ones with the same label,
    then overlapping ones with another label; each time gold spans from the
    shortest on, with the prediction that shares most tokens. What is still alone
    may join a span that is paired already, over tokens which no pair accounts for.
    So a gold span or a prediction can be in several pairs.

    gold (Sequence[LabelledSpan]): The gold spans.
    predicted (Sequence[LabelledSpan]): The predictions.
    RETURNS (List[Pair]): The pairs. Of n spans that do not overlap among
        themselves, in O(n log n).
    RAISES (WeltError): If a span is empty.
    """
    pairs: List[Pair] = []
    golds, guesses = _open_spans(gold), _open_spans(predicted)
    by_place: Dict[Tuple[int, int], List[_Span]] = {}
    for guess in guesses:
        by_place.setdefault(guess.span[1:], []).append(guess)
    for same_label in (True, False):
        for target in golds:
            if target.paired:
                continue
            for guess in by_place.get(target.span[1:], ()):
                same = guess.span[0] == target.span[0]
                if not guess.paired and same == same_label:
                    _join(target, guess, pairs, "TP" if same else LABEL)
                    break
    for same_label in (True, False):
        _pair_overlapping(golds, guesses, same_label, pairs)
    pairs += [Pair("FN", target.span, None) for target in golds if not target.paired]
    pairs += [Pair("FP", None, guess.span) for guess in guesses if not guess.paired]
    return pairs


class _Span:
    __slots__ = ["span", "paired", "tokens"]

    def __init__(self, span: LabelledSpan):
        self.span = span
        self.paired = False
        # Those that no pair accounts for yet
        self.tokens: Set[int] = set(range(span[1], span[2]))


def _open_spans(spans: Sequence[LabelledSpan]) -> List[_Span]:
    for span in spans:
        if span[2] <= span[1]:
            raise WeltError(f"The span {span} is empty: it must end after its start")
    # From the shortest to the longest; a stable sort
    return [_Span(span) for span in sorted(spans, key=_length)]


def _length(span: LabelledSpan) -> int:
    return span[2] - span[1]


def _join(target: _Span, guess: _Span, pairs: List[Pair], kind: str) -> None:
    shared = target.tokens & guess.tokens
    for span in (target, guess):
        span.tokens -= shared
        span.paired = True
    pairs.append(Pair(kind, target.span, guess.span))


def _pair_overlapping(
    golds: List[_Span], guesses: List[_Span], same_label: bool, pairs: List[Pair]
) -> None:
    """Alone with alone, then those left alone with those that are paired."""

    def kind_of(target: _Span, guess: _Span) -> str:
        return _boundary(target.span, guess.span) if same_label else BOTH

    find_guesses = _Finder(guesses, same_label)
    for of_paired in (False, True):
        for target in golds:
            if not target.paired:
                guess = find_guesses(target, of_paired)
                if guess is not None:
                    _join(target, guess, pairs, kind_of(target, guess))
    find_golds = _Finder(golds, same_label)
    for guess in guesses:
        if not guess.paired:
            found = find_golds(guess, of_paired=True)
            if found is not None:
                _join(found, guess, pairs, kind_of(found, guess))


class _Finder:
    """Finds the span that shares most tokens with another."""

    def __init__(self, spans: List[_Span], same_label: bool):
        self.same_label = same_label
        # Their place in the list decides last
        self.spans = sorted(enumerate(spans), key=lambda item: item[1].span[1])
        self.starts = [item[1].span[1] for item in self.spans]
        self.longest = max((_length(s.span) for s in spans), default=0)

    def __call__(self, wanted: _Span, of_paired: bool) -> Optional[_Span]:
        label, start, end = wanted.span
        best: Optional[Tuple[Tuple[int, ...], _Span]] = None
        first = bisect_left(self.starts, start - self.longest + 1)
        for place, other in self.spans[first : bisect_left(self.starts, end)]:
            if other.paired != of_paired:
                continue
            if (other.span[0] == label) != self.same_label:
                continue
            shared = len(wanted.tokens & other.tokens)
            if not shared:
                continue
            key = (
                -shared,
                len(wanted.tokens) - shared,
                len(other.tokens) - shared,
                _length(other.span),
                place,
            )
            if best is None or key < best[0]:
                best = (key, other)
        return None if best is None else best[1]


def _boundary(gold: LabelledSpan, guess: LabelledSpan) -> str:
    if gold[1] <= guess[1] and guess[2] <= gold[2]:
        return SMALLER
    if guess[1] <= gold[1] and gold[2] <= guess[2]:
        return LARGER
    return OVERLAPPING


def fair_score(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score the entities of a pipeline, strict and fair.

    examples (Iterable[Example]): Predictions and references.
    RETURNS (Dict[str, Any]): What `ner_score` returns, and `fair_p`, `fair_r`,
        `fair_f` in [0, 1] and `fair_per_type`; None if no reference is annotated.
    """
    examples = list(examples)
    found = FairCounts()
    annotated = [eg for eg in examples if eg.reference.has_annotation("ENT_IOB")]
    for example in annotated:
        found.add(*spans_of(example))
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


def make_fair_scorer() -> Callable[..., Dict[str, Any]]:
    """Registered as `welt_spacy.fair_scorer.v1` in `@scorers`."""
    return fair_score
