"""The component `welt_ner`: a cost-sensitive IOB2 tagger that sets `doc.ents`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Literal,
)

import numpy as np
from numpy.typing import NDArray
from spacy.errors import Errors
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Ops, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import WeltError
from ..ml.class_weights import scale_weights, welt
from ..ml.losses import DistillationLoss, MaskedClasses, WeightedCrossEntropy
from ..scoring.strict import ner_score
from ..tagging.decoding import DECODERS, Entities, decode, score_spans
from ..tagging.gold import gold_tags, masked_tags, same_tokens, unannotated_tags
from ..tagging.label_propagation import check_label_propagation, propagate_entities
from ..tagging.platt_scaling import calibrated, check_calibration, uncalibrated
from ..tagging.soft_labels import has_soft_labels, soft_targets, to_student
from ..tagging.tags import MISSING, tag_names
from ..tokens.confidence import install_extensions
from .entities import EarlierEnts, find_earlier, fit_entities, set_entities
from .labels import LabelData, labels_and_counts
from .requirements import note_requirements
from .settings import Owner, Setting, configured, flag, number, one_of, optional_string

ClassWeighting = Callable[[Mapping[str, int]], dict[str, float]]

SETTINGS = (
    *("decoder", "o_bias", "logit_adjustment", "threshold"),
    *("spans_key", "overwrite", "label_propagation", "calibration"),
)

DEFAULT_WELT_NER_CONFIG = """
[weighting]
@misc = "welt_spacy.welt_weights.v1"
temperature = 1.0

[loss]
@losses = "welt_spacy.WeightedCrossEntropy.v1"
reduction = "mean"
label_smoothing = 0.0
missing_value = -1

[scorer]
@scorers = "welt_spacy.ner_scorer.v1"

[model]
@architectures = "welt_spacy.TokenClassifier.v1"

[model.tok2vec]
@architectures = "spacy.HashEmbedCNN.v2"
pretrained_vectors = null
width = 96
depth = 4
embed_size = 2000
window_size = 1
maxout_pieces = 3
subword_features = true
"""


@Language.factory(
    "welt_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        **Config().from_str(DEFAULT_WELT_NER_CONFIG),
        "decoder": "constrained",
        "o_bias": 0.0,
        "logit_adjustment": 0.0,
        "threshold": 0.0,
        "spans_key": None,
        "overwrite": False,
        "label_propagation": None,
        "calibration": None,
        "distillation": None,
    },
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
    },
)
def make_welt_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], list[Floats2d]],
    weighting: ClassWeighting,
    loss: Callable,
    decoder: Literal["greedy", "constrained"],
    o_bias: float,
    logit_adjustment: float,
    threshold: float,
    spans_key: str | None,
    overwrite: bool,
    label_propagation: dict[str, float] | None,
    calibration: dict[str, float] | None,
    distillation: Any | None,
    scorer: Callable | None,
) -> "WeltNER":
    """Construct a WeltNER component.

    nlp (Language): The pipeline.
    name (str): The name of the component in it.
    model (Model[list[Doc], list[Floats2d]]): A model that predicts a
        distribution over 2K + 1 tags for each token.
    weighting (Callable): Tag counts of the training corpus -> class weights.
    loss (Callable): (probabilities, tags, weights) -> (gradient with respect
        to the logits, loss).
    decoder (str): "constrained": the best legal IOB2 sequence; "greedy": the
        best tag of each token, repaired as seqeval does.
    o_bias (float): Added to the log-odds of O when decoding: above 0 for
        precision, below 0 for recall.
    logit_adjustment (float): When decoding, t log f is subtracted from the logit of
        a tag whose share of the training tokens is f (Menon et al. 2021); this is
        the t. Above 0 for recall.
    threshold (float): Entities with a lower confidence are dropped.
    spans_key (str | None): If set, predictions are also kept as
        `doc.spans[spans_key]`, their confidences in `attrs["scores"]`.
    overwrite (bool): Whether to replace entities of earlier components. If not,
        they stay, and predictions that overlap with them are dropped.
    label_propagation (dict[str, float] | None): "min_count", "min_confidence" and
        "weight": other occurrences of an entity in its document become more likely (see `propagate_entities`). `spacy welt tune --label-propagation` finds them.
    calibration (dict[str, float] | None): "temperature" and "shift" of the log-odds of
        a confidence, which `spacy welt tune --calibrate` finds. The threshold is one of
        calibrated confidences.
    distillation (DistillationLoss | None): The loss on soft tags, which `spacy welt distill`
        puts into the training data, e.g. `welt_spacy.DistillationLoss.v1`. If not set,
        the entities of those docs are learned as if they were gold.
    scorer (Callable | None): The scoring method.
    RETURNS (WeltNER): The component.
    RAISES (WeltError): If a setting is out of its range.
    """
    pipe = WeltNER(
        nlp.vocab,
        model,
        name,
        weighting=weighting,
        loss=loss,
        decoder=decoder,
        o_bias=o_bias,
        logit_adjustment=logit_adjustment,
        threshold=threshold,
        spans_key=spans_key,
        overwrite=overwrite,
        label_propagation=label_propagation,
        calibration=calibration,
        distillation=distillation,
        scorer=scorer,
    )
    pipe.owner = Owner(nlp)
    return pipe


class WeltNER(TrainablePipe):
    """Named entity recognition as token classification, trained with a cross
    entropy weighted by class (Mobasher et al., BioNLP 2023).
    """

    decoder = Setting(
        one_of(DECODERS), 'How tags become entities: "constrained" or "greedy".'
    )
    o_bias = Setting(number(), "What decoding adds to the log-odds of O.")
    logit_adjustment = Setting(
        number(),
        "How much of the log share of its tag decoding subtracts from a logit.",
    )
    threshold = Setting(
        number(0, 1), "The confidence under which entities are dropped."
    )
    spans_key = Setting(
        optional_string, "The key in `doc.spans` for predictions and their confidences."
    )
    overwrite = Setting(flag, "Whether entities of earlier components are replaced.")
    label_propagation = Setting(
        check_label_propagation,
        "What a name's other occurrences in a doc say; None: nothing.",
    )
    calibration = Setting(
        check_calibration, "How confidences become frequencies; None: as they are."
    )

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
        """Initialize the component.

        vocab (Vocab): The shared vocabulary.
        model (Model[list[Doc], list[Floats2d]]): The model.
        name (str): The name of the component in its pipeline.
        weighting (Callable | None): The weighting scheme; WeLT if not set.
        loss (Callable | None): The loss; `WeightedCrossEntropy` if not set.
        decoder, o_bias, logit_adjustment, threshold, spans_key, overwrite, label_propagation,
            calibration, distillation, scorer: see `make_welt_ner`.
        RAISES (WeltError): If a setting is out of its range.
        """
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.weighting = weighting if weighting is not None else welt()
        self.loss = loss if loss is not None else WeightedCrossEntropy()
        self.distillation = distillation
        self._rehearsal_model: Model | None = None
        self.owner = Owner()
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
        # What the config says, so that after loading a setting from the config can be
        # told from one that was changed on the object.
        self.cfg["configured"] = {name: self.cfg[name] for name in SETTINGS}
        # Tagger models of spaCy give logits in prediction and probabilities in
        # training; confidences need probabilities in both.
        for layer in model.walk():
            if "softmax_normalize" in layer.attrs:
                layer.attrs["softmax_normalize"] = True
        install_extensions()

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The entity labels."""
        return tuple(self.cfg["labels"])

    @property
    def tags(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The 2K + 1 tags, in the order of the
        model's columns.
        """
        return tuple(tag_names(self.labels))

    @property
    def uncalibrated_threshold(self) -> float:
        """RETURNS (float): The threshold as one of confidences without calibration."""
        if self.threshold in (0.0, 1.0):
            return self.threshold
        return float(uncalibrated(np.array([self.threshold]), self.calibration)[0])

    @property
    def label_data(self) -> dict[str, Any]:
        """RETURNS (dict[str, Any]): The labels and the tag counts. `spacy init
        labels` saves this, and `initialize` takes it in place of a pass over
        the data.
        """
        return {"labels": list(self.labels), "counts": dict(self.cfg["counts"])}

    @property
    def class_counts(self) -> dict[str, int]:
        """RETURNS (dict[str, int]): Tokens of the training corpus by tag."""
        return dict(self.cfg["counts"])

    @property
    def class_weights(self) -> dict[str, float]:
        """RETURNS (dict[str, float]): The weight of each tag, as the scheme
        gives it. The loss gets them scaled to a mean of 1 over the training
        tokens.
        """
        return dict(self.cfg["weights"])

    def add_label(self, label: str) -> int:
        """Add an entity label before the component is initialized.

        label (str): The label.
        RETURNS (int): 0 if the label is already there, otherwise 1.
        RAISES (ValueError): If the label is not a string, or the model already has
            its output layer.
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
        # The base class compares the width of the output with the labels; here
        # it is the number of tags.
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
        """Count the tags of the training corpus, weigh them and initialize the
        model.

        get_examples (Callable[[], Iterable[Example]]): Function that returns
            the training corpus. All of it is read, once, for the counts.
        nlp (Language | None): The pipeline. Its meta gets a record of the
            weights under "class_weights".
        labels (Dict | list[str] | None): The labels, or labels and
            counts as in `label_data`; then the corpus is not read. Saved by
            `spacy init labels`.
        RAISES (WeltError): If the weights need counts but the corpus is
            streamed (`max_epochs = -1`, of which spaCy shows 100 examples), or
            the output layer's width is set and does not fit.

        DOCS: https://spacy.io/api/pipe#initialize
        """
        validate_get_examples(get_examples, "WeltNER.initialize")
        known, counts = labels_and_counts(
            self.name, self.weighting, self._gold(get_examples), nlp, labels
        )
        for label in known:
            self.add_label(label)
        if not self.labels:
            raise ValueError(Errors.E143.format(name=self.name))
        unknown = [tag for tag in counts if tag not in self.tags]
        if unknown:
            raise WeltError(
                f"[{self.name}] The counts name {', '.join(unknown)}, which fit no "
                f"label of {', '.join(self.labels)}. Make the labels file again with "
                "'spacy init labels'."
            )
        self.cfg["counts"] = {tag: int(counts.get(tag, 0)) for tag in self.tags}
        self._weigh()
        nO = self.model.maybe_get_dim("nO")
        if nO is not None and nO != len(self.tags):
            raise WeltError(
                f"[{self.name}] model.nO is {nO}, but the labels "
                f"{', '.join(self.labels)} need {len(self.tags)} tags: leave nO unset"
            )
        if nlp is not None:
            self.owner = Owner(nlp)
            nlp.meta.setdefault("class_weights", {})[self.name] = {
                "weighting": self.cfg["weighting"],
                "counts": self.class_counts,
                "weights": self.class_weights,
            }
            note_requirements(nlp)
        sample = list(islice(get_examples(), 10))
        if not sample:
            raise ValueError(Errors.E923.format(name=self.name))
        truths = [
            self.model.ops.alloc2f(len(eg.predicted), len(self.tags)) for eg in sample
        ]
        self.model.initialize(X=[eg.predicted for eg in sample], Y=truths)

    def _gold(
        self, get_examples: Callable[[], Iterable[Example]]
    ) -> Callable[[], Iterable[Example]]:
        # Class weights are of the gold annotation, if there is any, not of what a teacher
        # found
        if self.distillation is None or all(map(has_soft_labels, get_examples())):
            return get_examples
        return lambda: (eg for eg in get_examples() if not has_soft_labels(eg))

    def _weigh(self) -> None:
        self.cfg["weighting"] = str(self.weighting)
        self.cfg["weights"] = {
            tag: float(weight)
            for tag, weight in self.weighting(self.cfg["counts"]).items()
        }

    def predict(self, docs: Iterable[Doc]) -> list[Floats2d]:
        """Get the probability of each tag for each token.

        docs (Iterable[Doc]): The documents.
        RETURNS (list[Floats2d]): One array of shape (n_tokens, 2K + 1) a doc,
            on the model's device.

        DOCS: https://spacy.io/api/pipe#predict
        """
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [self.model.ops.alloc2f(0, len(self.tags)) for _ in docs]
        return self.model.predict(docs)

    def set_annotations(self, docs: Iterable[Doc], scores: list[Floats2d]) -> None:
        """Decode the probabilities and set `doc.ents`, `ent._.confidence` and,
        if asked for, `doc.spans`.

        docs (Iterable[Doc]): The documents.
        scores (list[Floats2d]): What `predict` returned for them.

        DOCS: https://spacy.io/api/pipe#set_annotations
        """
        docs = list(docs)
        if not any(map(len, docs)):
            probs = np.zeros((0, len(self.tags)), dtype="float32")
        else:
            # One copy from the device for the whole batch.
            probs = self.model.ops.to_numpy(self.model.ops.flatten(scores))
        earlier = [self.earlier_ents(doc) for doc in docs]
        found = self.find_entities(docs, probs, earlier)
        found = found.select(found.confidences >= self.threshold)
        set_entities(docs, found, earlier, self.labels, self.name, self.spans_key)

    def earlier_ents(self, doc: Doc) -> EarlierEnts:
        """Find the entities of earlier components, which stay unless `overwrite` is set.
        What this component predicted itself when the doc passed through it before does
        not count.

        doc (Doc): The doc.
        RETURNS (EarlierEnts): The entities, the blocked tokens, and where they are.
        """
        return find_earlier(
            doc, self.name, spans_key=self.spans_key, overwrite=self.overwrite
        )

    def find_entities(
        self, docs: Sequence[Doc], probs: NDArray, earlier: Sequence[EarlierEnts]
    ) -> Entities:
        """Find entities as the settings say, those under the threshold included.

        docs (Sequence[Doc]): The docs, N tokens together.
        probs (ndarray): Shape (N, 2K + 1): tag probabilities of the docs end to end.
        earlier (Sequence[EarlierEnts]): What `earlier_ents` returns for each doc.
        RETURNS (Entities): The entities, without white space at their ends, and without
            those that overlap with earlier ones.
        """
        lengths = np.array(list(map(len, docs)), dtype="int64")
        how = self.decoding_options()
        found = decode(probs, lengths, **how)
        if self.label_propagation is not None:
            found = propagate_entities(
                docs,
                found,
                lambda *spans: score_spans(probs, lengths, *spans, **how),
                self.label_propagation,
            )
        return fit_entities(docs, self._calibrated(found), earlier)

    def decode(self, probs: NDArray, lengths: NDArray) -> Entities:
        """Find entities as the settings say, those under the threshold included, from
        probabilities alone: `label_propagation`, which needs the words, plays no part in it.

        probs (ndarray): Shape (N, 2K + 1): tag probabilities of docs end to end.
        lengths (ndarray): Shape (D,): the lengths of the docs.
        RETURNS (Entities): The entities.
        """
        return self._calibrated(decode(probs, lengths, **self.decoding_options()))

    def decoding_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `tagging.decoding.decode` and `score_spans` that
        the settings give.
        """
        bias = None
        if self.logit_adjustment:
            counts = [self.cfg["counts"].get(tag, 0) for tag in self.tags]
            # A tag that was never seen counts as seen once.
            shares = np.maximum(counts, 1) / max(sum(counts), 1)
            bias = -self.logit_adjustment * np.log(shares)
        return {"decoder": self.decoder, "o_bias": self.o_bias, "bias": bias}

    def _calibrated(self, found: Entities) -> Entities:
        confidences = calibrated(found.confidences, self.calibration)
        return found._replace(confidences=confidences)

    def get_loss(
        self, examples: Iterable[Example], scores: list[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Find the loss and its gradient for a batch.

        examples (Iterable[Example]): The batch.
        scores (list[Floats2d]): The tag probabilities of the predicted docs.
        RETURNS (tuple[float, list[Floats2d]]): The loss, and the gradient with
            respect to the logits. Tokens without annotation have none.
        RAISES (ValueError): If the loss is not a number.

        DOCS: https://spacy.io/api/pipe#get_loss
        """
        examples = list(examples)
        validate_examples(examples, "WeltNER.get_loss")
        ops = self.model.ops
        truths = gold_tags(examples, self.labels, self.vocab)
        soft = soft_targets(examples, self.labels) if self.distillation else None
        if soft is not None:
            truths[soft.taught] = MISSING
        weights = scale_weights(
            np.array([self.cfg["weights"].get(tag, 1.0) for tag in self.tags]),
            np.array([self.cfg["counts"].get(tag, 0) for tag in self.tags]),
        )
        flat = ops.flatten(scores)
        hidden = unannotated_tags(examples, self.labels)
        d_flat, loss = _with_hidden(
            ops,
            flat,
            hidden,
            lambda probs: self.loss(
                probs,
                ops.asarray1i(truths),  # type: ignore[arg-type]
                ops.asarray1f(weights.astype("float32")),  # type: ignore[arg-type]
            ),
        )
        if self.distillation is not None and soft is not None:
            n_gold, n_taught = int((truths != MISSING).sum()), int(soft.known.sum())
            of_gold, of_taught = self.distillation.shares(n_gold, n_taught)
            places: Any = np.flatnonzero(soft.known)
            rows: Any = ops.asarray(places)
            d_soft, soft_loss = self._soft_loss(
                flat[rows], soft.probs[soft.known], soft.hidden[soft.known]
            )
            d_flat *= of_gold
            d_flat[rows] += of_taught * d_soft
            loss = of_gold * loss + of_taught * soft_loss
        if np.isnan(loss):
            raise ValueError(Errors.E910.format(name=self.name))
        return loss, _unflatten(ops, d_flat, scores)

    def _soft_loss(
        self, flat: Floats2d, target: NDArray, hidden: NDArray | None
    ) -> tuple[Floats2d, float]:
        ops = self.model.ops
        loss = self.distillation or DistillationLoss()
        truths = ops.asarray2f(target)  # type: ignore[arg-type]
        return _with_hidden(ops, flat, hidden, lambda probs: loss(probs, truths))

    def distill(
        self,
        teacher_pipe: "WeltNER | None",
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Update the model towards what another component predicts for a batch. Named
        and shaped as in spaCy's next major version.

        teacher_pipe (WeltNER | None): The teacher. Labels that it alone has are
            outside for the student; of labels that the student alone has, it says
            nothing.
        examples (Iterable[Example]): The batch: the teacher reads the references, the
            student the predicted docs. Both have the same tokens.
        drop (float): The dropout rate.
        sgd (Optimizer | None): The optimizer.
        losses (dict[str, float] | None): The record of losses.
        RETURNS (dict[str, float]): The updated record.
        RAISES (WeltError): If there is no teacher, or the tokens differ.
        """
        if teacher_pipe is None:
            raise WeltError(f"[{self.name}] A teacher is needed to learn from")
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "WeltNER.distill")
        for eg in examples:
            if not same_tokens(eg.predicted, eg.reference):
                raise WeltError(
                    f"[{self.name}] Teacher and student read other tokens in "
                    f"{eg.predicted.text[:40]!r}"
                )
        docs = [eg.predicted for eg in examples]
        if not any(map(len, docs)):
            return losses
        teacher_ops = teacher_pipe.model.ops
        taught = teacher_ops.to_numpy(
            teacher_ops.flatten(teacher_pipe.predict([eg.reference for eg in examples]))
        )
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(docs)
        target = to_student(taught, teacher_pipe.labels, self.labels)
        hidden = masked_tags(teacher_pipe.labels, self.labels)
        d_flat, loss = self._soft_loss(
            self.model.ops.flatten(scores),
            target,
            np.repeat(hidden[None], len(target), axis=0),
        )
        backprop(_unflatten(self.model.ops, d_flat, scores))
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_teacher_student_loss(
        self, teacher_scores: list[Floats2d], student_scores: list[Floats2d]
    ) -> tuple[float, list[Floats2d]]:
        """Find the loss and its gradient for a batch of the student's probabilities,
        relative to the teacher's.

        teacher_scores (list[Floats2d]): The teacher's probabilities, (n_tokens, 2K + 1) a
            doc, for the tags of this component.
        student_scores (list[Floats2d]): Those of this component.
        RETURNS (tuple[float, list[Floats2d]]): The loss, and the gradient with respect
            to the logits.
        """
        ops = self.model.ops
        target = ops.xp.concatenate(list(map(ops.asarray, teacher_scores)))
        d_flat, value = self._soft_loss(ops.flatten(student_scores), target, None)
        return value, _unflatten(ops, d_flat, student_scores)

    def rehearse(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Update the model towards what it predicted when training was resumed,
        so that it does not forget. Class weights play no part in it.

        examples (Iterable[Example]): The batch; its annotation is not used.
        drop (float): The dropout rate.
        sgd (Optimizer | None): The optimizer.
        losses (dict[str, float] | None): The record of losses.
        RETURNS (dict[str, float]): The updated record.

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
        tutor = self._rehearsal_model.predict(docs)
        ops = self.model.ops
        flat, target = ops.flatten(scores), ops.flatten(tutor)
        d_flat = (flat - target) / len(flat)
        tiny = ops.xp.finfo(flat.dtype).tiny
        loss = -(target * ops.xp.log(ops.xp.maximum(flat, tiny))).sum() / len(flat)
        backprop(_unflatten(ops, d_flat, scores))
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += float(loss)
        return losses

    def from_bytes(
        self, bytes_data: bytes, *, exclude: Iterable[str] = ()
    ) -> "WeltNER":
        """Load the component from a bytestring.

        bytes_data (bytes): The data.
        exclude (Iterable[str]): Names of fields to leave out.
        RETURNS (WeltNER): The component itself.
        """
        asked = self.cfg["configured"]
        super().from_bytes(bytes_data, exclude=exclude)
        self._settle(asked)
        return self

    def to_disk(self, path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component to a directory.

        path (str | Path): The directory.
        exclude (Iterable[str]): Names of fields to leave out.
        """
        kept = self.cfg["configured"]
        self.cfg["configured"] = {**kept, **configured(Path(path), SETTINGS)}
        try:
            super().to_disk(path, exclude=exclude)
        finally:
            self.cfg["configured"] = kept

    def from_disk(self, path, *, exclude: Iterable[str] = ()) -> "WeltNER":
        """Load the component from a directory.

        path (str | Path): The directory.
        exclude (Iterable[str]): Names of fields to leave out.
        RETURNS (WeltNER): The component itself.
        RAISES (WeltError): If the file with the labels is missing or damaged.
        """
        asked = self.cfg["configured"]
        if "cfg" not in exclude and not (Path(path) / "cfg").is_file():
            raise WeltError(f"{Path(path) / 'cfg'}, which has the labels, is missing")
        super().from_disk(path, exclude=exclude)
        self._settle(asked)
        return self

    def _settle(self, asked: dict[str, Any]) -> None:
        # What was changed on the saved object holds, unless the config that it
        # is loaded with says something new (spacy.load(..., config={...})).
        saved = self.cfg["configured"]
        for key, value in asked.items():
            new = value if value != saved.get(key) else self.cfg[key]
            setattr(self, key, new)
        self.cfg["configured"] = asked
        nO = self.model.maybe_get_dim("nO")
        if nO is not None and nO != len(self.tags):
            raise WeltError(
                f"[{self.name}] The labels {', '.join(self.labels) or '(none)'} need "
                f"{len(self.tags)} tags, but the model has {nO}: the files do not belong "
                "together"
            )
        if self.cfg["counts"]:
            # JSON keeps ten decimals, too few for weights such as 1 / n.
            self._weigh()


def _with_hidden(
    ops: Ops,
    flat: Floats2d,
    hidden: NDArray | None,
    loss: Callable[[Floats2d], tuple[Floats2d, float]],
) -> tuple[Floats2d, float]:
    """A loss and its gradient where O may stand for tags that nobody looked for."""
    if hidden is None or not hidden.any():
        return loss(flat)
    merged = MaskedClasses(flat, ops.asarray(hidden))  # type: ignore[arg-type]
    d_merged, value = loss(merged.merged)
    return merged.unmerge(d_merged), value


def _unflatten(ops: Ops, flat: Floats2d, like: list[Floats2d]) -> list[Floats2d]:
    # The lengths stay on the CPU: reading them from a device costs a wait each.
    lengths: Any = np.array([len(array) for array in like], dtype="int32")
    return ops.unflatten(flat, lengths)


__all__ = ["WeltNER", "install_extensions", "make_welt_ner"]
