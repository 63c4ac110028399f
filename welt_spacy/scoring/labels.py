"""The labels that a pipeline can find, and those of the data."""

from collections.abc import Sequence

from spacy.language import Language
from spacy.training import Example

from ..errors import WeltError


def known_labels(nlp: Language) -> list[str]:
    """List the labels that a pipeline can find.

    nlp (Language): The pipeline.
    RETURNS (list[str]): The labels of all components that set entities, sorted; none
        if they do not tell.
    """
    return sorted(
        {
            label
            for name, pipe in nlp.pipeline
            if "doc.ents" in nlp.get_pipe_meta(name).assigns
            for label in getattr(pipe, "labels", ())
        }
    )


def unknown_labels(nlp: Language, examples: Sequence[Example]) -> list[str]:
    """List the labels of gold entities that a pipeline can't find.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Gold-standard docs.
    RETURNS (list[str]): The labels, sorted; none if the pipeline does not tell its own.
    RAISES (WeltError): If it can find none of them.
    """
    known = known_labels(nlp)
    gold = {ent.label_ for eg in examples for ent in eg.reference.ents}
    if not known:
        return []
    if gold and not gold & set(known):
        raise WeltError(
            f"The pipeline finds {', '.join(known)}, and the data have only "
            f"{', '.join(sorted(gold))}: are these the right data?"
        )
    return sorted(gold - set(known))


def require_known_labels(
    nlp: Language, examples: Sequence[Example], data: str = "the data"
) -> None:
    """Check that data can choose between settings or copies of a pipeline.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): Gold-standard docs.
    data (str): What the data are called in messages.
    RAISES (WeltError): If there is no entity, or one with a label that the pipeline
        can't find.
    """
    gold = {ent.label_ for eg in examples for ent in eg.reference.ents}
    if not gold:
        raise WeltError(f"There is no entity in {data}: use data with annotation")
    known = known_labels(nlp)
    unknown = sorted(gold - set(known))
    if known and unknown:
        raise WeltError(
            f"There is {', '.join(unknown)} in {data}, and the pipeline finds "
            f"{', '.join(known)}: use data with these labels alone"
        )
