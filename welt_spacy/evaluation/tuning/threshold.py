"""The threshold of a language model's entities, chosen on dev."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from spacy.language import Language
from spacy.training import Example

from ...llm.generative_ner import GenerativeNER
from ...pipeline.inference import get_only_pipe
from ...pipeline.welt_ner import WeltNER
from ...scoring.labels import require_known_labels
from ...scoring.pairs import pair_examples
from .decoding import Objective


class Threshold(NamedTuple):
    """A threshold and what it scores.

    threshold (float): The confidence under which entities are dropped.
    p, r, f (float): Strict scores in [0, 1].
    """

    threshold: float
    p: float
    r: float
    f: float


def tune_threshold(
    nlp: Language, examples: Sequence[Example], objective: Objective
) -> tuple[Threshold, Threshold]:
    """Find the best threshold of a pipeline's `generative_ner`, and set it.

    nlp (Language): A pipeline with one `generative_ner`, which is changed.
    examples (Sequence[Example]): Dev data, not the data to be reported on. Predictions are
        put into them.
    objective (Objective): What is sought.
    RETURNS (tuple[Threshold, Threshold]): The threshold as it was, and the best. Of equal
        ones, the lowest wins. Entities without a confidence stay at every threshold.
    RAISES (WeltError): If the pipeline has not one `generative_ner`, or the data no gold
        entity.
    """
    pipe = get_only_pipe(nlp, GenerativeNER, "generative_ner")
    require_known_labels(nlp, examples)
    before = pipe.threshold
    pipe.threshold = 0.0
    try:
        for example, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples)):
            example.predicted = doc
    finally:
        pipe.threshold = before
    paired = pair_examples(examples)
    found = [
        (np.inf if sureness is None else sureness, span in doc.gold)
        for doc in paired
        for span, sureness in zip(doc.predicted, doc.confidences)
    ]
    sureness = np.array([value for value, _ in found], dtype="float64")
    right = np.array([hit for _, hit in found], dtype=bool)
    n_gold = sum(len(doc.gold) for doc in paired)
    limits = np.unique([0.0, before, *sureness[np.isfinite(sureness)]])
    kept = np.array([(sureness >= limit).sum() for limit in limits])
    hits = np.array([right[sureness >= limit].sum() for limit in limits])
    p, r = hits / np.maximum(kept, 1), hits / n_gold
    points = [
        Threshold(
            float(limit),
            float(p[i]),
            float(r[i]),
            float(2 * hits[i] / (kept[i] + n_gold)),
        )
        for i, limit in enumerate(limits)
    ]
    best = points[int(np.argmax(objective.value(p, r)))]
    pipe.threshold = best.threshold
    return points[int(np.searchsorted(limits, before))], best


def is_generative(nlp: Language) -> bool:
    """Tell whether a pipeline's entities are those of a language model.

    nlp (Language): The pipeline.
    RETURNS (bool): Whether it has a `generative_ner` and no `welt_ner`.
    """
    kinds = [type(pipe) for _, pipe in nlp.pipeline]
    return GenerativeNER in kinds and WeltNER not in kinds
