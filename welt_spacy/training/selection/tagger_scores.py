"""Difficulty of documents for a trained tagger."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...errors import WeltError
from ...pipeline.inference import get_welt_ner, predict_tags
from ...tagging.gold import gold_tags
from ...tagging.tags import MISSING
from ...tokens.docs import bare_doc
from ...util.arrays import starts_of


class TaggerScore(NamedTuple):
    """Difficulty of a document for a tagger.

    loss (float): Mean cross entropy of the gold tags, without class weights, in nats per
        token; 0 for a document without annotated tokens.
    confidence (float): Mean log-probability of the most probable tag of each token (maximum
        normalized log-probability, Shen et al. 2018); 0 for an empty document.
    """

    loss: float
    confidence: float


def score_with_tagger(nlp: Language, docs: Sequence[Doc]) -> list[TaggerScore]:
    """Score documents with gold entities by the `welt_ner` of a pipeline."""
    pipe = get_welt_ner(nlp)
    unknown = {ent.label_ for doc in docs for ent in doc.ents} - {*pipe.labels}
    if unknown:
        raise WeltError(
            f"The tagger does not know {', '.join(sorted(unknown))}: train it on data with "
            "the same labels"
        )
    examples = [Example(bare_doc(doc), doc) for doc in docs]
    _, probs = predict_tags(nlp, pipe, [eg.predicted for eg in examples])
    tiny = np.finfo("float32").tiny
    logs = np.log(np.maximum(probs.astype("float64"), tiny))
    tags = gold_tags(examples, pipe.labels, nlp.vocab)
    starts = starts_of(np.array(list(map(len, docs)), dtype="int64")).tolist()
    scores = []
    for start, end in zip(starts, starts[1:]):
        doc_tags, doc_logs = tags[start:end], logs[start:end]
        annotated = np.flatnonzero(doc_tags != MISSING)
        loss = -doc_logs[annotated, doc_tags[annotated]].mean() if len(annotated) else 0
        confidence = doc_logs.max(axis=1).mean() if len(doc_tags) else 0
        scores.append(TaggerScore(float(loss), float(confidence)))
    return scores
