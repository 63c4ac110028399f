"""Scores on raw text: gold characters against the tokens of the pipeline.

A corpus has tokens. Scores on these tokens leave out the errors of the pipeline's own
tokenizer, which cannot predict a boundary inside one of its tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

from spacy.tokens import Doc

from ..errors import WeltError
from ..tokens.annotated_labels import is_annotated
from .pairs import PairedDoc
from .spans import LabelledSpan, Scores, require_same_length
from .strict import strict_eval


class TextScores(NamedTuple):
    """Scores of entities by characters.

    strict (Scores): Strict scores: first and last character and the label are right.
    per_type (dict[str, Scores]): The same of each label.
    gold, predicted (int): Number of entities.
    split (int): Gold entities with a boundary inside a token of the pipeline, which
        therefore cannot be predicted.
    tokens (int): Tokens of the pipeline.
    joined (int): Documents without a record of their white space: their text is their
        words, joined by single spaces, and not the published text.
    """

    strict: Scores
    per_type: dict[str, Scores]
    gold: int
    predicted: int
    split: int
    tokens: int
    joined: int


def text_eval(docs: Sequence[PairedDoc], predictions: Sequence[Doc]) -> TextScores:
    """Score documents that a pipeline made from raw texts."""
    require_same_length(docs, predictions)
    golds, guesses = [], []
    n_split = 0
    for i, (paired, doc) in enumerate(zip(docs, predictions)):
        reference = paired.reference
        if reference.text != doc.text:
            raise WeltError(
                f"Document {i}: the text is {doc.text[:40]!r} and in the gold annotation "
                f"{reference.text[:40]!r}. Predict on the text of the gold annotation"
            )
        gold, predicted = _character_spans(reference, doc)
        golds.append(gold)
        guesses.append(predicted)
        n_split += sum(doc.char_span(start, end) is None for _, start, end in gold)
    scores = strict_eval(golds, guesses)
    return TextScores(
        strict=scores.micro,
        per_type=scores.per_type,
        gold=sum(map(len, golds)),
        predicted=sum(map(len, guesses)),
        split=n_split,
        tokens=sum(map(len, predictions)),
        joined=sum(paired.reference.has_unknown_spaces for paired in docs),
    )


def _character_spans(
    reference: Doc, doc: Doc
) -> tuple[list[LabelledSpan], list[LabelledSpan]]:
    gold = [(e.label_, e.start_char, e.end_char) for e in reference.ents]
    predicted = []
    for ent in doc.ents:
        if not is_annotated(reference, ent.label_):
            continue
        touched = reference.char_span(
            ent.start_char, ent.end_char, alignment_mode="expand"
        )
        if touched is not None and all(token.ent_iob != 0 for token in touched):
            predicted.append((ent.label_, ent.start_char, ent.end_char))
    return gold, predicted
