"""`welt_ner` on a device whose arrays can't be mixed with NumPy's."""

import copy

import numpy as np
import pytest
import spacy
from spacy.training import Example

from welt_spacy import evaluate
from welt_spacy.evaluation.evaluate import evaluate_docs
from welt_spacy.evaluation.tuning.steps import STEPS, TuningOptions, tune_pipeline
from welt_spacy.ml.adamw import AdamW
from welt_spacy.ml.losses import (
    DistillationLoss,
    MaskedClasses,
    WeightedCrossEntropy,
    WeightedFocalLoss,
)
from welt_spacy.pipeline.inference import predict_tags
from welt_spacy.tagging.soft_labels import set_soft_labels
from welt_spacy.tokens.annotated_labels import set_annotated_labels

from ..factories import TRAIN_DATA, ents, make_examples, make_nlp
from ..strict_device import StrictArray, StrictOps

TEXT = TRAIN_DATA[0][0]
SOFT = {"@losses": "welt_spacy.DistillationLoss.v1", "alpha": 0.3, "temperature": 2.0}
SUBWORDS = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "welt_spacy.SubwordEmbed.v1",
        "width": 16,
        "rows": [100, 100, 100, 100],
        "subword_rows": 100,
        "subword_width": 8,
    },
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": 16,
        "depth": 1,
        "window_size": 1,
        "maxout_pieces": 2,
    },
}
LEXICON = {
    **SUBWORDS,
    "embed": {
        "@architectures": "welt_spacy.LexiconEmbed.v1",
        "labels": ["Disease"],
        "dropout": 0.0,
        "embed": SUBWORDS["embed"],
    },
}


def to_host(array):
    return array.get() if isinstance(array, StrictArray) else array


def make_batch(nlp, annotation="gold"):
    """Create examples with gold annotation, soft labels, or annotation of diseases only."""
    examples = make_examples(nlp)
    rng = np.random.default_rng(0)
    for eg in examples[::2]:
        if annotation == "soft":
            probs = rng.dirichlet(np.full(3, 0.5), size=len(eg.reference))
            set_soft_labels(eg.reference, probs, ["Disease"])
        elif annotation == "partial":
            diseases = [ent for ent in eg.reference.ents if ent.label_ == "Disease"]
            eg.reference.set_ents(diseases)
            set_annotated_labels(eg.reference, ["Disease"])
    return examples


def train_steps(nlp, examples, steps=3):
    optimizer = AdamW(0.01)
    for _ in range(steps):
        losses = nlp.update(examples, sgd=optimizer)
    return losses["welt_ner"]


def initialized(move, annotation="gold", **settings):
    """Create the same pipeline on the host and on the device."""
    nlp = make_nlp(**settings)
    examples = make_batch(nlp, annotation)
    for label in ("Chemical", "Disease"):
        nlp.get_pipe("welt_ner").add_label(label)
    nlp.initialize(lambda: examples)
    return nlp, move(copy.deepcopy(nlp))


@pytest.fixture
def trained(strict_device):
    """Train a pipeline on the device."""
    nlp = make_nlp(spans_key="welt_ner")
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    strict_device(nlp)
    train_steps(nlp, examples, steps=40)
    return nlp


def test_strict_arrays_refuse_numpy_arrays(strict_device):
    array = StrictOps().asarray(np.ones(3))
    for mix in (
        lambda: array + np.ones(3),
        lambda: np.add(array, np.ones(3)),
        lambda: np.asarray(array),
        lambda: array[np.arange(2)],
        lambda: array.__setitem__(slice(None), np.ones(3)),
    ):
        with pytest.raises(TypeError):
            mix()


def test_strict_arrays_reduce_to_arrays(strict_device):
    total = StrictOps().asarray(np.ones(3)).sum()
    assert isinstance(total, StrictArray) and total.shape == () and float(total) == 3


@pytest.mark.parametrize(
    "loss",
    [
        WeightedCrossEntropy(),
        WeightedCrossEntropy(reduction="sum", label_smoothing=0.1),
        WeightedFocalLoss(gamma=1.5),
        WeightedFocalLoss(gamma=0.0, reduction="sum"),
    ],
)
def test_losses(loss, strict_device):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), size=6).astype("float32")
    tags, weights = np.array([0, 1, 4, -1, 2, 0]), np.arange(1, 6, dtype="float32")
    gradient, value = loss(probs, tags, weights)
    asarray = StrictOps().asarray
    on_device, device_value = loss(*map(asarray, (probs, tags, weights)))
    assert isinstance(device_value, float) and device_value == pytest.approx(value)
    np.testing.assert_allclose(on_device.get(), gradient, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_loss(temperature, strict_device):
    rng = np.random.default_rng(0)
    probs, targets = rng.dirichlet(np.ones(5), size=(2, 6)).astype("float32")
    loss = DistillationLoss(temperature=temperature)
    gradient, value = loss(probs, targets)
    on_device, device_value = loss(*map(StrictOps().asarray, (probs, targets)))
    assert isinstance(device_value, float) and device_value == pytest.approx(value)
    np.testing.assert_allclose(on_device.get(), gradient, rtol=1e-6)


def test_masked_classes(strict_device):
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), size=6).astype("float32")
    masked = np.zeros((6, 5), dtype=bool)
    masked[::2, 3:] = True
    gradient = rng.normal(size=(6, 5)).astype("float32")
    host = MaskedClasses(probs, masked)
    asarray = StrictOps().asarray
    device = MaskedClasses(asarray(probs), asarray(masked))
    np.testing.assert_array_equal(device.merged.get(), host.merged)
    unmerged = device.unmerge(asarray(gradient))
    np.testing.assert_array_equal(unmerged.get(), host.unmerge(gradient))


@pytest.mark.parametrize("annotation", ["gold", "soft", "partial"])
def test_loss_and_gradient_of_a_batch(annotation, strict_device):
    nlp, on_device = initialized(strict_device, annotation, distillation=SOFT)
    results = []
    for pipeline in (nlp, on_device):
        examples = make_batch(pipeline, annotation)
        pipe = pipeline.get_pipe("welt_ner")
        scores, _ = pipe.model.begin_update([eg.predicted for eg in examples])
        value, gradients = pipe.get_loss(examples, scores)
        results.append((value, np.concatenate([*map(to_host, gradients)])))
    (value, gradient), (device_value, device_gradient) = results
    assert isinstance(device_value, float)
    assert device_value == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(device_gradient, gradient, atol=1e-6)


@pytest.mark.parametrize("annotation", ["gold", "soft", "partial"])
def test_training(annotation, strict_device):
    losses = []
    for pipeline in initialized(strict_device, annotation, distillation=SOFT):
        losses.append(train_steps(pipeline, make_batch(pipeline, annotation)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.parametrize("tok2vec", [SUBWORDS, LEXICON])
def test_embeddings(tok2vec, strict_device):
    nlp = make_nlp(model={"tok2vec": tok2vec})
    examples = make_examples(nlp)
    for eg in examples:
        eg.predicted.spans["lexicon"] = [
            eg.predicted[ent.start : ent.end] for ent in eg.reference.ents
        ]
    nlp.initialize(lambda: examples)
    strict_device(nlp)
    first = train_steps(nlp, examples, steps=1)
    assert train_steps(nlp, examples, steps=30) < first


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decoder": "greedy", "logit_adjustment": 1.0},
        {"o_bias": -2.0, "overwrite": True},
        {"calibration": {"temperature": 1.5, "shift": 0.1}, "threshold": 0.3},
        {"label_propagation": {"min_count": 1, "min_confidence": 0.3, "weight": 0.5}},
    ],
)
def test_prediction_and_decoding(settings, trained):
    pipe = trained.get_pipe("welt_ner")
    for name, value in settings.items():
        setattr(pipe, name, value)
    docs = list(trained.pipe([TEXT, "", TEXT]))
    assert ents(docs[0]) == ents(docs[2]) and ("Selegiline", "Chemical") in ents(
        docs[0]
    )
    for ent, score in zip(docs[0].ents, docs[0].spans["welt_ner"].attrs["scores"]):
        assert isinstance(ent._.confidence, float)
        assert ent._.confidence == pytest.approx(float(score))


def test_probabilities_of_a_pipeline_are_on_the_host(trained):
    docs = [trained.make_doc(text) for text, _ in TRAIN_DATA]
    _, probs = predict_tags(trained, trained.get_pipe("welt_ner"), docs)
    assert isinstance(probs, np.ndarray)
    assert probs.shape == (sum(map(len, docs)), 5)


def test_scores(trained):
    assert trained.evaluate(make_examples(trained))["ents_f"] == 1.0


def test_evaluation(trained):
    examples = make_examples(trained)
    evaluate(trained, examples)
    assert [ents(eg.predicted) for eg in examples] == [
        ents(eg.reference) for eg in examples
    ]


def test_evaluation_with_a_curve(trained):
    examples = make_examples(trained)
    results = evaluate_docs(trained, examples, with_curve=True)
    assert results.evaluation.strict.f == 1.0 and len(results.curve) == 33
    assert results.evaluation.calibration.bins


def test_tuning(trained):
    dev = make_batch(trained, "partial") * 10
    results = tune_pipeline(trained, dev, TuningOptions(STEPS))
    assert results.decoding.best.f == results.threshold.best.f == 1.0


def test_rehearsal(trained):
    trained.resume_training()
    examples = make_examples(trained)
    losses = trained.rehearse(examples, sgd=AdamW(0.01))
    assert isinstance(losses["welt_ner"], float) and losses["welt_ner"] > 0


def test_missing_annotation(trained):
    words = ["aspirin", "for", "pain"]
    reference = spacy.tokens.Doc(
        trained.vocab, words=words, ents=["B-Chemical", "", "O"]
    )
    example = Example(spacy.tokens.Doc(trained.vocab, words=words), reference)
    pipe = trained.get_pipe("welt_ner")
    scores, _ = pipe.model.begin_update([example.predicted])
    _, (gradient,) = pipe.get_loss([example], scores)
    assert not gradient.get()[1].any() and gradient.get()[0].any()


def test_saving_and_loading(trained, tmp_path):
    trained.to_disk(tmp_path)
    assert ents(spacy.load(tmp_path)(TEXT)) == ents(trained(TEXT))
