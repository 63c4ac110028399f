"""Strict scores of subsets of the entities: by length, by form, by frequency in train."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

from spacy.tokens import Doc, Span

from .pairs import PairedDoc
from .spans import compute_scores

Slicer = Callable[[Span], str]


def count_mentions(references: Iterable[Doc]) -> Counter:
    """Count the entities of a training corpus by their text in lower case."""
    return Counter(ent.text.lower() for doc in references for ent in doc.ents)


def make_slicers(mentions: Mapping[str, int] | None = None) -> dict[str, Slicer]:
    """Return the functions from an entity to the name of its slice, by criterion."""
    slicers: dict[str, Slicer] = {"length": by_length, "form": by_form}
    if mentions is not None:
        counts = mentions
        slicers["mention in train"] = lambda span: (
            "seen" if counts.get(span.text.lower()) else "unseen"
        )
        slicers["frequency in train"] = lambda span: _frequency(
            counts.get(span.text.lower(), 0)
        )
    return slicers


def by_length(span: Span) -> str:
    """Return the slice by number of tokens; five tokens and more are one slice."""
    if len(span) == 1:
        return "1 token"
    return f"{len(span)} tokens" if len(span) < 5 else "5 or more tokens"


def by_form(span: Span) -> str:
    """Return "abbreviation" for one token of at most eight characters with two capitals or
    more, such as "MPTP" or "5-HT", and "word" for others.
    """
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

    p (float): Precision of the predictions in it.
    r (float): Recall of the gold entities in it.
    f (float): F1 of both.
    gold, predicted (int): Number of gold entities and of predictions.
    """

    p: float
    r: float
    f: float
    gold: int
    predicted: int


def score_slices(docs: Sequence[PairedDoc], slicer: Slicer) -> dict[str, SliceScores]:
    """Score each slice of the entities."""
    right: Counter = Counter()
    n_gold: Counter = Counter()
    n_predicted: Counter = Counter()
    for doc in docs:
        for spans, counter in (
            (doc.gold, n_gold),
            (doc.predicted, n_predicted),
            (doc.right, right),
        ):
            counter.update(slicer(doc.span(span)) for span in spans)
    return {
        name: SliceScores(
            *compute_scores(
                right[name], n_predicted[name] - right[name], n_gold[name] - right[name]
            ),
            n_gold[name],
            n_predicted[name],
        )
        for name in sorted({*n_gold, *n_predicted}, key=_by_number)
    }


def _by_number(name: str) -> tuple[float, str]:
    number = name.split()[0]
    return (int(number) if number.isdigit() else inf), name
