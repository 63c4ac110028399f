"""`span._.confidence`: the probability of a predicted entity."""

from typing import Any, NamedTuple, Optional, Set, Tuple

from spacy.tokens import Doc, Span

NAME = "confidence"


class Mark(NamedTuple):
    """What is kept in `doc.user_data` of a predicted entity, by its characters.

    label (str): Its label: a span of the same characters with another label was not
        predicted.
    confidence (Optional[float]): Its probability; None if it is not known.
    component (str): The name of the component that predicted it.
    """

    label: str
    confidence: Optional[float]
    component: str


def install_extensions() -> None:
    """Make `span._.confidence` available: the probability in [0, 1] of an entity that
    `welt_ner` predicted, or None for other spans, spans of another label included.
    """
    if not Span.has_extension(NAME):
        Span.set_extension(NAME, getter=_get, setter=_set)


def confidence_of(span: Span) -> Optional[float]:
    """Get the confidence of a span, whether or not a `welt_ner` was ever made in this
    process.

    span (Span): The span, of any pipeline.
    RETURNS (Optional[float]): The confidence; None if it has none.
    """
    value: Any = span._.get(NAME) if Span.has_extension(NAME) else _get(span)
    # Another package may have an extension of this name, for something else
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    return None


def mark(span: Span, confidence: Optional[float], component: str) -> None:
    """Keep the confidence of a predicted entity.

    span (Span): The entity.
    confidence (Optional[float]): Its probability; None if it is not known.
    component (str): The name of the component.
    """
    span.doc.user_data[_key(span)] = tuple(Mark(span.label_, confidence, component))


def marked_by(doc: Doc, component: str) -> Set[Tuple[int, int, str]]:
    """Find what a component predicted earlier.

    doc (Doc): The doc.
    component (str): The name of the component.
    RETURNS (Set[Tuple[int, int, str]]): First character, character after the last and
        label of each entity.
    """
    found: Set[Tuple[int, int, str]] = set()
    key: Any
    for key, value in doc.user_data.items():
        if isinstance(key, tuple) and key[:2] == ("._.", NAME) and _is_mark(value):
            label, _, name = value
            if name == component:
                found.add((key[2], key[3], label))
    return found


def _key(span: Span) -> Any:
    # The form of spaCy's own keys, which `Span.as_doc` and `Doc.from_docs` move along
    return ("._.", NAME, span.start_char, span.end_char)


def _is_mark(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == len(Mark._fields)


def _get(span: Span) -> Optional[float]:
    value: Any = span.doc.user_data.get(_key(span))
    if _is_mark(value):
        label, confidence, _ = value
        return confidence if label == span.label_ else None
    return value


def _set(span: Span, value: Optional[float]) -> None:
    span.doc.user_data[_key(span)] = value


__all__ = ["Mark", "confidence_of", "install_extensions", "mark", "marked_by"]
