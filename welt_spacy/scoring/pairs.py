"""Predictions paired with what they were meant to be.

Everything that is said about a prediction, from strict scores to the marks of the
report, is read from these pairs. They are those of FairEval (Ortmann 2022,
"Fine-Grained Error Analysis and Fair Evaluation of Labeled Spans", LREC).
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import WeltError
from ..tokens.confidence import get_confidence
from .spans import LabelledSpan, aligned_predictions

LABEL, BOUNDARY, BOTH = "LE", "BE", "LBE"
SMALLER, LARGER, OVERLAPPING = "BES", "BEL", "BEO"
TYPES = ("TP", "FP", "FN", LABEL, SMALLER, LARGER, OVERLAPPING, BOTH)


class Pair(NamedTuple):
    """A prediction and what it was meant to be.

    kind (str): "TP", "FP", "FN", "LE" (the label is wrong), "BES", "BEL", "BEO"
        (right label; too small, too large, or overlapping), or "LBE" (label and
        boundaries are wrong).
    gold (LabelledSpan | None): The gold span; None for a false positive.
    predicted (LabelledSpan | None): The prediction; None for a false negative.
    """

    kind: str
    gold: LabelledSpan | None
    predicted: LabelledSpan | None

    @property
    def label(self) -> str:
        """RETURNS (str): The label it counts under: that of the gold span if there
        is one.
        """
        span = self.gold if self.gold is not None else self.predicted
        assert span is not None
        return span[0]

    @property
    def start(self) -> int:
        """RETURNS (int): The first token of either span."""
        return min(span[1] for span in (self.gold, self.predicted) if span is not None)


class PairedDoc(NamedTuple):
    """A doc with its gold spans, the predictions, and the pairs of both.

    reference (Doc): The doc with gold annotation.
    gold (list[LabelledSpan]): Its spans.
    predicted (list[LabelledSpan]): The predictions that can be right or wrong, on the
        tokens of the reference.
    confidences (list[float | None]): The confidence of each prediction; None where
        it has none.
    pairs (list[Pair]): The pairs, from the first token of either span on.
    """

    reference: Doc
    gold: list[LabelledSpan]
    predicted: list[LabelledSpan]
    confidences: list[float | None]
    pairs: list[Pair]

    @property
    def right(self) -> set[LabelledSpan]:
        """RETURNS (set[LabelledSpan]): The predictions that are right: label and
        boundaries are those of a gold span.
        """
        return {pair.predicted for pair in self.pairs if pair.kind == "TP"}  # type: ignore[misc]

    def span(self, span: LabelledSpan) -> Span:
        """RETURNS (Span): The span in the reference."""
        label, start, end = span
        return Span(self.reference, start, end, label=label)


def pair_examples(examples: Iterable[Example]) -> list[PairedDoc]:
    """Take the spans out of examples and pair them, once for all scores.

    examples (Iterable[Example]): Predictions and references. What is not annotated is
        left out.
    RETURNS (list[PairedDoc]): The docs in the same order.
    """
    docs = []
    for example in examples:
        reference = example.reference
        gold = [(ent.label_, ent.start, ent.end) for ent in reference.ents]
        predictions = list(aligned_predictions(example))
        predicted = [span for span, _ in predictions]
        pairs = sorted(pair_spans(gold, predicted), key=lambda pair: pair.start)
        confidences = [get_confidence(ent) for _, ent in predictions]
        docs.append(PairedDoc(reference, gold, predicted, confidences, pairs))
    return docs


def pair_spans(
    gold: Sequence[LabelledSpan], predicted: Sequence[LabelledSpan]
) -> list[Pair]:
    """Pair the predictions of a sentence with gold spans.

    Identical spans are paired first, then overlapping ones with the same label,
    then overlapping ones with another label; each time gold spans from the
    shortest on, with the prediction that shares most tokens. What is still alone
    may join a span that is paired already, over tokens which no pair accounts for.
    So a gold span or a prediction can be in several pairs.

    gold (Sequence[LabelledSpan]): The gold spans.
    predicted (Sequence[LabelledSpan]): The predictions.
    RETURNS (list[Pair]): The pairs. Of n spans that do not overlap among
        themselves, in O(n log n).
    RAISES (WeltError): If a span is empty.
    """
    pairs: list[Pair] = []
    golds, guesses = _open_spans(gold), _open_spans(predicted)
    by_place: dict[tuple[int, int], list[_Span]] = {}
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
        self.tokens: set[int] = set(range(span[1], span[2]))


def _open_spans(spans: Sequence[LabelledSpan]) -> list[_Span]:
    for span in spans:
        if span[2] <= span[1]:
            raise WeltError(f"The span {span} is empty: it must end after its start")
    # From the shortest to the longest; a stable sort
    return [_Span(span) for span in sorted(spans, key=_length)]


def _length(span: LabelledSpan) -> int:
    return span[2] - span[1]


def _join(target: _Span, guess: _Span, pairs: list[Pair], kind: str) -> None:
    shared = target.tokens & guess.tokens
    for span in (target, guess):
        span.tokens -= shared
        span.paired = True
    pairs.append(Pair(kind, target.span, guess.span))


def _pair_overlapping(
    golds: list[_Span], guesses: list[_Span], same_label: bool, pairs: list[Pair]
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

    def __init__(self, spans: list[_Span], same_label: bool):
        self.same_label = same_label
        # Their place in the list decides last
        self.spans = sorted(enumerate(spans), key=lambda item: item[1].span[1])
        self.starts = [item[1].span[1] for item in self.spans]
        self.longest = max((_length(s.span) for s in spans), default=0)

    def __call__(self, wanted: _Span, of_paired: bool) -> _Span | None:
        label, start, end = wanted.span
        best: tuple[tuple[int, ...], _Span] | None = None
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
