"""Run pipelines on examples, and up to their `welt_ner`."""

import time
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import WeltError
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
    """Run a pipeline up to its `welt_ner`, whose tag probabilities are returned.

    nlp (Language): The pipeline.
    pipe (WeltNER): The component, in it.
    docs (Sequence[Doc]): The docs, N tokens together.
    RETURNS (tuple[list[Doc], ndarray]): The docs as the components before it left them,
        and the probabilities, shape (N, 2K + 1).
    """
    done = list(docs)
    for _, other in nlp.pipeline:
        if other is pipe:
            break
        done = (
            list(other.pipe(done)) if hasattr(other, "pipe") else list(map(other, done))
        )
    parts = []
    for start in range(0, len(done), nlp.batch_size):
        scores = pipe.predict(done[start : start + nlp.batch_size])
        parts.append(pipe.model.ops.to_numpy(pipe.model.ops.flatten(scores)))
    return done, np.concatenate(parts)


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
