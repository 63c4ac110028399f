"""Strict scores of some of the entities: by length, by form, by what was seen."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import NamedTuple

from spacy.tokens import Doc, Span

from .pairs import PairedDoc
from .spans import Scores, scores_of

Slicer = Callable[[Span], str]


def count_mentions(references: Iterable[Doc]) -> Counter:
    """Count the entities of a training corpus by their text.

    references (Iterable[Doc]): Its docs.
    RETURNS (Counter): How often each text is an entity, in lower case.
    """
    return Counter(ent.text.lower() for doc in references for ent in doc.ents)


def slicers(mentions: Mapping[str, int] | None = None) -> dict[str, Slicer]:
    """Get the ways to slice entities.

    mentions (Mapping[str, int] | None): What `count_mentions` found in the
        training corpus; without it there are no slices by what was seen.
    RETURNS (dict[str, Slicer]): For each way, a function from an entity to the name
        of its slice.
    """
    ways: dict[str, Slicer] = {"length": by_length, "form": by_form}
    if mentions is not None:
        counts = mentions
        ways["mention in train"] = lambda span: (
            "seen" if counts.get(span.text.lower()) else "unseen"
        )
        ways["frequency in train"] = lambda span: _frequency(
            counts.get(span.text.lower(), 0)
        )
    return ways


def by_length(span: Span) -> str:
    """Slice by the number of tokens, from 5 on as one slice.

    span (Span): The entity.
    RETURNS (str): The name of the slice.
    """
    return "1 token" if len(span) == 1 else f"{min(len(span), 5)}{_plus(span)} tokens"


def _plus(span: Span) -> str:
    return " or more" if len(span) >= 5 else ""


def by_form(span: Span) -> str:
    """Slice by form.

    span (Span): The entity.
    RETURNS (str): "abbreviation" for one token of at most eight characters with two
        capitals or more, such as "MPTP" or "5-HT"; "word" for others.
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

    scores (Scores): Precision of the predictions in it, recall of the gold entities
        in it.
    n_gold, n_predicted (int): How many of each there are.
    """

    scores: Scores
    n_gold: int
    n_predicted: int


def score_slices(docs: Iterable[PairedDoc], slicer: Slicer) -> dict[str, SliceScores]:
    """Score slices of the entities.

    docs (Iterable[PairedDoc]): Predictions, paired with references.
    slicer (Slicer): From an entity to the name of its slice; see `slicers`.
    RETURNS (dict[str, SliceScores]): The slices by name.
    """
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
            scores_of(
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
