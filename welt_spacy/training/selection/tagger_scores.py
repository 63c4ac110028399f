"""How hard docs are to a trained tagger."""

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


class TaggedDoc(NamedTuple):
    """What a tagger says of a doc.

    loss (float): The mean cross entropy of its gold tags, without class weights, in nats
        a token; 0 for a doc without annotated tokens.
    confidence (float): The mean log-probability of the likeliest tag of each token
        (maximum normalized log-probability, Shen et al. 2018); 0 for an empty doc.
    """

    loss: float
    confidence: float


def tag_docs(nlp: Language, docs: Sequence[Doc]) -> list[TaggedDoc]:
    """Score docs with a pipeline.

    nlp (Language): A pipeline with one `welt_ner`.
    docs (Sequence[Doc]): Docs with gold entities.
    RETURNS (list[TaggedDoc]): Their scores.
    RAISES (WeltError): If there is not one `welt_ner`, or it does not know a label of
        theirs.
    """
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
    starts = starts_of(np.array(list(map(len, docs)), dtype="int64"))
    found = []
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist()):
        gold, of_doc = tags[start:end], logs[start:end]
        known = np.flatnonzero(gold != MISSING)
        found.append(
            TaggedDoc(
                float(-of_doc[known, gold[known]].mean()) if len(known) else 0.0,
                float(of_doc.max(axis=1).mean()) if len(gold) else 0.0,
            )
        )
    return found
