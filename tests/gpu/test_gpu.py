"""Tests that need a GPU. `make gpu-check` runs these first; elsewhere they are deselected
(`-m "not gpu"` is the default)."""

import subprocess
import sys

import numpy as np
import pytest
import spacy
from thinc.api import NumpyOps, prefer_gpu, require_cpu, set_gpu_allocator

from welt_spacy.ml.losses import WeightedCrossEntropy, WeightedFocalLoss

from ..factories import ents, make_examples, make_nlp, make_tiny_bert, train

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def gpu():
    """Run everything in this file on a GPU, and nothing after it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("cupy")
    set_gpu_allocator("pytorch")
    assert prefer_gpu(), "there is no GPU that Thinc can use"
    yield torch
    require_cpu()


def transformer_settings(folder, **settings):
    bert = make_tiny_bert(folder / "bert", 64)
    tok2vec = {"@architectures": "welt_spacy.TransformerEncoder.v1", "name": str(bert)}
    return {"model": {"tok2vec": {**tok2vec, **settings}}, "spans_key": "welt_ner"}


SUBWORDS = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {"@architectures": "welt_spacy.SubwordEmbed.v1", "width": 32},
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        **{"width": 32, "depth": 1, "window_size": 1, "maxout_pieces": 2},
    },
}


@pytest.fixture(params=["cnn", "subwords", "bert", "bert, bfloat16"])
def settings(request, tmp_path):
    if request.param == "cnn":
        return {"spans_key": "welt_ner"}
    if request.param == "subwords":
        return {"spans_key": "welt_ner", "model": {"tok2vec": SUBWORDS}}
    return transformer_settings(tmp_path, mixed_precision="bfloat16" in request.param)


def learn(settings, steps=60):
    nlp = make_nlp(**settings)
    examples = make_examples(nlp)
    losses = train(nlp, examples, steps=steps, learn_rate=0.003)
    return nlp, examples, losses["welt_ner"]


@pytest.mark.parametrize("loss_type", [WeightedCrossEntropy, WeightedFocalLoss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_those_of_the_cpu(loss_type, reduction):
    import cupy

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(500, 7)).astype("float32")
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truths = rng.integers(-1, 7, size=500).astype("int32")
    weights = rng.random(7).astype("float32")
    loss = loss_type(reduction=reduction)
    d_cpu, value_cpu = loss(probs, truths, weights)
    d_gpu, value = loss(*map(cupy.asarray, (probs, truths, weights)))
    assert isinstance(d_gpu, cupy.ndarray) and value == pytest.approx(
        value_cpu, rel=1e-4
    )
    np.testing.assert_allclose(cupy.asnumpy(d_gpu), d_cpu, rtol=1e-3, atol=1e-6)


def test_it_learns_and_its_pipeline_runs_on_the_cpu(settings, tmp_path):
    nlp, examples, loss = learn(settings)
    expected = [ents(eg.reference) for eg in examples]
    texts = [eg.reference.text for eg in examples]
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected
    scores = [doc.spans["welt_ner"].attrs["scores"] for doc in nlp.pipe(texts)]
    nlp.to_disk(tmp_path / "model")
    require_cpu()
    loaded = spacy.load(tmp_path / "model")
    assert isinstance(loaded.get_pipe("welt_ner").model.ops, NumpyOps)
    docs = list(loaded.pipe(texts))
    assert [ents(doc) for doc in docs] == expected
    bfloat16 = "mixed_precision" in str(settings) and "True" in str(settings)
    for doc, wanted in zip(docs, scores):
        cpu_scores = doc.spans["welt_ner"].attrs["scores"]
        np.testing.assert_allclose(cpu_scores, wanted, atol=0.1 if bfloat16 else 1e-3)


def test_a_gradient_is_that_of_the_cpu(tmp_path):
    """Compare one step of the same pipeline, with a dropout of 0."""
    settings = transformer_settings(tmp_path)
    values = []
    for on_gpu in (True, False):
        prefer_gpu() if on_gpu else require_cpu()
        spacy.util.fix_random_seed(0)
        nlp, _, loss = learn(settings, steps=1)
        values.append(loss)
    assert values[0] == pytest.approx(values[1], rel=0.2)


def test_adamw_steps_on_the_gpu(tmp_path, gpu):
    from welt_spacy.ml.adamw import make_adamw

    nlp = make_nlp(**transformer_settings(tmp_path))
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    encoder = nlp.get_pipe("welt_ner").model.get_ref("tok2vec").shims[0]
    before = [p.detach().clone() for p in encoder._model.parameters()]
    optimizer = make_adamw(0.01)
    nlp.update(examples, sgd=optimizer)
    (state,) = optimizer.torch_states.values()
    moved = [not gpu.equal(a, b) for a, b in zip(before, encoder._model.parameters())]
    assert all(p.is_cuda for p in encoder._model.parameters()) and any(moved)
    assert all(m["exp_avg"].is_cuda for m in state.state.values())


def test_large_batches_are_recomputed_with_the_same_dropout(tmp_path, gpu):
    """Compare the gradients for two values of `max_stored_pieces`."""
    gradients = []
    for max_stored_pieces in (0, 16384):
        settings = transformer_settings(
            tmp_path / str(max_stored_pieces),
            max_stored_pieces=max_stored_pieces,
            max_batch_pieces=64,
        )
        spacy.util.fix_random_seed(0)
        nlp = make_nlp(**settings)
        examples = make_examples(nlp)
        nlp.initialize(lambda examples=examples: examples)
        model = nlp.get_pipe("welt_ner").model
        gpu.manual_seed(0)
        scores, backprop = model.begin_update([eg.predicted for eg in examples])
        backprop([array - 1.0 / array.shape[1] for array in scores])
        encoder = model.get_ref("tok2vec").shims[0].encoder
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
    for one, other in zip(*gradients):
        assert gpu.allclose(one, other, atol=1e-5)


def test_many_threads(settings):
    from concurrent.futures import ThreadPoolExecutor

    nlp, examples, _ = learn(settings, steps=20)
    texts = [eg.reference.text for eg in examples] * 10
    wanted = [ents(nlp(text)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: ents(nlp(text)), texts)) == wanted


def test_processes_are_spawned(tmp_path, settings):
    """Spawn workers, because a GPU does not survive a fork (see spaCy's docs)."""
    nlp, examples, _ = learn(settings)
    nlp.to_disk(tmp_path / "model")
    code = (
        "import multiprocessing, spacy, sys\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    spacy.require_gpu()\n"
        "    nlp = spacy.load(sys.argv[1])\n"
        "    texts = ['Aspirin and N-acetylcysteine were given.'] * 20\n"
        "    docs = list(nlp.pipe(texts, n_process=2, batch_size=5))\n"
        "    assert [len(doc.ents) for doc in docs] == [2] * 20\n"
    )
    (tmp_path / "use.py").write_text(code)
    command = [sys.executable, str(tmp_path / "use.py"), str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_commands_use_the_gpu(tmp_path, settings):
    from spacy.tokens import DocBin

    nlp, examples, _ = learn(settings)
    nlp.to_disk(tmp_path / "model")
    DocBin(docs=[eg.reference for eg in examples]).to_disk(tmp_path / "dev.spacy")
    for command in (
        ["evaluate", "model", "dev.spacy"],
        ["tune", "decoding", "model", "dev.spacy"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "spacy", "welt", *command, "--gpu-id", "0"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
