"""Batches of texts from many clients."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from spacy.language import Language

from ..annotation.annotator import (
    BATCH_CHARS,
    BATCH_DOCS,
    Pipelines,
    name_pipeline,
)
from ..errors import WeltError, first_line
from ..formats.documents import Document, Entity, Reject
from ..pipeline.welt_ner import WeltNER

# Seconds that the first text of a batch waits for others while the pipeline is idle
WAIT = 0.002


class Overloaded(Exception):
    """More texts wait than are allowed."""


@dataclass(frozen=True)
class DecodingOptions:
    """Decoding settings of a request; None for those of the pipeline.

    o_bias (float | None): Added to the log-odds of O.
    threshold (float | None): Entities with a lower confidence are dropped.
    """

    o_bias: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class _Task:
    text: str
    options: DecodingOptions
    result: "asyncio.Future[list[Entity] | str]"


class Batcher:
    """Collects texts into batches for one pipeline, which runs in one thread.

    nlp (Language): The pipeline.
    batch_docs (int): Maximum number of texts in a batch.
    batch_chars (int): Maximum number of characters in a batch of several texts.
    max_queue (int): Maximum number of waiting texts.
    """

    def __init__(
        self,
        nlp: Language,
        *,
        batch_docs: int = BATCH_DOCS,
        batch_chars: int = BATCH_CHARS,
        max_queue: int = 1000,
    ) -> None:
        pipeline = name_pipeline(nlp)
        self.name = pipeline.name
        self.components = [
            pipe for _, pipe in nlp.pipeline if isinstance(pipe, WeltNER)
        ]
        self.batch_docs, self.batch_chars = batch_docs, batch_chars
        self.max_queue = max_queue
        self._pipelines = Pipelines([pipeline], max_chars=nlp.max_length)
        self._queue: deque[_Task] = deque()
        self._has_tasks = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "pipeline")
        self._loop: asyncio.Task | None = None

    def __len__(self) -> int:
        return len(self._queue)

    async def __aenter__(self) -> "Batcher":
        self._loop = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._loop is not None
        self._loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        self._thread.shutdown()

    async def annotate(
        self, texts: Sequence[str], options: DecodingOptions = DecodingOptions()
    ) -> list[list[Entity] | str]:
        """Annotate texts, in batches with those of other clients."""
        if len(self._queue) + len(texts) > self.max_queue:
            raise Overloaded
        loop = asyncio.get_running_loop()
        tasks = [_Task(text, options, loop.create_future()) for text in texts]
        self._queue.extend(tasks)
        self._has_tasks.set()
        try:
            return [await task.result for task in tasks]
        finally:
            # Texts of a client that has left are skipped
            for task in tasks:
                task.result.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._has_tasks.wait()
            if len(self._queue) < self.batch_docs:
                await asyncio.sleep(WAIT)
            batch = self._take_batch()
            if not self._queue:
                self._has_tasks.clear()
            if not batch:
                continue
            texts = [task.text for task in batch]
            results: Sequence[list[Entity] | str]
            try:
                results = await loop.run_in_executor(
                    self._thread, self._annotate, texts, batch[0].options
                )
            except Exception as err:  # the server survives any error of a pipeline
                results = [f"{type(err).__name__}: {first_line(err)}"] * len(batch)
            for task, result in zip(batch, results):
                if not task.result.done():
                    task.result.set_result(result)

    def _take_batch(self) -> list[_Task]:
        """Take the oldest texts that have the options of the oldest one."""
        batch: list[_Task] = []
        others: list[_Task] = []
        n_chars = 0
        while self._queue and len(batch) < self.batch_docs:
            task = self._queue.popleft()
            if task.result.done():
                continue
            if batch and task.options != batch[0].options:
                others.append(task)
                continue
            if batch and n_chars + len(task.text) > self.batch_chars:
                others.append(task)
                break
            batch.append(task)
            n_chars += len(task.text)
        self._queue.extendleft(reversed(others))
        return batch

    def _annotate(
        self, texts: list[str], options: DecodingOptions
    ) -> list[list[Entity] | str]:
        documents = [Document("", text) for text in texts]
        with self._with_options(options):
            try:
                results = self._pipelines.annotate(documents, lambda doc: doc.entities)
                return [r.message if isinstance(r, Reject) else r for r in results]
            except WeltError as err:
                return [str(err)] * len(texts)

    @contextlib.contextmanager
    def _with_options(self, options: DecodingOptions) -> Iterator[None]:
        """Set the options in all components, and restore their settings."""
        values = {k: v for k, v in asdict(options).items() if v is not None}
        saved = [
            (component, {name: getattr(component, name) for name in values})
            for component in self.components
        ]
        try:
            for component, _ in saved:
                _set_all(component, values)
            yield
        finally:
            for component, before in saved:
                _set_all(component, before)


def _set_all(component: WeltNER, values: dict[str, float]) -> None:
    for name, value in values.items():
        setattr(component, name, value)
