"""The factory of the component `welt_ner`."""

from collections.abc import Callable
from typing import Any, Literal

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Config, Model
from thinc.types import Floats2d

from .settings import PipelineRef
from .welt_ner import ClassWeighting, WeltNER

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
) -> WeltNER:
    """Construct a WeltNER component.

    nlp (Language): The pipeline.
    name (str): The name of the component.
    model (Model[list[Doc], list[Floats2d]]): A model that predicts a probability
        distribution over 2K + 1 tags for each token.
    weighting (Callable): The weighting scheme: tag counts of the training corpus -> class
        weights.
    loss (Callable): Probabilities, tags and class weights -> gradient with respect to the
        logits, and loss.
    decoder (str): "constrained" for the best legal IOB2 sequence; "greedy" for the best tag
        of each token, repaired as in seqeval.
    o_bias (float): Added to the log-odds of O when decoding. Positive values raise
        precision, negative values raise recall.
    logit_adjustment (float): Strength t of logit adjustment: when decoding, t log f is
        subtracted from the logit of a tag with a share f of the training tokens (Menon et
        al. 2021). Positive values raise recall.
    threshold (float): Minimum confidence of an entity, in [0, 1].
    spans_key (str | None): If set, predictions are also stored in `doc.spans[spans_key]`,
        and their confidences in its `attrs["scores"]`.
    overwrite (bool): Whether to replace entities of earlier components. Otherwise they
        stay, and predictions that overlap with them are dropped.
    label_propagation (dict[str, float] | None): "min_count", "min_confidence" and "weight"
        of label propagation, see `propagate_entities`. Set by
        `spacy welt tune label-propagation`.
    calibration (dict[str, float] | None): "temperature" and "shift" of the log-odds of a
        confidence. The threshold applies to calibrated confidences. Set by
        `spacy welt tune calibration`.
    distillation (DistillationLoss | None): The loss on soft labels, which
        `spacy welt distill` stores in the training data, e.g.
        `welt_spacy.DistillationLoss.v1`. If not set, the entities of documents with soft
        labels are learned as gold annotation.
    scorer (Callable | None): The scoring method.
    RETURNS (WeltNER): The component.
    RAISES (WeltError): If a setting is out of range.
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
    pipe.pipeline_ref = PipelineRef(nlp)
    return pipe
