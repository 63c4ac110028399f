"""Run pipelines on examples, and up to or from their `welt_ner`."""

import time
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import WeltError
from ..util.arrays import starts_of
from .welt_ner import WeltNER

PipeT = TypeVar("PipeT")


def get_only_pipe(nlp: Language, kind: type[PipeT], name: str) -> PipeT:
    """Return the only component of a class. `name` is its factory, for the message."""
    pipes = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, kind)]
    if len(pipes) != 1:
        raise WeltError(
            f"The pipeline has {len(pipes)} components {name}, of "
            f"{', '.join(nlp.pipe_names) or 'none'}; one is needed"
        )
    return pipes[0]


def get_welt_ner(nlp: Language) -> WeltNER:
    """Return the `welt_ner` of a pipeline."""
    return get_only_pipe(nlp, WeltNER, "welt_ner")


def predict_tags(
    nlp: Language, pipe: WeltNER, docs: Sequence[Doc]
) -> tuple[list[Doc], NDArray[np.float32]]:
    """Run a pipeline up to its `welt_ner`, and return the documents with the annotation of
    the earlier components, and the tag probabilities of the N tokens, shape (N, 2K + 1), on
    the host.
    """
    docs = list(nlp.pipe(docs, disable=nlp.pipe_names[_get_index(nlp, pipe) :]))
    batches = []
    for start in range(0, len(docs), nlp.batch_size):
        scores = pipe.predict(docs[start : start + nlp.batch_size])
        batches.append(pipe.model.ops.to_numpy(pipe.model.ops.flatten(scores)))
    return docs, np.concatenate(batches)


def annotate_from_tags(
    nlp: Language, pipe: WeltNER, docs: Sequence[Doc], probs: NDArray[np.float32]
) -> list[Doc]:
    """Run a pipeline from its `welt_ner` on, with the results of `predict_tags`. Batches are
    those of `nlp.pipe`, so the entities and confidences are the same.
    """
    ops: Any = pipe.model.ops
    offsets = starts_of(np.array(list(map(len, docs)), dtype="int64"))
    for start in range(0, len(docs), nlp.batch_size):
        batch = docs[start : start + nlp.batch_size]
        rows = zip(offsets[start:], offsets[start + 1 :])
        scores = [
            ops.asarray2f(probs[first:end]) for (first, end), _ in zip(rows, batch)
        ]
        pipe.set_annotations(batch, scores)
    return list(nlp.pipe(docs, disable=nlp.pipe_names[: _get_index(nlp, pipe) + 1]))


def _get_index(nlp: Language, pipe: WeltNER) -> int:
    return [component for _, component in nlp.pipeline].index(pipe)


def predict_examples(nlp: Language, examples: Sequence[Example]) -> float:
    """Replace the predicted documents of examples by the predictions of a pipeline, and
    return the speed in tokens per second.
    """
    started = time.perf_counter()
    docs = nlp.pipe([eg.predicted for eg in examples])
    for example, doc in zip(examples, docs):
        example.predicted = doc
    seconds = time.perf_counter() - started
    return sum(len(eg.predicted) for eg in examples) / seconds
