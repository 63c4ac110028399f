"""Strict scores: an entity counts when its borders and its label are right."""

from typing import Any, Callable, Dict, Iterable

from spacy.scorer import get_ner_prf
from spacy.training import Example


def ner_score(examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
    """Score the entities of a pipeline, micro-averaged and per label.

    examples (Iterable[Example]): Predictions and references. Predictions that
        touch a token without annotation are neither right nor wrong.
    RETURNS (Dict[str, Any]): `ents_p`, `ents_r`, `ents_f` in [0, 1] and
        `ents_per_type`; all None if no reference is annotated.

    DOCS: https://spacy.io/api/scorer#get_ner_prf
    """
    return get_ner_prf(examples, **kwargs)


def make_ner_scorer() -> Callable[..., Dict[str, Any]]:
    """Registered as `welt_spacy.ner_scorer.v1` in `@scorers`."""
    return ner_score
