"""The HTTP interface: `POST /annotate`, `GET /health`, and a page to try it at `/`."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from spacy.language import Language

from ..about import __version__
from ..formats.documents import Entity
from ..util.html import render
from .batching import Batcher, DecodingOptions, Overloaded
from .examples import EXAMPLES

# Maximum bytes of a character in JSON, and of all that is not text
BYTES_PER_CHAR = 12
EXTRA_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Limits of requests.

    max_chars (int): Maximum number of characters of a text.
    max_texts (int): Maximum number of texts of a request.
    max_queue (int): Maximum number of waiting texts of all clients.
    timeout (float): Seconds until a request is cancelled.
    """

    max_chars: int = 100_000
    max_texts: int = 100
    max_queue: int = 1000
    timeout: float = 60.0

    @property
    def max_bytes(self) -> int:
        """Maximum bytes of a request, whose texts together may be as long as ten texts of
        the maximum length.
        """
        n = min(self.max_texts, 10) * self.max_chars
        return n * BYTES_PER_CHAR + EXTRA_BYTES


class AnnotateRequest(BaseModel):
    """One text or several."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(None, description="A text.")
    texts: list[str] | None = Field(None, description="Several texts.")
    o_bias: float | None = Field(
        None,
        ge=-20,
        le=20,
        allow_inf_nan=False,
        description="Above 0 for precision, below 0 for recall (only with welt_ner).",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Minimum confidence of an entity (only with welt_ner).",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "AnnotateRequest":
        if (self.text is None) == (self.texts is None):
            raise ValueError('give either "text" or "texts"')
        return self


class EntityModel(BaseModel):
    """An entity. Offsets count characters (Unicode code points), not bytes or UTF-16 units."""

    start: int
    end: int
    label: str
    text: str
    confidence: float | None


class DocumentModel(BaseModel):
    """The entities of a text."""

    entities: list[EntityModel]
    error: str | None = Field(None, description="Error of the pipeline on this text.")


class AnnotateResponse(BaseModel):
    """The documents, in the order of the texts."""

    pipeline: str
    documents: list[DocumentModel]


class Health(BaseModel):
    """The state of the server."""

    status: str
    pipeline: str
    waiting: int = Field(description="Number of texts in the queue.")
    accepted: int = Field(description="Number of accepted requests.")
    answered: int = Field(description="Number of answered requests.")


_ERRORS: dict[Any, dict[str, Any]] = {
    401: {"description": "The token is missing or wrong"},
    413: {"description": "A text, or the request, is too long"},
    503: {"description": "Too many texts wait: try again after Retry-After seconds"},
    504: {"description": "The request timed out"},
}


def make_app(
    nlp: Language, *, limits: Limits = Limits(), token: str | None = None
) -> FastAPI:
    """Make the application, for uvicorn or any other ASGI server. A process serves one
    pipeline.

    nlp (Language): The pipeline, which nothing else may use in this process.
    limits (Limits): Limits of requests.
    token (str | None): Token that clients must send as `Authorization: Bearer ...`; None for
        no token.
    RETURNS (FastAPI): The application.
    """
    service = _Service(nlp, limits, token)
    app = FastAPI(
        title="welt-spacy",
        version=__version__,
        description="Named entities of texts.",
        lifespan=service.run,
        docs_url=None,  # FastAPI's pages need a network
        redoc_url=None,
    )
    app.state.counts = service.counts
    app.post(
        "/annotate",
        response_model=AnnotateResponse,
        responses=_ERRORS,
        dependencies=[Depends(service.check_token)],
    )(service.annotate)
    app.get("/health", response_model=Health)(service.get_health)
    app.get("/", response_class=HTMLResponse, include_in_schema=False)(service.get_page)
    app.add_middleware(_BodyLimit, limits=limits, counts=service.counts)
    return app


class _Service:
    """The endpoints. What they refuse, they raise as `HTTPException`, which is the response."""

    def __init__(self, nlp: Language, limits: Limits, token: str | None) -> None:
        self.nlp, self.limits, self.token = nlp, limits, token
        self.counts = {"accepted": 0, "answered": 0}
        self.batcher: Batcher

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        async with Batcher(self.nlp, max_queue=self.limits.max_queue) as self.batcher:
            yield

    def check_token(self, request: Request) -> None:
        header = dict(request.scope["headers"]).get(b"authorization", b"")
        expected = f"Bearer {self.token}".encode()
        if self.token and not hmac.compare_digest(header, expected):
            raise HTTPException(
                401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"}
            )

    async def annotate(self, request: AnnotateRequest) -> JSONResponse:
        """Annotate one text or several."""
        texts = [request.text] if request.text is not None else request.texts or []
        options = DecodingOptions(request.o_bias, request.threshold)
        self._check(texts, options)
        batcher, limits = self.batcher, self.limits
        try:
            results = await asyncio.wait_for(
                batcher.annotate(texts, options), limits.timeout
            )
        except Overloaded:
            raise HTTPException(
                503, "too many texts wait: try again", {"Retry-After": "1"}
            ) from None
        except (asyncio.TimeoutError, TimeoutError):
            raise HTTPException(
                504, f"not done in {limits.timeout:g} seconds"
            ) from None
        documents = [
            {"entities": [], "error": result}
            if isinstance(result, str)
            else {"entities": list(map(_entity_to_dict, result)), "error": None}
            for result in results
        ]
        # As a response, because FastAPI would validate it once more
        return JSONResponse({"pipeline": batcher.name, "documents": documents})

    def _check(self, texts: Sequence[str], options: DecodingOptions) -> None:
        limits = self.limits
        if len(texts) > limits.max_texts:
            raise HTTPException(413, f"{len(texts)} texts: at most {limits.max_texts}")
        longest = max(map(len, texts), default=0)
        if longest > limits.max_chars:
            raise HTTPException(
                413, f"a text of {longest:,} characters: at most {limits.max_chars:,}"
            )
        if any(0xD800 <= ord(char) <= 0xDFFF for text in texts for char in text):
            raise HTTPException(422, "half of a character (a lone surrogate)")
        if options != DecodingOptions() and not self.batcher.components:
            raise HTTPException(
                422, "this pipeline has no welt_ner: leave out o_bias and threshold"
            )

    async def get_health(self) -> dict[str, Any]:
        """Return the state of the server."""
        return {
            "status": "ok",
            "pipeline": self.batcher.name,
            "waiting": len(self.batcher),
            **self.counts,
        }

    async def get_page(self) -> HTMLResponse:
        labels = {label for _, pipe in self.nlp.pipeline for label in _get_labels(pipe)}
        component = next(iter(self.batcher.components), None)
        return HTMLResponse(
            render(
                "serve.html.jinja",
                title=self.batcher.name,
                labels=sorted(labels),
                component=component,
                examples=EXAMPLES,
                max_chars=self.limits.max_chars,
                needs_token=bool(self.token),
            )
        )


class _BodyLimit:
    """Middleware that counts requests and refuses long ones before they are read whole."""

    def __init__(self, app: Any, limits: Limits, counts: dict[str, int]) -> None:
        self.app, self.limits, self.counts = app, limits, counts

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http" or scope["path"] != "/annotate":
            await self.app(scope, receive, send)
            return
        self.counts["accepted"] += 1
        try:
            body = await self._read_body(scope, receive)
            if body is None:
                detail = f"the request has more than {self.limits.max_bytes:,} bytes"
                response = JSONResponse(
                    {"detail": detail}, 413, {"Connection": "close"}
                )
                await response(scope, receive, send)  # type: ignore[arg-type]
                return
            await self.app(scope, _replay(body, receive), send)
        finally:
            self.counts["answered"] += 1

    async def _read_body(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]]
    ) -> bytes | None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.limits.max_bytes:
            return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.limits.max_bytes:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _replay(
    body: bytes, receive: Callable[[], Awaitable[Any]]
) -> Callable[[], Awaitable[Any]]:
    is_first = True

    async def next_message() -> Any:
        nonlocal is_first
        if not is_first:
            return await receive()
        is_first = False
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def _entity_to_dict(ent: Entity) -> dict[str, Any]:
    return {key: value for key, value in ent._asdict().items() if key != "pipeline"}


def _get_labels(pipe: Any) -> list[str]:
    labels = getattr(pipe, "labels", ())
    return [str(label) for label in labels] if isinstance(labels, (list, tuple)) else []
