"""Scores on raw text: gold characters against a pipeline's own tokens.

A corpus comes with tokens, and scores on these tokens say nothing of what happens
when the pipeline has to split the text itself: a boundary inside one of its tokens
can't be found.
"""

from collections.abc import Sequence
from typing import NamedTuple

from spacy.tokens import Doc

from ..errors import WeltError
from ..tokens.annotated_labels import is_annotated
from .spans import LabelledSpan, require_same_sentences
from .strict import StrictScores, strict_eval


class TextScores(NamedTuple):
    """Scores of entities by characters.

    strict (StrictScores): First and last character and the label are right.
    n_gold, n_predicted (int): Entities.
    n_split (int): Gold entities with a boundary inside a token of the pipeline,
        which therefore can't be found.
    n_tokens (int): Tokens that the pipeline makes.
    n_joined (int): Docs whose spaces are unknown: their text is their words, joined
        by single spaces, and not what was published.
    """

    strict: StrictScores
    n_gold: int
    n_predicted: int
    n_split: int
    n_tokens: int
    n_joined: int


def text_eval(references: Sequence[Doc], predictions: Sequence[Doc]) -> TextScores:
    """Score docs that a pipeline made from the texts of gold-standard docs.

    references (Sequence[Doc]): The gold-standard docs.
    predictions (Sequence[Doc]): For each, what the pipeline makes of its text.
    RETURNS (TextScores): The scores. A prediction that touches a token of the
        reference without annotation is neither right nor wrong.
    RAISES (WeltError): If there are more of one than of the other, or a text is not
        the same.
    """
    require_same_sentences(references, predictions)
    pairs = []
    n_split = 0
    for i, (reference, doc) in enumerate(zip(references, predictions)):
        if reference.text != doc.text:
            raise WeltError(
                f"The text of doc {i} is not that of its gold annotation: {doc.text[:40]!r} "
                f"against {reference.text[:40]!r}"
            )
        gold, predicted = _character_spans(reference, doc)
        pairs.append((gold, predicted))
        n_split += sum(doc.char_span(start, end) is None for _, start, end in gold)
    golds, guesses = [one for one, _ in pairs], [other for _, other in pairs]
    return TextScores(
        strict_eval(golds, guesses),
        sum(map(len, golds)),
        sum(map(len, guesses)),
        n_split,
        sum(map(len, predictions)),
        sum(doc.has_unknown_spaces for doc in references),
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
