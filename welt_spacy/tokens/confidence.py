"""`span._.confidence`: the probability of a predicted entity."""

from typing import Any, NamedTuple

from spacy.tokens import Doc, Span

NAME = "confidence"


class Prediction(NamedTuple):
    """Value in `doc.user_data` for a predicted entity, stored under its characters.

    label (str): Its label; a span of the same characters with another label was not
        predicted.
    confidence (float | None): Its probability; None if it is not known.
    component (str): The name of the component that predicted it.
    """

    label: str
    confidence: float | None
    component: str


def install_extensions() -> None:
    """Register `span._.confidence`: the probability in [0, 1] of a predicted entity, and
    None for other spans, including spans of another label.
    """
    if not Span.has_extension(NAME):
        Span.set_extension(NAME, getter=_get, setter=_set)


def get_confidence(span: Span) -> float | None:
    """Return the confidence of a span, or None. Works without the extension, which exists
    only after a component was created in this process.
    """
    value: Any = span._.get(NAME) if Span.has_extension(NAME) else _get(span)
    # Another package may have registered an extension of this name for something else
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    return None


def set_confidence(span: Span, confidence: float | None, component: str) -> None:
    """Store the confidence of a predicted entity and the component that predicted it."""
    span.doc.user_data[_key(span)] = (span.label_, confidence, component)


def get_predicted_by(doc: Doc, component: str) -> set[tuple[int, int, str]]:
    """Return the first character, the character after the last, and the label of each
    entity that a component predicted.
    """
    entities: set[tuple[int, int, str]] = set()
    key: Any
    for key, value in doc.user_data.items():
        if (
            isinstance(key, tuple)
            and key[:2] == ("._.", NAME)
            and _is_prediction(value)
        ):
            label, _, name = value
            if name == component:
                entities.add((key[2], key[3], label))
    return entities


def _key(span: Span) -> Any:
    # The form of spaCy's own keys, which `Span.as_doc` and `Doc.from_docs` shift
    return ("._.", NAME, span.start_char, span.end_char)


def _is_prediction(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == len(Prediction._fields)


def _get(span: Span) -> float | None:
    value: Any = span.doc.user_data.get(_key(span))
    if _is_prediction(value):
        label, confidence, _ = value
        return confidence if label == span.label_ else None
    return value


def _set(span: Span, value: float | None) -> None:
    span.doc.user_data[_key(span)] = value
