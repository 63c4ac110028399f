"""Language models behind an OpenAI-compatible address: vLLM, llama.cpp, TGI and others."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from ..errors import WeltError, check_number, extra_needed, first_line
from .backends import Completion, Request

EXTRA = "openai"
GUIDES = ("json_schema", "grammar", "none")


class OpenAIBackend:
    """A language model behind an OpenAI-compatible address. Registered as
    `welt_spacy.OpenAIBackend.v1` in `@misc`. Nothing is asked of the server before it is
    needed.

    Timeouts, answers that the server refuses for now (408, 409, 429, 5xx) and lost connections
    are tried again with growing pauses, by the openai package.

    model (str): The name of the model there.
    base_url (str): The address, e.g. "http://localhost:8000/v1".
    concurrency (int): The most requests at once.
    timeout (float): Seconds until an attempt is given up.
    max_retries (int): Attempts after the first.
    guide (str): How a server is told what an answer may be: "json_schema" (the labels
        hold, names may be any strings), "grammar" (names are copied as well: vLLM with
        llguidance), "none".
    log_probs (bool): Whether to ask for log-probabilities, for confidences.
    extra_body (dict[str, Any] | None): What else to send, e.g.
        {"chat_template_kwargs": {"enable_thinking": False}}.
    RAISES (WeltError): If a setting is out of its range.

    The key is taken from the environment, OPENAI_API_KEY; servers without keys need none.
    """

    extra = EXTRA

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        concurrency: int = 8,
        timeout: float = 120.0,
        max_retries: int = 3,
        guide: Literal["json_schema", "grammar", "none"] = "json_schema",
        log_probs: bool = True,
        extra_body: dict[str, Any] | None = None,
    ):
        check_number("concurrency", concurrency, low=1)
        check_number("timeout", timeout, above=0)
        check_number("max_retries", max_retries, low=0)
        if guide not in GUIDES:
            raise WeltError(f"guide is {guide!r}: use one of {', '.join(GUIDES)}")
        self.model = model
        self.base_url = base_url
        self.concurrency = concurrency
        self.timeout = timeout
        self.max_retries = max_retries
        self.guide = guide
        self.log_probs = log_probs
        self.extra_body = dict(extra_body or {})
        self._client: Any = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Neither connections nor locks can be pickled or copied
        return {**self.__dict__, "_client": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """RETURNS (openai.OpenAI): The client, which is made when it is first needed."""
        with self._lock:
            # Connections belong to a process, and it may have been forked
            if self._client is None or self._pid != os.getpid():
                self._pid = os.getpid()
                with extra_needed("An OpenAI-compatible server", EXTRA):
                    from openai import OpenAI
                self._client = OpenAI(
                    base_url=self.base_url,
                    # The package insists on one, most servers do not
                    api_key=os.environ.get("OPENAI_API_KEY") or "none",
                    timeout=self.timeout,
                    max_retries=self.max_retries,
                )
            return self._client

    def __call__(self, requests: Sequence[Request]) -> list[Completion]:
        """Answer. See `Backend`."""
        client = self.client
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(lambda request: self._ask(client, request), requests))

    def to_disk(self, path: Path) -> None:
        """Save nothing: the config says all.

        path (Path): The folder of the component.
        """

    def from_disk(self, path: Path) -> None:
        """Load nothing.

        path (Path): The folder of the component.
        """

    def _ask(self, client: Any, request: Request) -> Completion:
        import openai

        body = dict(self.extra_body)
        settings: dict[str, Any] = {}
        if request.schema is not None and self.guide == "json_schema":
            settings["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "entities", "schema": request.schema},
            }
        elif request.grammar is not None and self.guide == "grammar":
            body["structured_outputs"] = {"grammar": request.grammar}
        if self.log_probs:
            settings["logprobs"] = True
        try:
            told = client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": request.prompt}],
                max_tokens=request.max_tokens,
                temperature=0.0,
                extra_body=body or None,
                **settings,
            )
            return _completion(told)
        except openai.OpenAIError as err:
            return Completion("", error=f"{self.base_url}: {first_line(err)}")
        except Exception as err:
            # A server may answer anything, and the package checks nothing of it
            reason = first_line(err)
            return Completion(
                "", error=f"{self.base_url}: the answer is not that of a chat: {reason}"
            )


def _completion(told: Any) -> Completion:
    choice = told.choices[0]
    text = choice.message.content or ""
    log_probs = getattr(choice, "logprobs", None)
    tokens = None
    if log_probs is not None and log_probs.content:
        data, tokens = b"", []
        for token in log_probs.content:
            piece = token.bytes
            data += token.token.encode() if piece is None else bytes(piece)
            end = len(data.decode("utf8", errors="ignore"))
            tokens.append((end, float(token.logprob)))
    return Completion(text, tokens, cut_off=choice.finish_reason == "length")
