"""Run pipelines on examples, and up to their `welt_ner`."""

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
    """Find the one component of a kind.

    nlp (Language): The pipeline.
    kind (Type): Its class.
    name (str): What it is called in the message, the name of its factory.
    RETURNS (Pipe): The component.
    RAISES (WeltError): If the pipeline has none, or several.
    """
    found = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, kind)]
    if len(found) != 1:
        raise WeltError(
            f"The pipeline has {len(found)} components {name}, of "
            f"{', '.join(nlp.pipe_names) or 'none'}; one is needed"
        )
    return found[0]


def get_welt_ner(nlp: Language) -> WeltNER:
    """Find the `welt_ner` of a pipeline.

    nlp (Language): The pipeline.
    RETURNS (WeltNER): The component.
    RAISES (WeltError): If it has none, or several.
    """
    return get_only_pipe(nlp, WeltNER, "welt_ner")


def predict_tags(
    nlp: Language, pipe: WeltNER, docs: Sequence[Doc]
) -> tuple[list[Doc], NDArray[np.float32]]:
    """Run a pipeline up to its `welt_ner`.

    nlp (Language): The pipeline.
    pipe (WeltNER): The component, in it.
    docs (Sequence[Doc]): The documents, N tokens together.
    RETURNS (tuple[list[Doc], ndarray]): The documents as the components before it left
        them, and the tag probabilities, shape (N, 2K + 1).
    """
    place = _place_of(nlp, pipe)
    docs = list(nlp.pipe(docs, disable=nlp.pipe_names[place:]))
    parts = []
    for start in range(0, len(docs), nlp.batch_size):
        scores = pipe.predict(docs[start : start + nlp.batch_size])
        parts.append(pipe.model.ops.to_numpy(pipe.model.ops.flatten(scores)))
    return docs, np.concatenate(parts)


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
    return list(nlp.pipe(docs, disable=nlp.pipe_names[: _place_of(nlp, pipe) + 1]))


def _place_of(nlp: Language, pipe: WeltNER) -> int:
    return [component for _, component in nlp.pipeline].index(pipe)


def predict_examples(nlp: Language, examples: Sequence[Example]) -> float:
    """Replace the predicted documents of examples by the predictions of a pipeline.

    nlp (Language): The pipeline.
    examples (Sequence[Example]): The examples.
    RETURNS (float): The speed, in tokens a second.
    """
    started = time.perf_counter()
    docs = nlp.pipe([eg.predicted for eg in examples])
    for example, doc in zip(examples, docs):
        example.predicted = doc
    seconds = time.perf_counter() - started
    return sum(len(eg.predicted) for eg in examples) / seconds
