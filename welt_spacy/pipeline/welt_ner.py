"""The component `welt_ner`: a cost-sensitive IOB2 tagger that sets `doc.ents`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import WeltError
from ..ml.class_weights import welt
from ..ml.losses import DistillationLoss, WeightedCrossEntropy
from ..scoring.strict import ner_score
from ..tagging.decoding import DECODERS, Entities
from ..tagging.label_propagation import check_label_propagation
from ..tagging.platt_scaling import check_calibration, uncalibrated
from ..tagging.soft_labels import is_gold
from ..tagging.tags import tag_names
from ..tokens.confidence import install_extensions
from .decoder import Decoder, get_logit_adjustment
from .entities import EarlierEnts, find_earlier, set_entities
from .labels import LabelData, SampledCorpus, get_labels_and_counts, match_counts
from .loss import compute_loss, compute_rehearsal_loss, get_loss_weights
from .requirements import note_requirements
from .settings import (
    PipelineRef,
    Setting,
    flag,
    get_setting_names,
    merge_saved_settings,
    number,
    one_of,
    optional_string,
    read_saved_config,
)

ClassWeighting = Callable[[Mapping[str, int]], dict[str, float]]


class WeltNER(TrainablePipe):
    """Named entity recognition as token classification, trained with a class-weighted
    cross entropy (Mobasher et al., BioNLP 2023).
    """

    decoder = Setting(one_of(DECODERS), 'Decoding method: "constrained" or "greedy".')
    o_bias = Setting(number(), "Outside bias, added to the log-odds of O.")
    logit_adjustment = Setting(number(), "Strength of logit adjustment.")
    threshold = Setting(number(0, 1), "Minimum confidence of an entity.")
    spans_key = Setting(
        optional_string, "Key of the predictions in `doc.spans`, or None."
    )
    overwrite = Setting(flag, "Whether to replace entities of earlier components.")
    label_propagation = Setting(
        check_label_propagation, "Settings of label propagation, or None."
    )
    calibration = Setting(check_calibration, "Settings of calibration, or None.")

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], list[Floats2d]],
        name: str = "welt_ner",
        *,
        weighting: ClassWeighting | None = None,
        loss: Callable | None = None,
        decoder: Literal["greedy", "constrained"] = "constrained",
        o_bias: float = 0.0,
        logit_adjustment: float = 0.0,
        threshold: float = 0.0,
        spans_key: str | None = None,
        overwrite: bool = False,
        label_propagation: dict[str, float] | None = None,
        calibration: dict[str, float] | None = None,
        distillation: DistillationLoss | None = None,
        scorer: Callable | None = ner_score,
    ) -> None:
        """Initialize the component."""
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.weighting = weighting if weighting is not None else welt()
        self.loss = loss if loss is not None else WeightedCrossEntropy()
        self.distillation = distillation
        self._rehearsal_model: Model | None = None
        self.pipeline_ref = PipelineRef()
        self.cfg: dict[str, Any] = {
            "labels": [],
            "weighting": str(self.weighting),
            "counts": {},
            "weights": {},
        }
        self.decoder = decoder
        self.o_bias = o_bias
        self.logit_adjustment = logit_adjustment
        self.threshold = threshold
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.label_propagation = label_propagation
        self.calibration = calibration
        # The settings of the config, for `merge_saved_settings`
        self.cfg["configured"] = {
            name: self.cfg[name] for name in get_setting_names(WeltNER)
        }
        # Tagger models of spaCy return logits in prediction, probabilities in training
        for layer in model.walk():
            if "softmax_normalize" in layer.attrs:
                layer.attrs["softmax_normalize"] = True
        install_extensions()

    @property
    def labels(self) -> tuple[str, ...]:
        """The entity labels."""
        return tuple(self.cfg["labels"])

    @property
    def tags(self) -> tuple[str, ...]:
        """The 2K + 1 tags, in the order of the model's columns."""
        return tuple(tag_names(self.labels))

    @property
    def uncalibrated_threshold(self) -> float:
        """The threshold for confidences before calibration."""
        if self.threshold in (0.0, 1.0):
            return self.threshold
        return float(uncalibrated(np.array([self.threshold]), self.calibration)[0])

    @property
    def label_data(self) -> dict[str, Any]:
        """The labels and the tag counts. `spacy init labels` saves them, and `initialize`
        takes them in place of a pass over the corpus.
        """
        return {"labels": list(self.labels), "counts": dict(self.cfg["counts"])}

    @property
    def class_counts(self) -> dict[str, int]:
        """The number of training tokens of each tag."""
        return dict(self.cfg["counts"])

    @property
    def class_weights(self) -> dict[str, float]:
        """The weight of each tag. The loss scales them to a mean of 1 over the tokens."""
        return dict(self.cfg["weights"])

    def add_label(self, label: str) -> int:
        """Add an entity label before the component is initialized.

        label (str): The label.
        RETURNS (int): 0 if the component has the label, otherwise 1.
        RAISES (ValueError): If the label is not a string, or the model already has its
            output layer.

        DOCS: https://spacy.io/api/pipe#add_label
        """
        if not isinstance(label, str):
            raise ValueError(Errors.E187)
        if label in self.labels:
            return 0
        self._allow_extra_label()
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def _allow_extra_label(self) -> None:
        # The base class compares the width of the output with the labels, not the tags
        nO = self.model.maybe_get_dim("nO")
        if nO is not None and nO < len(self.tags) + 2:
            raise ValueError(Errors.E922.format(name=self.name, nO=nO))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: LabelData | None = None,
    ) -> None:
        """Count the tags of the training corpus, compute the class weights and initialize
        the model.

        get_examples (Callable[[], Iterable[Example]]): Returns the training corpus, which
            is read once. With a distillation loss, only gold annotation is counted, if
            there is any.
        nlp (Language | None): The pipeline. Its meta gets a record of the weights under
            "class_weights".
        labels (dict[str, Any] | list[str] | None): The labels, or labels and counts as in
            `label_data`. Saved by `spacy init labels`.
        RAISES (WeltError): If the weights need counts but the corpus is streamed
            (`max_epochs = -1`), or the output layer has a width that does not match.

        DOCS: https://spacy.io/api/pipe#initialize
        """
        corpus = SampledCorpus(get_examples, "WeltNER.initialize")
        names, counts = get_labels_and_counts(
            self.name,
            self.weighting,
            corpus.read,
            nlp=nlp,
            labels=labels,
            is_gold=None if self.distillation is None else is_gold,
        )
        for label in names:
            self.add_label(label)
        if not self.labels:
            raise ValueError(Errors.E143.format(name=self.name))
        self.cfg["counts"] = match_counts(self.name, counts, self.labels)
        self._compute_weights()
        nO = self.model.maybe_get_dim("nO")
        if nO is not None and nO != len(self.tags):
            raise WeltError(
                f"[{self.name}] model.nO is {nO}, but the labels {', '.join(self.labels)} "
                f"need {len(self.tags)} tags. Leave nO unset."
            )
        if nlp is not None:
            self.pipeline_ref = PipelineRef(nlp)
            nlp.meta.setdefault("class_weights", {})[self.name] = {
                "weighting": self.cfg["weighting"],
                "counts": self.class_counts,
                "weights": self.class_weights,
            }
            note_requirements(nlp)
        docs = [eg.predicted for eg in corpus.get_sample()]
        if not docs:
            raise ValueError(Errors.E923.format(name=self.name))
        ops = self.model.ops
        self.model.initialize(
            X=docs, Y=[ops.alloc2f(len(doc), len(self.tags)) for doc in docs]
        )

    def _compute_weights(self) -> None:
        weights = self.weighting(self.cfg["counts"])
        self.cfg["weighting"] = str(self.weighting)
        self.cfg["weights"] = {tag: float(weight) for tag, weight in weights.items()}

    def predict(self, docs: Iterable[Doc]) -> list[Floats2d]:
        """Predict the probability of each tag for each token.

        docs (Iterable[Doc]): The documents.
        RETURNS (list[Floats2d]): One array of shape (n_tokens, 2K + 1) per document, on the
            device of the model.

        DOCS: https://spacy.io/api/pipe#predict
        """
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [self.model.ops.alloc2f(0, len(self.tags)) for _ in docs]
        return self.model.predict(docs)

    def set_annotations(self, docs: Iterable[Doc], scores: list[Floats2d]) -> None:
        """Decode probabilities and set `doc.ents`, `ent._.confidence` and, if `spans_key`
        is set, `doc.spans`.

        docs (Iterable[Doc]): The documents.
        scores (list[Floats2d]): The result of `predict` for them.

        DOCS: https://spacy.io/api/pipe#set_annotations
        """
        docs = list(docs)
        if any(map(len, docs)):
            # One copy from the device per batch
            probs = self.model.ops.to_numpy(self.model.ops.flatten(scores))
        else:
            probs = np.zeros((0, len(self.tags)), dtype="float32")
        earlier = [self.earlier_ents(doc) for doc in docs]
        entities = self.find_entities(docs, probs, earlier)
        entities = entities.select(entities.confidences >= self.threshold)
        set_entities(docs, entities, earlier, self.labels, self.name, self.spans_key)

    def earlier_ents(self, doc: Doc) -> EarlierEnts:
        """Find the entities of earlier components, which stay unless `overwrite` is set.
        Earlier predictions of this component are not among them.

        doc (Doc): The document.
        RETURNS (EarlierEnts): The entities, the blocked tokens, and a mask of both.
        """
        return find_earlier(
            doc, self.name, spans_key=self.spans_key, overwrite=self.overwrite
        )

    def get_decoder(self) -> Decoder:
        """Return the current settings of decoding, label propagation and calibration."""
        return Decoder(
            self.decoder,
            self.o_bias,
            get_logit_adjustment(
                self.logit_adjustment, self.labels, self.cfg["counts"]
            ),
            self.label_propagation,
            self.calibration,
        )

    def find_entities(
        self, docs: Sequence[Doc], probs: NDArray, earlier: Sequence[EarlierEnts]
    ) -> Entities:
        """Decode entities with the current settings, including those below the threshold.

        docs (Sequence[Doc]): The documents, with N tokens in total.
        probs (ndarray): Shape (N, 2K + 1): tag probabilities, on the host.
        earlier (Sequence[EarlierEnts]): The result of `earlier_ents` for each document.
        RETURNS (Entities): The entities, trimmed, without overlaps with earlier ones.
        """
        return self.get_decoder().find_entities(docs, probs, earlier)

    def get_loss(
        self, examples: Iterable[Example], scores: list[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Compute the loss of a batch and its gradient.

        examples (Iterable[Example]): The batch.
        scores (list[Floats2d]): The tag probabilities of the predicted documents.
        RETURNS (tuple[float, list[Floats2d]]): The loss, and the gradient with respect to
            the logits, which is 0 for tokens without annotation.
        RAISES (ValueError): If the loss is not a number.

        DOCS: https://spacy.io/api/pipe#get_loss
        """
        examples = list(examples)
        validate_examples(examples, "WeltNER.get_loss")
        value, gradient = compute_loss(
            self.model.ops,
            examples,
            scores,
            labels=self.labels,
            vocab=self.vocab,
            weights=get_loss_weights(
                self.labels, self.cfg["weights"], self.cfg["counts"]
            ),
            loss=self.loss,
            distillation=self.distillation,
        )
        if np.isnan(value):
            raise ValueError(Errors.E910.format(name=self.name))
        return value, gradient

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Update the model towards its predictions at the time when training was resumed,
        to prevent forgetting. Class weights are not used.

        examples (Iterable[Example]): The batch; its annotation is not used.
        drop (float): The dropout rate.
        sgd (Optimizer | None): The optimizer.
        losses (dict[str, float] | None): The losses, by name of the component.
        RETURNS (dict[str, float]): The updated losses.

        DOCS: https://spacy.io/api/pipe#rehearse
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "WeltNER.rehearse")
        docs = [eg.predicted for eg in examples]
        if self._rehearsal_model is None or not any(len(doc) for doc in docs):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(docs)
        value, gradient = compute_rehearsal_loss(
            self.model.ops, scores, self._rehearsal_model.predict(docs)
        )
        backprop(gradient)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += value
        return losses

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = ()
    ) -> "WeltNER":
        """Load the component from a bytestring.

        bytes_data (bytes): The data.
        exclude (Iterable[str]): Names of fields to leave out.
        RETURNS (WeltNER): The component itself.
        RAISES (WeltError): If the labels do not belong to the model.
        """
        configured = self.cfg["configured"]
        super().from_bytes(bytes_data, exclude=exclude)
        self._finish_loading(configured)
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component to a directory.

        path (str | Path): The directory.
        exclude (Iterable[str]): Names of fields to leave out.
        """
        configured = self.cfg["configured"]
        saved_config = read_saved_config(Path(path), configured)
        self.cfg["configured"] = {**configured, **saved_config}
        try:
            super().to_disk(path, exclude=exclude)
        finally:
            self.cfg["configured"] = configured

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "WeltNER":
        """Load the component from a directory.

        path (str | Path): The directory.
        exclude (Iterable[str]): Names of fields to leave out.
        RETURNS (WeltNER): The component itself.
        RAISES (WeltError): If the file with the labels is missing, or the labels do not
            belong to the model.
        """
        configured = self.cfg["configured"]
        cfg_path = Path(path) / "cfg"
        if "cfg" not in exclude and not cfg_path.is_file():
            raise WeltError(f"{cfg_path}, the file with the labels, is missing")
        super().from_disk(path, exclude=exclude)
        self._finish_loading(configured)
        return self

    def _finish_loading(self, configured: dict[str, Any]) -> None:
        merge_saved_settings(self, configured)
        nO = self.model.maybe_get_dim("nO")
        if nO is not None and nO != len(self.tags):
            names = ", ".join(self.labels) or "(none)"
            raise WeltError(
                f"[{self.name}] The labels {names} need {len(self.tags)} tags, but the "
                f"model has {nO}: the files do not belong together"
            )
        if self.cfg["counts"]:
            # JSON keeps ten decimals, too few for weights such as 1 / n
            self._compute_weights()
