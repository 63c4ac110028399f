"""The parts of a document that single prompts are about, and their responses."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from spacy.tokens import Doc, Span
from spacy.util import minibatch

from ..tokens.llm_responses import LLMResponses
from .backends import Completion
from .responses import PredictedEntity, align_entities, parse_response


@dataclass(frozen=True)
class PromptUnit:
    """A part of a document with the response of a language model.

    span (Span): The part.
    completion (Completion): The response.
    """

    span: Span
    completion: Completion


def split_doc(doc: Doc, n_sents: int) -> list[Span]:
    """Split a document into parts of `n_sents` sentences; 0 for the whole document. Parts of
    white space are left out.
    """
    if n_sents:
        groups = minibatch(doc.sents, size=n_sents)
        parts = [doc[group[0].start : group[-1].end] for group in groups]
    else:
        parts = [doc[:]]
    return [part for part in parts if part.text.strip()]


def read_entities(
    units: Sequence[PromptUnit], labels: Sequence[str]
) -> tuple[list[tuple[Span, float | None]], LLMResponses]:
    """Read the entities of a document, with their confidences, from its responses."""
    aligned: list[tuple[Span, float | None]] = []
    entities: list[PredictedEntity] = []
    issues: Counter = Counter()
    for unit in units:
        completion = unit.completion
        if completion.error is not None:
            issues["failed"] += 1
            continue
        response = parse_response(completion.text)
        alignment = align_entities(unit.span, response.entities, labels)
        issues.update(response.issues)
        issues.update(alignment.issues)
        if completion.cut_off and "cut off" not in response.issues:
            issues["cut off"] += 1
        confidences = get_confidences(response.entities, completion)
        entities += response.entities
        aligned += [
            (span, confidences[source])
            for span, source in zip(alignment.spans, alignment.sources)
        ]
    errors = (unit.completion.error for unit in units)
    responses = LLMResponses(
        [unit.completion.text for unit in units],
        [(entity.label, entity.name) for entity in entities],
        len(entities) + issues["malformed"],
        {name: n for name, n in issues.items() if n},
        next((error for error in errors if error), None),
    )
    return aligned, responses


def get_confidences(
    entities: Sequence[PredictedEntity], completion: Completion
) -> list[float | None]:
    """Compute the probability of each entity given the response before it.

    It is the product over the tokens from the end of the entity before to its own end, so it
    includes the choice to name another entity. If a grammar restricts the response, it is the
    probability among the tokens that the grammar allows.
    """
    if completion.tokens is None:
        return [None] * len(entities)
    ends = np.array([end for end, _ in completion.tokens], dtype="int64")
    sums = np.cumsum([0.0, *(value for _, value in completion.tokens)])
    confidences: list[float | None] = []
    start = 0
    for entity in entities:
        # The last token of an entity is the first one that ends at its end or after it
        end = int(np.searchsorted(ends, entity.end, side="left")) + 1
        end = min(end, len(ends))
        confidences.append(min(1.0, math.exp(float(sums[end] - sums[start]))))
        start = end
    return confidences
