"""What a language model is to the component: requests in, completions out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Request(NamedTuple):
    """A question to a language model.

    prompt (str): The words, without the marks of a chat template.
    max_tokens (int): The most tokens of the answer.
    grammar (str | None): What the answer may be, in llguidance's variant of Lark; None:
        anything.
    closing (int): With a grammar: when so many tokens are left, nothing new is begun, so
        that the answer ends as it should.
    schema (dict[str, Any] | None): The same as the grammar, looser, as a JSON schema.
    """

    prompt: str
    max_tokens: int
    grammar: str | None = None
    closing: int = 0
    schema: dict[str, Any] | None = None


class Completion(NamedTuple):
    """An answer.

    text (str): The words.
    tokens (list[tuple[int, float]] | None): For each token, the character of `text`
        behind it and its log-probability, given all before it; None if not known.
    cut_off (bool): Whether the tokens were not enough.
    error (str | None): Why there is no answer, in one line.
    """

    text: str
    tokens: list[tuple[int, float]] | None = None
    cut_off: bool = False
    error: str | None = None


class Backend(Protocol):
    """A language model, in this process or elsewhere."""

    # The extra of welt-spacy that it needs
    extra: str

    def __call__(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer. A request that fails has its error in its completion.

        requests (Sequence[Request]): The requests.
        RETURNS (list[Completion]): Their answers, in the same order.
        RAISES (WeltError): If nothing can be answered at all, e.g. there is no such model.
        """
        ...

    def to_disk(self, path: Path) -> None:
        """Save what the config does not say, such as weights.

        path (Path): The folder of the component.
        """
        ...

    def from_disk(self, path: Path) -> None:
        """Load what `to_disk` has saved.

        path (Path): The folder of the component.
        RAISES (WeltError): If it can't be loaded.
        """
        ...
