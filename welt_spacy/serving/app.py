"""The HTTP interface: `POST /annotate`, `GET /health`, and a page to try it at `/`."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import (
    Any,
    NamedTuple,
)

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from spacy.language import Language

from ..about import __version__
from ..util.html import render
from .batching import Batcher, Dial, Overloaded
from .examples import EXAMPLES

# Bytes of a character in JSON at most, and of what is around the texts
BYTES_PER_CHAR = 12
EXTRA_BYTES = 1 << 16


class Limits(NamedTuple):
    """What a server takes.

    max_chars (int): Characters of a text.
    max_texts (int): Texts of a request.
    max_queue (int): Texts that wait, of all clients.
    timeout (float): Seconds until a request is given up.
    """

    max_chars: int = 100_000
    max_texts: int = 100
    max_queue: int = 1000
    timeout: float = 60.0

    @property
    def max_bytes(self) -> int:
        """RETURNS (int): Bytes of a request: all texts of a request together may be as long
        as ten of the longest.
        """
        n = min(self.max_texts, 10) * self.max_chars
        return n * BYTES_PER_CHAR + EXTRA_BYTES


class AnnotateRequest(BaseModel):
    """One text or many."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(None, description="A text.")
    texts: list[str] | None = Field(None, description="Or several.")
    o_bias: float | None = Field(
        None,
        ge=-20,
        le=20,
        allow_inf_nan=False,
        description="Above 0 for precision, below 0 for recall (welt_ner alone).",
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Entities with a lower confidence are dropped (welt_ner alone).",
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


class Document(BaseModel):
    """The entities of a text."""

    entities: list[EntityModel]
    error: str | None = Field(None, description="Why the pipeline failed on this text.")


class AnnotateResponse(BaseModel):
    """The documents, in the order of the texts."""

    pipeline: str
    documents: list[Document]


class Health(BaseModel):
    """That the server answers."""

    status: str
    pipeline: str
    waiting: int = Field(description="Texts in the queue.")
    accepted: int = Field(description="Requests that were taken so far.")
    answered: int = Field(description="Requests that were answered so far.")


_ERRORS: dict[Any, dict[str, Any]] = {
    401: {"description": "The token is missing or wrong"},
    413: {"description": "A text, or the request, is too long"},
    503: {
        "description": "Too many texts wait; try again after the seconds of Retry-After"
    },
    504: {"description": "It took too long"},
}


def make_app(
    nlp: Language, *, limits: Limits = Limits(), token: str | None = None
) -> FastAPI:
    """Make the application. One process serves one pipeline.

    nlp (Language): The pipeline, which nothing else may use in this process.
    limits (Limits): What it takes.
    token (str | None): What clients must send as `Authorization: Bearer ...`; None: nothing.
    RETURNS (FastAPI): The application, for uvicorn or any other ASGI server. What it refuses,
        it RAISES as `HTTPException`, which is the answer.
    """
    batcher: list[Batcher] = []
    counts = {"accepted": 0, "answered": 0}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Batcher(nlp, max_queue=limits.max_queue) as running:
            batcher.append(running)
            yield

    app = FastAPI(
        title="welt-spacy",
        version=__version__,
        description="Named entities of texts.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's page needs a network
        redoc_url=None,
    )
    app.state.counts = counts

    def check_token(request: Request) -> None:
        told = dict(request.scope["headers"]).get(b"authorization", b"")
        if token and not hmac.compare_digest(told, f"Bearer {token}".encode()):
            raise HTTPException(
                401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"}
            )

    @app.post(
        "/annotate",
        response_model=AnnotateResponse,
        responses=_ERRORS,
        dependencies=[Depends(check_token)],
    )
    async def annotate(asked: AnnotateRequest) -> JSONResponse:
        """Find the entities of one text or many."""
        texts = [asked.text] if asked.text is not None else asked.texts or []
        if len(texts) > limits.max_texts:
            raise HTTPException(413, f"{len(texts)} texts: at most {limits.max_texts}")
        longest = max(map(len, texts), default=0)
        if longest > limits.max_chars:
            raise HTTPException(
                413, f"a text of {longest:,} characters: at most {limits.max_chars:,}"
            )
        if any(0xD800 <= ord(char) <= 0xDFFF for text in texts for char in text):
            raise HTTPException(422, "half of a character (a lone surrogate)")
        running = batcher[0]
        dial = Dial(asked.o_bias, asked.threshold)
        if dial != Dial() and not running.taggers:
            raise HTTPException(
                422, "this pipeline has no welt_ner: leave out o_bias and threshold"
            )
        try:
            found = await asyncio.wait_for(
                running.annotate(texts, dial), limits.timeout
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
            {"entities": [], "error": one}
            if isinstance(one, str)
            else {"entities": [_entity(ent) for ent in one], "error": None}
            for one in found
        ]
        # Made by us, so it is not checked once more
        return JSONResponse({"pipeline": running.name, "documents": documents})

    @app.get("/health", response_model=Health)
    async def health() -> dict[str, Any]:
        """Tell that the server answers."""
        running = batcher[0]
        return {
            "status": "ok",
            "pipeline": running.name,
            "waiting": len(running),
            **counts,
        }

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        running = batcher[0]
        tagger = running.taggers[0] if running.taggers else None
        labels = sorted({label for _, pipe in nlp.pipeline for label in _labels(pipe)})
        return HTMLResponse(
            render(
                "serve.html.jinja",
                title=running.name,
                labels=labels,
                dial=tagger
                and {"o_bias": tagger.o_bias, "threshold": tagger.threshold},
                examples=EXAMPLES,
                max_chars=limits.max_chars,
                needs_token=bool(token),
            )
        )

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(
            render("openapi.html.jinja", schema=app.openapi(), limits=limits._asdict())
        )

    app.add_middleware(_Outermost, limits=limits, counts=counts)
    return app


class _Outermost:
    """Counts requests, and ends those that are too long before they are read whole."""

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
            body = await self._body(scope, receive)
            if body is None:
                told = f"the request has more than {self.limits.max_bytes:,} bytes"
                response = JSONResponse({"detail": told}, 413, {"Connection": "close"})
                await response(scope, receive, send)  # type: ignore[arg-type]
                return
            await self.app(scope, _replay(body, receive), send)
        finally:
            self.counts["answered"] += 1

    async def _body(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]]
    ) -> bytes | None:
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if told.isdigit() and int(told) > self.limits.max_bytes:
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
    given = False

    async def next_message() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def _entity(ent: Any) -> dict[str, Any]:
    found = ent._asdict()
    del found["pipeline"]
    return found


def _labels(pipe: Any) -> list[str]:
    labels = getattr(pipe, "labels", ())
    return [str(label) for label in labels] if isinstance(labels, (list, tuple)) else []
