"""Decoder of `welt_ner`: tag probabilities to entities of documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from ..tagging.decoding import Entities, decode, score_spans
from ..tagging.label_propagation import propagate_entities
from ..tagging.platt_scaling import calibrated
from ..tagging.tags import tag_names
from .entities import EarlierEnts, fit_entities


def get_logit_adjustment(
    strength: float, labels: Sequence[str], counts: Mapping[str, int]
) -> NDArray[np.float64] | None:
    """Return -strength * log(share of the training tokens) for each tag, shape (2K + 1,);
    None if the strength is 0 (Menon et al. 2021).
    """
    if not strength:
        return None
    tag_counts = [counts.get(tag, 0) for tag in tag_names(labels)]
    # Tags without training tokens count as one token, so that the logarithm is finite
    shares = np.maximum(tag_counts, 1) / max(sum(tag_counts), 1)
    return -strength * np.log(shares)


@dataclass(frozen=True)
class Decoder:
    """Decode tag probabilities, all on the host, into entities.

    method (str): "constrained" or "greedy".
    o_bias (float): Added to the log-odds of O.
    bias (ndarray | None): Shape (2K + 1,): added to the log-probabilities of the tags.
    label_propagation (Mapping[str, float] | None): See `propagate_entities`.
    calibration (Mapping[str, float] | None): See `calibrated`.
    """

    method: str
    o_bias: float
    bias: NDArray[np.float64] | None
    label_propagation: Mapping[str, float] | None
    calibration: Mapping[str, float] | None

    def decode(self, probs: NDArray[Any], lengths: NDArray[Any]) -> Entities:
        """Decode without label propagation, which needs the tokens."""
        return self._calibrate(decode(probs, lengths, **self.options))

    def find_entities(
        self,
        docs: Sequence[Doc],
        probs: NDArray[Any],
        earlier: Sequence[EarlierEnts],
    ) -> Entities:
        """Decode, propagate and calibrate, and fit the entities to the documents."""
        lengths = np.array(list(map(len, docs)), dtype="int64")
        entities = decode(probs, lengths, **self.options)
        if self.label_propagation is not None:
            entities = propagate_entities(
                docs,
                entities,
                lambda *spans: score_spans(probs, lengths, *spans, **self.options),
                self.label_propagation,
            )
        return fit_entities(docs, self._calibrate(entities), earlier)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of `decode` and `score_spans`."""
        return {"decoder": self.method, "o_bias": self.o_bias, "bias": self.bias}

    def _calibrate(self, entities: Entities) -> Entities:
        confidences = calibrated(entities.confidences, self.calibration)
        return entities._replace(confidences=confidences)
