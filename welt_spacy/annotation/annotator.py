"""Texts to entities as plain data, with memory that does not grow with the texts."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import (
    Any,
    NamedTuple,
    TypeVar,
)

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import get_current_ops

from ..errors import WeltError, first_line
from ..formats.documents import AnnotatedDocument, Document, Entity, Item, Reject
from ..tokens.confidence import get_confidence
from ..util.pipelines import load_pipeline

# Docs, and characters, that are annotated before their strings are given back
ZONE_DOCS = 500
ZONE_CHARS = 5_000_000
# Docs and characters of a batch. Abstracts are annotated a third faster in batches of 64
# than of 500, in less than half of the memory; GPUs want more.
BATCH_DOCS = 64
BATCH_CHARS = 200_000
ON_GPU = 8
# Docs until the tokenizer's cache of words is warm: in a memory zone it can't grow, and a
# cold one costs more than half of the tokenizer's speed.
WARM_DOCS = 2000
DECIMALS = 4
# So many failures and nothing else: the pipeline fails, not the documents
ALL_FAIL = 20


class Pipeline(NamedTuple):
    """A loaded pipeline.

    name (str): Its name and version, such as "en_welt_bc5cdr-0.1.0".
    nlp (Language): The pipeline.
    """

    name: str
    nlp: Language


def named(nlp: Language) -> Pipeline:
    """Give a pipeline the name that its entities have.

    nlp (Language): The pipeline.
    RETURNS (Pipeline): The pipeline with its name.
    """
    meta = nlp.meta
    name = f"{meta.get('lang', '')}_{meta.get('name', 'pipeline')}"
    return Pipeline(f"{name}-{meta.get('version', '')}", nlp)


def entities_of(doc: Doc, pipeline: str) -> list[Entity]:
    """Get the entities of a doc as plain data.

    doc (Doc): A doc.
    pipeline (str): The name that they get.
    RETURNS (list[Entity]): Its `doc.ents`; confidences are None where a pipeline gives none.
    """
    found = []
    for ent in doc.ents:
        confidence = get_confidence(ent)
        if confidence is not None:
            confidence = round(float(confidence), DECIMALS)
        place = ent.start_char, ent.end_char
        found.append(Entity(*place, ent.label_, ent.text, confidence, pipeline))
    return found


class Pipelines:
    """One or more pipelines that annotate the same texts.

    Strings of texts are given back every few hundred docs (`nlp.memory_zone`), so that
    memory does not grow with the number of texts. Only one thread may use the pipelines
    meanwhile.

    pipelines (Sequence[Pipeline]): The pipelines.
    max_chars (int): Characters of the longest text.
    """

    def __init__(self, pipelines: Sequence[Pipeline], *, max_chars: int = 0) -> None:
        self.pipelines = list(pipelines)
        self._warm = 0
        for _, nlp in self.pipelines:
            nlp.max_length = max(nlp.max_length, max_chars)

    def annotate(self, items: Iterable[Item]) -> Iterator[Any]:
        """Annotate documents.

        items (Iterable[Item]): Documents, and those that could not be read.
        YIELDS (AnnotatedDocument | Reject): For each item, in order: the document with its
            entities, or why it has none. The doc in it must not be kept.
        RAISES (WeltError): If the pipeline fails on every one of many documents.
        """
        for some in _cut(items, _item_length, ZONE_DOCS, ZONE_CHARS):
            with contextlib.ExitStack() as stack:
                if self._warm >= WARM_DOCS:
                    for _, nlp in self.pipelines:
                        stack.enter_context(nlp.memory_zone())
                self._warm += len(some)
                yield from self._zone(some)

    def _zone(self, items: list[Item]) -> Iterator[Any]:
        documents = [item for item in items if isinstance(item, Document)]
        found = [_run(pipeline, documents) for pipeline in self.pipelines]
        each = zip(*found)
        for item in items:
            if isinstance(item, Reject):
                yield item
                continue
            docs = next(each)
            wrong = next((doc for doc in docs if isinstance(doc, Reject)), None)
            if wrong is not None:
                yield wrong
                continue
            entities = [
                ent
                for (name, _), doc in zip(self.pipelines, docs)
                for ent in entities_of(doc, name)
            ]
            if len(docs) > 1:
                entities.sort(key=lambda ent: (ent.start, ent.end))
            yield AnnotatedDocument(item, entities, len(docs[0]), docs[0])


ThingT = TypeVar("ThingT")


def _cut(
    things: Iterable[ThingT], length: Callable[[ThingT], int], n: int, n_chars: int
) -> Iterator[list[ThingT]]:
    """Lists of so many at most, and of so many characters unless it is one."""
    some: list[ThingT] = []
    total = 0
    for thing in things:
        chars = length(thing)
        if some and (len(some) == n or total + chars > n_chars):
            yield some
            some, total = [], 0
        some.append(thing)
        total += chars
    if some:
        yield some


def _item_length(item: Item) -> int:
    return len(item.text) if isinstance(item, Document) else 0


def _pipe(nlp: Language, texts: Iterable[str]) -> Iterator[Doc]:
    factor = ON_GPU if get_current_ops().device_type == "gpu" else 1
    for batch in _cut(texts, len, factor * BATCH_DOCS, factor * BATCH_CHARS):
        yield from nlp.pipe(batch, batch_size=len(batch))


def _run(pipeline: Pipeline, documents: Sequence[Document]) -> list[Any]:
    try:
        return list(_pipe(pipeline.nlp, [document.text for document in documents]))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:
        # Once more, one by one, so that only those are lost that it fails on
        found: list[Any] = []
        for document in documents:
            try:
                found.append(pipeline.nlp(document.text))
            except (MemoryError, KeyboardInterrupt):
                raise
            except Exception as err:
                told = f"{pipeline.name}: {type(err).__name__}: {first_line(err)}"
                found.append(Reject(document.id, "pipeline failed", told))
        if len(found) >= ALL_FAIL and all(isinstance(doc, Reject) for doc in found):
            raise WeltError(
                f"the pipeline fails on every text: {found[0].message}"
            ) from None
        return found


def annotate(
    nlp: Language, texts: Iterable[str], *, ahead: int = ZONE_DOCS
) -> Iterator[list[Entity]]:
    """Find the entities of texts, as plain data: for notebooks and scripts.

    Memory does not grow with the number of texts: they may be a stream without end. In
    the meantime no other thread may use the pipeline.

    nlp (Language): Any pipeline that sets `doc.ents`.
    texts (Iterable[str]): The texts.
    ahead (int): How many texts are read ahead at most.
    YIELDS (list[Entity]): The entities of each text, in its order: start, end, label, text,
        confidence and pipeline.
    RAISES (Exception): What the pipeline raises, for a text that it fails on.
    """
    name = named(nlp).name
    warm = 0
    for some in _cut(texts, len, max(1, ahead), ZONE_CHARS):
        with contextlib.ExitStack() as stack:
            if warm >= WARM_DOCS:
                stack.enter_context(nlp.memory_zone())
            warm += len(some)
            found = [entities_of(doc, name) for doc in _pipe(nlp, some)]
        # Outside of the zone, which ends even if nobody asks for more
        yield from found


class Annotator:
    """A callable class for batches of columns, as `map_batches` of Ray Data has them.

        dataset.map_batches(
            Annotator, fn_constructor_args=["en_welt_bc5cdr"], concurrency=4
        )

    model (str): The pipeline: its name if it is installed, or its folder.
    text (str): The column with the texts.
    output (str): The column that is added: a list of entities for each text, as dicts.
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
        pipeline = named(load_pipeline(Path(model), gpu_id=gpu_id))
        self.pipelines = Pipelines([pipeline])
        self.text, self.output = text, output

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Annotate a batch.

        batch (dict[str, Any]): Columns, as arrays or lists.
        RETURNS (dict[str, Any]): The same, and the column with entities. A text that the
            pipeline fails on has None.
        RAISES (WeltError): If there is no such column.
        """
        if self.text not in batch:
            raise WeltError(
                f"there is no column {self.text!r}: there are {', '.join(batch)}"
            )
        documents = [Document("", str(text)) for text in batch[self.text]]
        found: list[list[dict[str, Any]] | None] = []
        for item in self.pipelines.annotate(documents):
            if isinstance(item, Reject):
                found.append(None)
            else:
                found.append([ent._asdict() for ent in item.entities])
        return {**batch, self.output: found}
