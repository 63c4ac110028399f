"""`doc._.generated`: what language models have answered about a doc."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from spacy.tokens import Doc

NAME = "generated"


class Generated(NamedTuple):
    """What a language model has answered about a doc.

    texts (List[str]): Its answers, one for each part of the doc that was asked about.
    items (List[Tuple[str, str]]): The types and names in them.
    n_items (int): Them and those that are malformed.
    issues (Dict[str, int]): What was wrong: see `Answer` and `Located`; and "failed": so
        many parts have no answer.
    error (Optional[str]): Why the first of these has none.
    """

    texts: List[str]
    items: List[Tuple[str, str]]
    n_items: int
    issues: Dict[str, int]
    error: Optional[str] = None


def install_generated() -> None:
    """Make `doc._.generated` available: the name of a `generative_ner` -> a dict with
    the fields of `Generated`.
    """
    if not Doc.has_extension(NAME):
        Doc.set_extension(NAME, getter=_get)


def keep_generated(doc: Doc, component: str, generated: Generated) -> None:
    """Keep what a component was answered. It is saved with the doc's user data.

    doc (Doc): The doc.
    component (str): The name of the component.
    generated (Generated): The answers.
    """
    doc.user_data[_KEY] = {**_get(doc), component: generated._asdict()}


def generated_of(doc: Doc) -> Dict[str, Generated]:
    """Get what language models have answered about a doc.

    doc (Doc): The doc.
    RETURNS (Dict[str, Generated]): Name of the component -> answers.
    """
    return {name: Generated(**told) for name, told in _get(doc).items()}


# The form of spaCy's own keys
_KEY: Any = ("._.", NAME, None, None)


def _get(doc: Doc) -> Dict[str, Any]:
    return dict(doc.user_data.get(_KEY) or {})
