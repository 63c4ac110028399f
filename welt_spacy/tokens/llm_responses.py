"""`doc._.llm_responses`: the responses of language models about a document."""

from typing import Any, NamedTuple

from spacy.tokens import Doc

NAME = "llm_responses"
# The form of spaCy's own keys
LLM_RESPONSES: Any = ("._.", NAME, None, None)


class LLMResponses(NamedTuple):
    """The responses of one language model about a document.

    texts (list[str]): The responses, one for each part of the document.
    items (list[tuple[str, str]]): Type and name of each well-formed item.
    n_items (int): Number of items, malformed ones included.
    issues (dict[str, int]): Number of problems by kind: see `ParsedResponse` and
        `AlignedEntities`; and
        "failed", the number of parts without a response.
    error (str | None): The error of the first part without a response.
    """

    texts: list[str]
    items: list[tuple[str, str]]
    n_items: int
    issues: dict[str, int]
    error: str | None = None


def install_llm_extensions() -> None:
    """Register `doc._.llm_responses`: the name of each `generative_ner` -> a dict with the
    fields of `LLMResponses`.
    """
    if not Doc.has_extension(NAME):
        Doc.set_extension(NAME, getter=_get)


def add_llm_responses(doc: Doc, component: str, responses: LLMResponses) -> None:
    """Store the responses that a component received about a document."""
    doc.user_data[LLM_RESPONSES] = {**_get(doc), component: responses._asdict()}


def get_llm_responses(doc: Doc) -> dict[str, LLMResponses]:
    """Return the responses about a document by component name."""
    return {name: LLMResponses(**fields) for name, fields in _get(doc).items()}


def _get(doc: Doc) -> dict[str, Any]:
    return dict(doc.user_data.get(LLM_RESPONSES) or {})
