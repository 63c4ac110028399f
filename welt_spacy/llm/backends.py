"""The interface of language models: requests in, completions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """A prompt with the limits of its response.

    prompt (str): The prompt, without the marks of a chat template.
    max_tokens (int): Maximum number of tokens of the response.
    grammar (str | None): The grammar of the response, in llguidance's variant of Lark; None
        for any text.
    closing_tokens (int): If there is a grammar: number of tokens that are reserved for
        closing the response. Nothing new is begun when no more are left.
    schema (dict[str, Any] | None): A JSON schema that accepts all responses of the grammar.
    """

    prompt: str
    max_tokens: int
    grammar: str | None = None
    closing_tokens: int = 0
    schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class Completion:
    """The response to a request.

    text (str): The text.
    tokens (list[tuple[int, float]] | None): For each token, the character offset in `text` at
        which it ends and its log-probability given the tokens before it; None if unknown.
    cut_off (bool): Whether the response reached the maximum number of tokens.
    error (str | None): The reason in one line if there is no response.
    """

    text: str
    tokens: list[tuple[int, float]] | None = None
    cut_off: bool = False
    error: str | None = None


class Backend(Protocol):
    """A language model, in this process or on a server. Register a function that returns one
    in `@misc` to use it in `generative_ner`.
    """

    # The extra of welt-spacy that it needs
    extra: str

    def __call__(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests."""
        ...

    def to_disk(self, path: Path) -> None:
        """Save what the config does not have, such as weights."""
        ...

    def from_disk(self, path: Path) -> None:
        """Load what `to_disk` saved."""
        ...
