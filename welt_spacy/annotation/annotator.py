"""Annotate texts in batches, with memory that does not grow with the number of texts."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import get_current_ops

from ..errors import WeltError, first_line
from ..formats.documents import AnnotatedDocument, Document, Entity, Item, Reject
from ..tokens.confidence import get_confidence
from ..util.pipelines import load_pipeline

# Documents and characters of a memory zone
ZONE_DOCS = 500
ZONE_CHARS = 5_000_000
# Documents and characters of a batch. Abstracts are annotated a third faster in batches of
# 64 than of 500, in less than half of the memory; GPUs need larger batches.
BATCH_DOCS = 64
BATCH_CHARS = 200_000
GPU_FACTOR = 8
# Documents before the first memory zone, which fill the tokenizer's cache of words: it can't
# grow in a zone, and an empty one costs more than half of the tokenizer's speed
WARM_DOCS = 2000
DECIMALS = 4
# If this many texts fail and no other succeeds, the pipeline is at fault, not the texts
MIN_FAILURES = 20

ValueT = TypeVar("ValueT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Pipeline:
    """A loaded pipeline and the name that its entities get, "en_welt_bc5cdr-0.1.0"."""

    name: str
    nlp: Language


def name_pipeline(nlp: Language) -> Pipeline:
    """Name a pipeline by its language, name and version."""
    meta = nlp.meta
    name = f"{meta.get('lang', '')}_{meta.get('name', 'pipeline')}"
    return Pipeline(f"{name}-{meta.get('version', '')}", nlp)


def get_entities(doc: Doc, pipeline: str) -> list[Entity]:
    """Return the entities of a doc as plain data."""
    entities = []
    for ent in doc.ents:
        confidence = get_confidence(ent)
        if confidence is not None:
            confidence = round(float(confidence), DECIMALS)
        offsets = ent.start_char, ent.end_char
        entities.append(Entity(*offsets, ent.label_, ent.text, confidence, pipeline))
    return entities


class Pipelines:
    """Pipelines that annotate the same texts. Not thread-safe: memory zones belong to a
    pipeline, not to a thread.

    pipelines (Sequence[Pipeline]): The pipelines.
    max_chars (int): Length of the longest text.
    raise_errors (bool): Whether an error of a pipeline is raised, not made a reject.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        max_chars: int = 0,
        raise_errors: bool = False,
    ) -> None:
        self.pipelines = list(pipelines)
        self.raise_errors = raise_errors
        self._n_docs = 0
        for pipeline in self.pipelines:
            pipeline.nlp.max_length = max(pipeline.nlp.max_length, max_chars)

    def annotate(
        self,
        items: Iterable[Item],
        convert: Callable[[AnnotatedDocument], ResultT],
        *,
        zone_docs: int = ZONE_DOCS,
    ) -> Iterator[ResultT | Reject]:
        """Annotate documents."""
        for zone in _cut(items, _count_chars, zone_docs, ZONE_CHARS):
            with contextlib.ExitStack() as stack:
                if self._n_docs >= WARM_DOCS:
                    for pipeline in self.pipelines:
                        stack.enter_context(pipeline.nlp.memory_zone())
                self._n_docs += len(zone)
                results = [
                    item if isinstance(item, Reject) else convert(item)
                    for item in self._annotate_zone(zone)
                ]
            # After the zone, because the caller may never ask for the rest
            yield from results

    def _annotate_zone(
        self, items: Sequence[Item]
    ) -> Iterator[AnnotatedDocument | Reject]:
        documents = [item for item in items if isinstance(item, Document)]
        docs = zip(*(self._run(pipeline, documents) for pipeline in self.pipelines))
        for item in items:
            yield item if isinstance(item, Reject) else self._combine(item, next(docs))

    def _combine(
        self, document: Document, docs: Sequence[Doc | Reject]
    ) -> AnnotatedDocument | Reject:
        entities: list[Entity] = []
        for pipeline, doc in zip(self.pipelines, docs):
            if isinstance(doc, Reject):
                return doc
            entities.extend(get_entities(doc, pipeline.name))
        if len(docs) > 1:
            entities.sort(key=lambda ent: (ent.start, ent.end))
        doc = docs[0]
        assert isinstance(doc, Doc)
        return AnnotatedDocument(document, entities, len(doc), doc)

    def _run(
        self, pipeline: Pipeline, documents: Sequence[Document]
    ) -> list[Doc | Reject]:
        try:
            return list(_pipe(pipeline.nlp, [document.text for document in documents]))
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception:
            if self.raise_errors:
                raise
        # Retry one document at a time, so that only failing documents are rejected
        docs = [_run_one(pipeline, document) for document in documents]
        rejects = [doc for doc in docs if isinstance(doc, Reject)]
        if len(docs) >= MIN_FAILURES and len(rejects) == len(docs):
            raise WeltError(f"the pipeline fails on every text: {rejects[0].message}")
        return docs


def _run_one(pipeline: Pipeline, document: Document) -> Doc | Reject:
    try:
        return pipeline.nlp(document.text)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as err:
        message = f"{pipeline.name}: {type(err).__name__}: {first_line(err)}"
        return Reject(document.id, "pipeline failed", message)


def _pipe(nlp: Language, texts: Iterable[str]) -> Iterator[Doc]:
    factor = GPU_FACTOR if get_current_ops().device_type == "gpu" else 1
    for batch in _cut(texts, len, factor * BATCH_DOCS, factor * BATCH_CHARS):
        yield from nlp.pipe(batch, batch_size=len(batch))


def _cut(
    values: Iterable[ValueT],
    count_chars: Callable[[ValueT], int],
    max_values: int,
    max_chars: int,
) -> Iterator[list[ValueT]]:
    """Cut values into lists. A single value may have more than `max_chars`."""
    batch: list[ValueT] = []
    total = 0
    for value in values:
        n_chars = count_chars(value)
        if batch and (len(batch) == max_values or total + n_chars > max_chars):
            yield batch
            batch, total = [], 0
        batch.append(value)
        total += n_chars
    if batch:
        yield batch


def _count_chars(item: Item) -> int:
    return len(item.text) if isinstance(item, Document) else 0


def annotate(
    nlp: Language, texts: Iterable[str], *, ahead: int = ZONE_DOCS
) -> Iterator[list[Entity]]:
    """Annotate texts and return their entities as plain data, in notebooks and scripts.

    Memory does not grow with the number of texts, which may be an endless stream. No other
    thread may use the pipeline until the stream ends or is closed.

    nlp (Language): Any pipeline that sets `doc.ents`.
    texts (Iterable[str]): The texts.
    ahead (int): Maximum number of texts that are read ahead.
    YIELDS (list[Entity]): The entities of each text, in its order: start, end, label, text,
        confidence and pipeline.
    RAISES (Exception): Any error of the pipeline.
    """
    pipelines = Pipelines([name_pipeline(nlp)], raise_errors=True)
    documents = (Document("", text) for text in texts)
    entities: Iterator[Any] = pipelines.annotate(
        documents, lambda document: document.entities, zone_docs=max(1, ahead)
    )
    yield from entities


class Annotator:
    """A callable class for batches of columns, as `map_batches` of Ray Data takes them.

        dataset.map_batches(
            Annotator, fn_constructor_args=["en_welt_bc5cdr"], concurrency=4
        )

    model (str): The pipeline: its name if it is installed, or its folder.
    text (str): Name of the column with the texts.
    output (str): Name of the new column: a list of entities for each text, as dicts.
    gpu_id (int): The GPU; -1 for the CPU.
    """

    def __init__(
        self,
        model: str,
        *,
        text: str = "text",
        output: str = "entities",
        gpu_id: int = -1,
    ) -> None:
        pipeline = name_pipeline(load_pipeline(Path(model), gpu_id=gpu_id))
        self.pipelines = Pipelines([pipeline])
        self.text, self.output = text, output

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Annotate a batch."""
        if self.text not in batch:
            raise WeltError(
                f"there is no column {self.text!r}: there are {', '.join(batch)}"
            )
        documents = [Document("", str(text)) for text in batch[self.text]]
        rows = self.pipelines.annotate(
            documents, lambda document: [ent._asdict() for ent in document.entities]
        )
        column = [None if isinstance(row, Reject) else row for row in rows]
        return {**batch, self.output: column}
