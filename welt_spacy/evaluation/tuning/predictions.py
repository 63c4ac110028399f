"""Tag probabilities of a `welt_ner` on dev data, computed once for all tuning steps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from ...pipeline.entities import EarlierEnts
from ...pipeline.inference import annotate_from_tags, get_welt_ner, predict_tags
from ...pipeline.welt_ner import WeltNER
from ...scoring.labels import known_labels, require_known_labels
from ...tagging.decoding import Entities, tags_to_spans
from ...tagging.gold import gold_tags, unannotated_tags
from ...tagging.tags import MISSING, OUTSIDE, begin_tag
from ...tokens.docs import bare_doc
from ...util.arrays import Ints, starts_of


class Outcomes(NamedTuple):
    """Entities that gold annotation can judge.

    confidences (ndarray): Shape (E,), float64; infinite for entities of earlier components,
        which no threshold drops.
    right (ndarray): Shape (E,), bool: whether each is a gold entity.
    labels (ndarray): Shape (E,), int64: the index of the label.
    """

    confidences: NDArray[np.float64]
    right: NDArray[np.bool_]
    labels: Ints


@dataclass(frozen=True)
class DevPredictions:
    """Tag probabilities of one `welt_ner` and the gold entities, as arrays.

    pipe (WeltNER): The component.
    docs (list[Doc]): The documents as the components before it left them, N tokens
        together.
    lengths (ndarray): Shape (D,): their lengths.
    probs (ndarray): Shape (N, 2K + 1): tag probabilities.
    earlier (list[EarlierEnts]): The entities of earlier components by document.
    given (Entities): The same entities, their rows counted over all documents.
    n_labels (int): The labels of the component and of others.
    gold_keys (ndarray): Keys of the gold entities whose tokens are aligned.
    n_gold (int): Number of gold entities, including those that are not aligned.
    missing (ndarray): Shape (N + 1,): number of tokens without annotation before each.
    unannotated (ndarray | None): Shape (N, 2 n_labels + 1): tags of labels that are not
        annotated labels of the document.
    """

    pipe: WeltNER
    docs: list[Doc]
    lengths: Ints
    probs: NDArray[np.float32]
    earlier: list[EarlierEnts]
    given: Entities
    n_labels: int
    gold_keys: Ints
    n_gold: int
    missing: Ints
    unannotated: NDArray[np.bool_] | None

    def decode(self) -> Entities:
        """Decode the probabilities with the current settings of the component. Entities
        below the threshold are included.
        """
        return self.pipe.find_entities(self.docs, self.probs, self.earlier)

    def judge(self, entities: Entities) -> Outcomes:
        """Compare entities with the gold entities. Entities on tokens without annotation, or
        with a label that is not annotated, are left out.
        """
        entities = entities.select(self.is_annotated(entities))
        right = np.isin(self.keys(entities), self.gold_keys)
        return Outcomes(entities.confidences, right, entities.labels)

    def judge_all(self, entities: Entities) -> Outcomes:
        """Compare entities, and those of earlier components, with the gold entities."""
        columns: Any = zip(self.judge(entities), self.judge(self.given))
        return Outcomes(*map(np.concatenate, columns))

    def is_annotated(self, entities: Entities) -> NDArray[np.bool_]:
        """Return whether gold annotation can judge each entity: shape (E,)."""
        starts, ends, labels, _ = entities
        annotated = self.missing[starts] == self.missing[ends]
        if self.unannotated is not None:
            annotated &= ~self.unannotated[starts, begin_tag(labels)]
        return annotated

    def keys(self, entities: Entities) -> Ints:
        """Return one integer per entity; equal integers are equal entities."""
        return _keys(*entities[:3], len(self.probs), self.n_labels)


def predict_dev(nlp: Language, examples: Sequence[Example]) -> DevPredictions:
    """Predict tag probabilities of examples, which are not changed."""
    # Copies without entities, because entities of an earlier prediction would count as those
    # of components before `welt_ner`
    copies = [Example(bare_doc(eg.predicted), eg.reference) for eg in examples]
    return _predict(nlp, copies)


def predict_and_annotate(nlp: Language, examples: Sequence[Example]) -> DevPredictions:
    """Predict tag probabilities of examples, and replace their predicted documents by the
    output of the pipeline. The model runs once. Raises as `predict_dev`.
    """
    predictions = _predict(nlp, examples)
    docs = annotate_from_tags(
        nlp, predictions.pipe, predictions.docs, predictions.probs
    )
    for example, doc in zip(examples, docs):
        example.predicted = doc
    return predictions


def _predict(nlp: Language, examples: Sequence[Example]) -> DevPredictions:
    pipe = get_welt_ner(nlp)
    require_known_labels(nlp, [eg.reference for eg in examples])
    docs, probs = predict_tags(nlp, pipe, [eg.predicted for eg in examples])
    earlier = [pipe.earlier_ents(doc) for doc in docs]
    # Labels of other components follow those of this component
    labels = [*pipe.labels, *(n for n in known_labels(nlp) if n not in pipe.labels)]
    lengths = np.array(list(map(len, docs)), dtype="int64")
    tags = gold_tags(examples, labels, nlp.vocab)
    gold = tags_to_spans(np.where(tags == MISSING, OUTSIDE, tags), lengths)
    return DevPredictions(
        pipe=pipe,
        docs=docs,
        lengths=lengths,
        probs=probs,
        earlier=earlier,
        given=_given_entities(earlier, starts_of(lengths).tolist(), labels),
        n_labels=len(labels),
        gold_keys=_keys(*gold, len(probs), len(labels)),
        n_gold=sum(len(eg.reference.ents) for eg in examples),
        missing=starts_of((tags == MISSING).astype("int64")),
        unannotated=unannotated_tags(examples, labels),
    )


def _given_entities(
    earlier: Sequence[EarlierEnts], offsets: Sequence[int], labels: Sequence[str]
) -> Entities:
    rows = [
        (offset + ent.start, offset + ent.end, labels.index(ent.label_))
        for offset, ents in zip(offsets, earlier)
        for ent in ents.ents
        if ent.label_ in labels
    ]
    starts, ends, label_ids = np.array(rows, dtype="int64").reshape(-1, 3).T
    return Entities(starts, ends, label_ids, np.full(len(rows), np.inf))


def _keys(starts: Ints, ends: Ints, labels: Ints, n_tokens: int, n_labels: int) -> Ints:
    return (starts * (n_tokens + 1) + ends) * n_labels + labels


@contextmanager
def temporary_settings(pipe: WeltNER, **settings: Any) -> Iterator[None]:
    """Change settings of a component for the `with` block."""
    before = {name: getattr(pipe, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(pipe, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(pipe, name, value)
