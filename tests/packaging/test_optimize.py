"""Encoders in ONNX Runtime and bfloat16 against the ones they were made from."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin

from welt_spacy.errors import WeltError
from welt_spacy.ml.encoder.convert import optimize_encoder
from welt_spacy.ml.encoder.onnx import build_onnx_encoder
from welt_spacy.ml.encoder.transformer import build_transformer_encoder
from welt_spacy.packaging.optimize import optimize, optimize_pipeline

from ..factories import (
    ENCODER_KINDS,
    ents,
    make_examples,
    make_nlp,
    run_command,
    train,
)
from ..factories.encoders import make_docs, make_model

pytest.importorskip("onnxruntime", reason="needs welt-spacy[onnx]")
pytest.importorskip("onnx")

ALLOWED = {"onnx": 1e-4, "int8": 0.1, "bf16": 0.1}


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("to", ALLOWED)
@pytest.mark.parametrize("kind", ENCODER_KINDS)
def test_vectors_are_about_the_same(encoders, kind, to, pooling):
    model = make_model(encoders[kind], max_batch_pieces=40, pooling=pooling)
    docs = make_docs()
    before = model.predict(docs)
    made = optimize_encoder(model, to)
    after = made.predict(docs)
    for one, other in zip(before, after):
        assert one.shape == other.shape and other.dtype == "float32"
        if one.size:
            assert np.sqrt(np.mean((one - other) ** 2)) < ALLOWED[to]
    assert made.get_dim("nO") == model.get_dim("nO")
    # The same batches: int8 rounds activations by their range in a batch
    if to == "bf16":
        loaded = build_transformer_encoder("no/such-encoder", max_batch_pieces=40)
        loaded.shims[0].cfg["pooling"] = pooling
    else:
        loaded = build_onnx_encoder(max_batch_pieces=40, pooling=pooling)
    loaded.from_bytes(made.to_bytes())
    for same in (loaded, made.copy(), pickle.loads(pickle.dumps(made))):
        for one, other in zip(after, same.predict(docs)):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_impossible_optimizations(encoders):
    model = make_model(encoders["bert"])
    with pytest.raises(WeltError, match="'fp4'"):
        optimize_encoder(model, "fp4")
    made = optimize_encoder(model, "int8")
    with pytest.raises(WeltError, match="can't be trained"):
        made.begin_update(make_docs())
    optimize_encoder(model, "bf16")
    with pytest.raises(WeltError, match="can't be trained"):
        model.begin_update(make_docs())
    with pytest.raises(WeltError, match="optimized already"):
        optimize_encoder(model, "int8")
    with pytest.raises(WeltError, match="nothing to optimize"):
        optimize_pipeline(make_nlp(), "int8")
    with pytest.raises(WeltError, match="made by 'spacy welt optimize'"):
        build_onnx_encoder().initialize()
    (empty,) = build_onnx_encoder().predict(make_docs([""]))
    assert empty.shape == (0, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoders):
    """A folder with a trained pipeline and its training data."""
    folder = tmp_path_factory.mktemp("optimizing")
    tok2vec = {
        "@architectures": "welt_spacy.TransformerEncoder.v1",
        "name": encoders["bert"],
    }
    nlp = make_nlp(model={"tok2vec": tok2vec})
    examples = make_examples(nlp)
    train(nlp, examples, steps=60, learn_rate=0.003)
    nlp.to_disk(folder / "model")
    docs = [eg.reference for eg in examples]
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    return folder


@pytest.mark.parametrize("to", ALLOWED)
def test_pipeline_is_the_same_but_for_its_speed(trained, to, tmp_path):
    output = tmp_path / "made" / to
    found = optimize(trained / "model", output, to, trained / "dev.spacy", force=True)
    assert found.before["ents_f"] > 0.9
    assert abs(found.loss) <= 0.5
    old, new = spacy.load(trained / "model"), spacy.load(output)
    text = "Aspirin and N-acetylcysteine were given."
    assert ents(old(text)) == ents(new(text)) != []
    assert new.meta["optimized"]["to"] == to
    assert new.meta["performance"]["ents_f"] == found.after["ents_f"]
    extra = "transformers" if to == "bf16" else "onnxruntime"
    assert new.meta["requirements"] == [f"welt-spacy[{extra}]>=0.1.0,<0.2.0"]
    texts = [text, "No patient had nausea."] * 8
    parallel = [ents(doc) for doc in new.pipe(texts, n_process=2, batch_size=4)]
    assert parallel == [ents(doc) for doc in new.pipe(texts)]
    assert [path.name for path in output.parent.iterdir()] == [to]


@pytest.mark.parametrize("where", ["welt_ner", "tok2vec"])
def test_it_runs_without_torch_and_transformers(trained, where, tmp_path):
    """With the encoder in the component, or in a tok2vec that it listens to."""
    nlp = spacy.load(trained / "model")
    if where == "tok2vec":
        config = nlp.get_pipe_config("welt_ner")
        encoder = {"model": config["model"]["tok2vec"]}
        listener = {
            "@architectures": "spacy.Tok2VecListener.v1",
            "width": nlp.get_pipe("welt_ner").model.get_ref("tok2vec").get_dim("nO"),
        }
        nlp = make_nlp(model={"tok2vec": listener})
        nlp.add_pipe("tok2vec", config=encoder, first=True)
        train(nlp, make_examples(nlp), steps=60, learn_rate=0.003)
    optimize_pipeline(nlp, "int8")
    nlp.to_disk(tmp_path / "light")
    text = "Aspirin and N-acetylcysteine were given."
    code = f"""
import importlib.metadata, sys
for name in ("torch", "transformers", "onnx", "safetensors"):
    sys.modules[name] = None  # as if it were not installed
# spaCy loads the entry points of all packages, and this one needs torch
load = importlib.metadata.EntryPoint.load
importlib.metadata.EntryPoint.load = lambda self: (
    None if self.value.startswith("spacy_transformers") else load(self)
)
import spacy
nlp = spacy.load({str(tmp_path / "light")!r})
print([(ent.text, ent.label_) for ent in nlp({text!r}).ents])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf8"
    )
    assert done.returncode == 0, done.stderr
    expected = ents(nlp(text))
    assert done.stdout.strip() == str(expected) and expected


def set_speeds(monkeypatch, *ratios):
    """What is measured, in the order in which it is."""
    left = list(ratios)
    monkeypatch.setattr(
        "welt_spacy.packaging.optimize.measure_speeds",
        lambda pipelines, examples: [1000.0, 1000.0 * left.pop(0)],
    )


def test_what_is_slower_is_refused(trained, tmp_path, monkeypatch):
    arguments = (trained / "model", tmp_path / "out", "--dev", trained / "dev.spacy")
    set_speeds(monkeypatch, 0.5, 0.5)
    result = run_command("optimize", *arguments, "--to", "bf16")
    assert result.exit_code == 1 and "bf16 is slower on this machine" in result.stderr
    assert "500 words/s, not 1,000" in result.stderr
    assert not (tmp_path / "out").exists()
    assert run_command("optimize", *arguments, "--to", "bf16", "--force").exit_code == 0
    assert spacy.load(tmp_path / "out").meta["optimized"]["times_as_fast"] == 0.5


def test_the_fastest_is_chosen(trained, tmp_path, monkeypatch):
    arguments = (trained / "model", tmp_path / "out", "--dev", trained / "dev.spacy")
    set_speeds(monkeypatch, 1.5, 3.0, 0.3)  # onnx, int8, bf16
    result = run_command("optimize", *arguments, "--to", "auto")
    assert result.exit_code == 0, result.stderr
    for part in ("int8, 3.00 times", "onnx: 1.50 times", "bf16: is slower"):
        assert part in result.stdout
    assert spacy.load(tmp_path / "out").meta["optimized"]["to"] == "int8"
    set_speeds(monkeypatch, 0.9, 0.9, 0.9)
    result = run_command("optimize", *arguments, "--to", "auto", "--force")
    assert result.exit_code == 1 and result.stderr.count("is slower") == 3
    assert spacy.load(tmp_path / "out").meta["optimized"]["to"] == "int8"


def test_command(trained, tmp_path, monkeypatch):
    output = tmp_path / "small"
    arguments = (trained / "model", output, "--dev", trained / "dev.spacy")
    set_speeds(monkeypatch, 2.0, 2.0)
    result = run_command("optimize", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "words/s" in result.stdout and "times as fast" in result.stdout
    assert spacy.load(output)
    again = run_command("optimize", *arguments)
    assert again.exit_code == 1 and "exists. Use another" in again.stderr
    assert run_command("optimize", *arguments, "--force", "--to", "bf16").exit_code == 0
    assert spacy.load(output).meta["optimized"]["to"] == "bf16"


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--max-loss", "-1"], "int8 loses 0.00 points"),
        (["--to", "fp4"], "'fp4'"),
        (["--dev", "none.spacy"], "none.spacy is not a file"),
        (["--dev", "empty.spacy"], "no documents"),
    ],
)
def test_refused_and_nothing_written(trained, tmp_path, monkeypatch, arguments, part):
    monkeypatch.chdir(tmp_path)
    DocBin().to_disk(tmp_path / "empty.spacy")
    output = tmp_path / "made" / "small"
    if "--dev" not in arguments:
        arguments = [*arguments, "--dev", str(trained / "dev.spacy")]
    result = run_command("optimize", trained / "model", output, *arguments)
    assert result.exit_code == 1
    assert part in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not output.exists()
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_models_that_are_none(trained, tmp_path):
    result = run_command(
        "optimize", tmp_path / "nothing", "--dev", trained / "dev.spacy"
    )
    assert result.exit_code == 1 and "nothing" in result.stderr
    make_nlp().to_disk(tmp_path / "untrained")
    result = run_command("optimize", tmp_path / "untrained")
    assert result.exit_code == 1 and "--dev" in result.stderr
