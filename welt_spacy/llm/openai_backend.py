"""Language models behind an OpenAI-compatible API: vLLM, llama.cpp, TGI and others."""

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
    """A language model behind an OpenAI-compatible API. Registered as
    `welt_spacy.OpenAIBackend.v1` in `@misc`. The server is contacted on first use.

    The openai package retries timeouts, temporary errors (status 408, 409, 429, 5xx) and lost
    connections with increasing pauses. The key is read from the environment variable
    OPENAI_API_KEY; servers without keys need none.

    model (str): The name of the model on the server.
    base_url (str): The address, e.g. "http://localhost:8000/v1".
    concurrency (int): Maximum number of simultaneous requests.
    timeout (float): Timeout of an attempt in seconds.
    max_retries (int): Number of attempts after the first.
    guide (str): How the server restricts responses: "json_schema" (labels are restricted,
        names are not), "grammar" (names are copied from the text, too; vLLM with llguidance),
        "none".
    log_probs (bool): Whether to request log-probabilities, which confidences need.
    extra_body (dict[str, Any] | None): Additional fields of the request, e.g.
        {"chat_template_kwargs": {"enable_thinking": False}}.
    RAISES (WeltError): If a setting is out of its range.
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
        """The `openai.OpenAI`, created on first use in this process."""
        with self._lock:
            # A forked process can't share the connections of its parent
            if self._client is None or self._pid != os.getpid():
                self._pid = os.getpid()
                with extra_needed("An OpenAI-compatible server", EXTRA):
                    from openai import OpenAI
                self._client = OpenAI(
                    base_url=self.base_url,
                    # The package requires a key, most servers do not
                    api_key=os.environ.get("OPENAI_API_KEY") or "none",
                    timeout=self.timeout,
                    max_retries=self.max_retries,
                )
            return self._client

    def __call__(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests. See `Backend`."""
        client = self.client
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(
                pool.map(lambda request: self._complete(client, request), requests)
            )

    def to_disk(self, path: Path) -> None:
        """Save nothing, because the config has all settings.

        path (Path): The folder of the component.
        """

    def from_disk(self, path: Path) -> None:
        """Load nothing.

        path (Path): The folder of the component.
        """

    def _complete(self, client: Any, request: Request) -> Completion:
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
            response = client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": request.prompt}],
                max_tokens=request.max_tokens,
                temperature=0.0,
                extra_body=body or None,
                **settings,
            )
            return _make_completion(response)
        except openai.OpenAIError as err:
            return Completion("", error=f"{self.base_url}: {first_line(err)}")
        except Exception as err:
            # The package does not validate what a server returns
            reason = first_line(err)
            return Completion(
                "", error=f"{self.base_url}: not a chat completion: {reason}"
            )


def _make_completion(response: Any) -> Completion:
    choice = response.choices[0]
    text = choice.message.content or ""
    log_probs = getattr(choice, "logprobs", None)
    tokens = None
    if log_probs is not None and log_probs.content:
        data, tokens = b"", []
        for token in log_probs.content:
            content = token.bytes
            data += token.token.encode() if content is None else bytes(content)
            end = len(data.decode("utf8", errors="ignore"))
            tokens.append((end, float(token.logprob)))
    return Completion(text, tokens, cut_off=choice.finish_reason == "length")
