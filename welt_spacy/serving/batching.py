"""Texts of many clients in one batch of the pipeline."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import (
    Any,
    NamedTuple,
)

from spacy.language import Language

from ..annotation.annotator import BATCH_CHARS, BATCH_DOCS, Pipelines, named
from ..errors import WeltError, first_line
from ..formats.documents import AnnotatedDocument, Document, Entity, Reject
from ..pipeline.welt_ner import WeltNER

# Seconds that the first text of a batch waits for others while nothing else is going on
WAIT = 0.002


class Overloaded(Exception):
    """More texts wait than are allowed."""


class Dial(NamedTuple):
    """Settings of decoding for one request; None: as the pipeline has them.

    o_bias (float | None): Added to the log-odds of O.
    threshold (float | None): Entities with a lower confidence are dropped.
    """

    o_bias: float | None = None
    threshold: float | None = None


class _Waiting(NamedTuple):
    text: str
    dial: Dial
    result: "asyncio.Future[list[Entity] | str]"


class Batcher:
    """Gathers texts into batches for one pipeline, which one thread runs.

    nlp (Language): The pipeline.
    batch_docs (int): Texts in a batch at most.
    batch_chars (int): Characters in a batch at most, unless it is one text.
    max_queue (int): Texts that may wait.
    """

    def __init__(
        self,
        nlp: Language,
        *,
        batch_docs: int = BATCH_DOCS,
        batch_chars: int = BATCH_CHARS,
        max_queue: int = 1000,
    ) -> None:
        self.pipelines = Pipelines([named(nlp)], max_chars=nlp.max_length)
        self.name = self.pipelines.pipelines[0].name
        self.taggers = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, WeltNER)]
        self.batch_docs, self.batch_chars = batch_docs, batch_chars
        self.max_queue = max_queue
        self._waiting: deque[_Waiting] = deque()
        self._more = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "pipeline")
        self._task: asyncio.Task | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def __aenter__(self) -> "Batcher":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._thread.shutdown()

    async def annotate(
        self, texts: Sequence[str], dial: Dial = Dial()
    ) -> list[list[Entity] | str]:
        """Annotate texts, together with those of others.

        texts (Sequence[str]): The texts.
        dial (Dial): Settings of decoding.
        RETURNS (list[list[Entity] | str]): The entities of each text, or why the
            pipeline failed on it.
        RAISES (Overloaded): If too many texts wait already; none of these is taken.
        """
        if len(self._waiting) + len(texts) > self.max_queue:
            raise Overloaded
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(text, dial, loop.create_future()) for text in texts]
        self._waiting.extend(waiting)
        self._more.set()
        try:
            return [await one.result for one in waiting]
        finally:
            # Whoever has gone away is passed over
            for one in waiting:
                one.result.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            if len(self._waiting) < self.batch_docs:
                await asyncio.sleep(WAIT)
            batch = self._take()
            if not self._waiting:
                self._more.clear()
            if not batch:
                continue
            texts = [one.text for one in batch]
            try:
                found = await loop.run_in_executor(
                    self._thread, self._annotate, texts, batch[0].dial
                )
            except Exception as err:  # whatever a pipeline raises, the server lives on
                found = [f"{type(err).__name__}: {first_line(err)}"] * len(batch)
            for one, result in zip(batch, found):
                if not one.result.done():
                    one.result.set_result(result)

    def _take(self) -> list[_Waiting]:
        """The oldest texts, of those with the settings of the oldest one."""
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        n_chars = 0
        while self._waiting and len(batch) < self.batch_docs:
            one = self._waiting.popleft()
            if one.result.done():
                continue
            if batch and one.dial != batch[0].dial:
                others.append(one)
                continue
            if batch and n_chars + len(one.text) > self.batch_chars:
                others.append(one)
                break
            batch.append(one)
            n_chars += len(one.text)
        self._waiting.extendleft(reversed(others))
        return batch

    def _annotate(self, texts: list[str], dial: Dial) -> list[list[Entity] | str]:
        documents = [Document("", text) for text in texts]
        with self._turned(dial):
            try:
                found = list(map(_plain, self.pipelines.annotate(documents)))
            except WeltError as err:
                return [str(err)] * len(texts)
        return found

    @contextlib.contextmanager
    def _turned(self, dial: Dial) -> Iterator[None]:
        """Set the dial, and put it back."""
        wanted: dict[str, float] = {
            name: value for name, value in dial._asdict().items() if value is not None
        }
        before = [
            (pipe, name, getattr(pipe, name))
            for pipe in self.taggers
            for name in wanted
        ]
        try:
            for pipe, name, _ in before:
                setattr(pipe, name, wanted[name])
            yield
        finally:
            for pipe, name, value in before:
                setattr(pipe, name, value)


def _plain(found: AnnotatedDocument | Reject) -> list[Entity] | str:
    return found.message if isinstance(found, Reject) else found.entities
