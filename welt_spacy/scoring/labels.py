"""Labels of pipelines and labels of data."""

from collections.abc import Iterable

from spacy.language import Language
from spacy.tokens import Doc

from ..errors import WeltError


def known_labels(nlp: Language) -> list[str]:
    """List the labels of all components that set entities, sorted; none if they do not
    list their labels.
    """
    return sorted(
        {
            label
            for name, pipe in nlp.pipeline
            if "doc.ents" in nlp.get_pipe_meta(name).assigns
            for label in getattr(pipe, "labels", ())
        }
    )


def unknown_labels(nlp: Language, references: Iterable[Doc]) -> list[str]:
    """List the labels of gold entities that a pipeline cannot predict, sorted; none if the
    pipeline does not list its labels. Raise a `WeltError` if it can predict none of them.
    """
    known = known_labels(nlp)
    gold = _gold_labels(references)
    if not known:
        return []
    if gold and not gold & set(known):
        raise WeltError(
            f"The pipeline predicts {', '.join(known)}, and the data have only "
            f"{', '.join(sorted(gold))}: no label in common. Use data with these labels"
        )
    return sorted(gold - set(known))


def require_known_labels(
    nlp: Language, references: Iterable[Doc], data: str = "the data"
) -> None:
    """Raise a `WeltError` if gold data have no entity, or one with a label that a pipeline
    cannot predict. Such data cannot choose between settings or copies of the pipeline.
    """
    gold = _gold_labels(references)
    if not gold:
        raise WeltError(f"There is no entity in {data}. Use data with annotation")
    known = known_labels(nlp)
    unknown = sorted(gold - set(known))
    if known and unknown:
        raise WeltError(
            f"There is {', '.join(unknown)} in {data}, and the pipeline predicts only "
            f"{', '.join(known)}. Use data with these labels alone"
        )


def _gold_labels(references: Iterable[Doc]) -> set[str]:
    return {ent.label_ for doc in references for ent in doc.ents}
