"""What went wrong, and where."""

from collections.abc import Sequence
from typing import NamedTuple

from spacy.tokens import Span

from .pairs import PairedDoc

# The paper's types (Mobasher et al. 2023, section 5)
SPURIOUS, MISSED, OVERLAPPING = 1, 2, 3
ERROR_TYPES = {
    SPURIOUS: "spurious: a prediction where there is nothing",
    MISSED: "missed: an entity without a prediction",
    OVERLAPPING: "overlapping: boundaries or label are wrong",
}
_TYPE_OF_KIND = {"FP": SPURIOUS, "FN": MISSED}


def error_type(kind: str) -> int:
    """Find the paper's type of an error.

    kind (str): What FairEval calls it; not "TP".
    RETURNS (int): 1 spurious, 2 missed, 3 overlapping.
    """
    return _TYPE_OF_KIND.get(kind, OVERLAPPING)


class Error(NamedTuple):
    """An error of a pipeline.

    type (int): 1 spurious, 2 missed, 3 overlapping.
    kind (str): What FairEval calls it: "FP", "FN", "LE", "BES", "BEL", "BEO", "LBE".
    doc (int): The index of the doc.
    gold (Span | None): The gold entity.
    predicted (Span | None): The prediction, on the tokens of the reference.
    """

    type: int
    kind: str
    doc: int
    gold: Span | None
    predicted: Span | None


def find_errors(docs: Sequence[PairedDoc]) -> list[Error]:
    """List the errors of a pipeline. An entity that two predictions overlap makes two.

    docs (Sequence[PairedDoc]): Predictions, paired with references.
    RETURNS (list[Error]): The errors, doc by doc, in the order of the text.
    """
    return [
        Error(
            error_type(pair.kind),
            pair.kind,
            i,
            None if pair.gold is None else doc.span(pair.gold),
            None if pair.predicted is None else doc.span(pair.predicted),
        )
        for i, doc in enumerate(docs)
        for pair in doc.pairs
        if pair.kind != "TP"
    ]
