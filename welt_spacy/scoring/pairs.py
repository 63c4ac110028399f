"""Predictions paired with gold spans, the input of all scorers.

The pairs are those of FairEval (Ortmann 2022, "Fine-Grained Error Analysis and Fair
Evaluation of Labeled Spans", LREC).
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import WeltError
from ..tokens.annotated_labels import is_annotated
from ..tokens.confidence import get_confidence
from .spans import LabelledSpan

LABEL, BOUNDARY, BOTH = "LE", "BE", "LBE"
SMALLER, LARGER, OVERLAPPING = "BES", "BEL", "BEO"
KINDS = ("TP", "FP", "FN", LABEL, SMALLER, LARGER, OVERLAPPING, BOTH)

# The error types of Mobasher et al. (2023), section 5
SPURIOUS_TYPE, MISSED_TYPE, OVERLAPPING_TYPE = 1, 2, 3
ERROR_TYPES = {
    SPURIOUS_TYPE: "spurious: a prediction where there is nothing",
    MISSED_TYPE: "missed: an entity without a prediction",
    OVERLAPPING_TYPE: "overlapping: boundaries or label are wrong",
}
_TYPE_OF_KIND = {"FP": SPURIOUS_TYPE, "FN": MISSED_TYPE}


def get_error_type(kind: str) -> int:
    """Return the key in `ERROR_TYPES` for a kind of pair that is not "TP"."""
    return _TYPE_OF_KIND.get(kind, OVERLAPPING_TYPE)


class Pair(NamedTuple):
    """A prediction and its gold span.

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
        """The label that the pair counts for: that of the gold span, if it has one."""
        span = self.gold if self.gold is not None else self.predicted
        assert span is not None
        return span[0]

    @property
    def start(self) -> int:
        """The first token of either span."""
        return min(span[1] for span in (self.gold, self.predicted) if span is not None)


class PairedDoc(NamedTuple):
    """A document with gold spans, predictions, and the pairs of both.

    reference (Doc): The document with gold annotation.
    prediction (Doc): The document with predictions, possibly on other tokens.
    gold (list[LabelledSpan]): The gold spans.
    predicted (list[LabelledSpan]): The predictions that can be right or wrong, on the
        tokens of the reference.
    confidences (list[float | None]): The confidence of each prediction; None where
        it is not known.
    pairs (list[Pair]): The pairs, sorted by the first token of either span.
    """

    reference: Doc
    prediction: Doc
    gold: list[LabelledSpan]
    predicted: list[LabelledSpan]
    confidences: list[float | None]
    pairs: list[Pair]

    @property
    def right(self) -> set[LabelledSpan]:
        """The predictions with the label and the boundaries of a gold span."""
        return {pair.predicted for pair in self.pairs if pair.kind == "TP"}  # type: ignore[misc]

    def span(self, span: LabelledSpan) -> Span:
        """Return a labelled span as a span of the reference."""
        label, start, end = span
        return Span(self.reference, start, end, label=label)


def pair_examples(examples: Iterable[Example]) -> list[PairedDoc]:
    """Pair the predictions of examples with their gold spans. Predictions that can be
    neither right nor wrong are left out; see `aligned_predictions`.
    """
    docs = []
    for example in examples:
        reference = example.reference
        gold = [(ent.label_, ent.start, ent.end) for ent in reference.ents]
        predictions = list(aligned_predictions(example))
        predicted = [span for span, _ in predictions]
        pairs = sorted(pair_spans(gold, predicted), key=lambda pair: pair.start)
        confidences = [get_confidence(ent) for _, ent in predictions]
        docs.append(
            PairedDoc(reference, example.predicted, gold, predicted, confidences, pairs)
        )
    return docs


def aligned_predictions(example: Example) -> Iterator[tuple[LabelledSpan, Span]]:
    """Yield each prediction that can be right or wrong, on the tokens of the reference and
    as it is.

    As in spaCy's scorer, a prediction that touches a token without annotation is left
    out. So is a prediction whose label is not an annotated label of the reference.
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


def pair_spans(
    gold: Sequence[LabelledSpan], predicted: Sequence[LabelledSpan]
) -> list[Pair]:
    """Pair the predictions of a document with gold spans.

    Identical spans are paired first, then overlapping spans with the same label, then
    overlapping spans with another label; each time gold spans from the shortest on, with
    the prediction that shares most tokens. A span that is still alone may join a span that
    is paired already, over tokens that no pair accounts for. So a gold span or a prediction
    can be in several pairs.
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
        # Tokens that no pair accounts for yet
        self.tokens: set[int] = set(range(span[1], span[2]))


def _open_spans(spans: Sequence[LabelledSpan]) -> list[_Span]:
    for span in spans:
        if span[2] <= span[1]:
            raise WeltError(f"{span}: the span is empty. It must end after its start")
    # A stable sort, so the order in the document decides between equal lengths
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
    """Pair unpaired spans with each other, then the rest with paired spans."""

    def kind_of(target: _Span, guess: _Span) -> str:
        return _boundary(target.span, guess.span) if same_label else BOTH

    find_guess = _Finder(guesses, same_label)
    for paired in (False, True):
        for target in golds:
            if not target.paired:
                guess = find_guess(target, paired)
                if guess is not None:
                    _join(target, guess, pairs, kind_of(target, guess))
    find_target = _Finder(golds, same_label)
    for guess in guesses:
        if not guess.paired:
            match = find_target(guess, paired=True)
            if match is not None:
                _join(match, guess, pairs, kind_of(match, guess))


class _Finder:
    """Find the span that shares most tokens with a given span."""

    def __init__(self, spans: list[_Span], same_label: bool):
        self.same_label = same_label
        # The position in the list breaks the last tie
        self.spans = sorted(enumerate(spans), key=lambda item: item[1].span[1])
        self.starts = [item[1].span[1] for item in self.spans]
        self.longest = max((_length(s.span) for s in spans), default=0)

    def __call__(self, wanted: _Span, paired: bool) -> _Span | None:
        label, start, end = wanted.span
        best: tuple[tuple[int, ...], _Span] | None = None
        first = bisect_left(self.starts, start - self.longest + 1)
        for position, span in self.spans[first : bisect_left(self.starts, end)]:
            if span.paired != paired:
                continue
            if (span.span[0] == label) != self.same_label:
                continue
            shared = len(wanted.tokens & span.tokens)
            if not shared:
                continue
            key = (
                -shared,
                len(wanted.tokens) - shared,
                len(span.tokens) - shared,
                _length(span.span),
                position,
            )
            if best is None or key < best[0]:
                best = (key, span)
        return None if best is None else best[1]


def _boundary(gold: LabelledSpan, guess: LabelledSpan) -> str:
    if gold[1] <= guess[1] and guess[2] <= gold[2]:
        return SMALLER
    if guess[1] <= gold[1] and gold[2] <= guess[2]:
        return LARGER
    return OVERLAPPING
