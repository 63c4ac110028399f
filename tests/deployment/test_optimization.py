"""Encoders in ONNX Runtime and bfloat16 against the ones they were made from."""

import pickle

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from welt_spacy.architectures.transformer_encoder import build_transformer_encoder
from welt_spacy.cli import app
from welt_spacy.deployment.optimization import optimize, optimize_pipeline
from welt_spacy.errors import WeltError

from ..architectures.test_transformer_encoder import (
    KINDS,
    make_docs,
    make_model,
    make_tiny,
)
from ..util import ents, make_examples, make_nlp, make_tiny_bert, train

pytest.importorskip("onnxruntime", reason="needs welt-spacy[onnx]")
pytest.importorskip("onnx")

ALLOWED = {"onnx": 1e-4, "int8": 0.1, "bf16": 0.1}


@pytest.mark.parametrize("to", ALLOWED)
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_about_the_same(kind, to, tmp_path):
    model = make_model(str(make_tiny(kind, tmp_path / kind)), batch_pieces=40)
    docs = make_docs()
    before = model.predict(docs)
    model.shims[0].optimize(to)
    after = model.predict(docs)
    for one, other in zip(before, after):
        assert one.shape == other.shape and other.dtype == "float32"
        if one.size:
            assert np.sqrt(np.mean((one - other) ** 2)) < ALLOWED[to]
    # The same batches: int8 rounds activations by their range in a batch
    loaded = build_transformer_encoder("no/such-encoder", batch_pieces=40)
    loaded.from_bytes(model.to_bytes())
    for same in (loaded, model.copy(), pickle.loads(pickle.dumps(model))):
        for one, other in zip(after, same.predict(docs)):
            np.testing.assert_allclose(one, other, atol=1e-6)
        assert same.shims[0].optimized == to


def test_what_can_not_be_done_is_told(tmp_path, monkeypatch):
    model = make_model(str(make_tiny_bert(tmp_path / "bert")))
    shim = model.shims[0]
    with pytest.raises(WeltError, match="'fp4'"):
        shim.optimize("fp4")
    shim.optimize("int8")
    with pytest.raises(WeltError, match="optimized already"):
        shim.optimize("bf16")
    with pytest.raises(WeltError, match="can't be trained"):
        model.begin_update(make_docs())
    with pytest.raises(WeltError, match="nothing to optimize"):
        optimize_pipeline(make_nlp(), "int8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a pipeline and what it was trained on."""
    folder = tmp_path_factory.mktemp("optimizing")
    encoder = make_tiny_bert(folder / "bert")
    tok2vec = {
        "@architectures": "welt_spacy.TransformerEncoder.v1",
        "name": str(encoder),
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
    found = optimize(trained / "model", output, to, trained / "dev.spacy")
    assert found.before["ents_f"] > 0.9
    assert abs(found.loss) <= 0.5
    old, new = spacy.load(trained / "model"), spacy.load(output)
    text = "Aspirin and N-acetylcysteine were given."
    assert ents(old(text)) == ents(new(text)) != []
    assert new.meta["optimized"]["to"] == to
    assert new.meta["performance"]["ents_f"] == found.after["ents_f"]
    needs_onnx = "welt-spacy[onnx]>=0.1.0,<0.2.0" in new.meta["requirements"]
    assert needs_onnx == (to != "bf16")
    texts = [text, "No patient had nausea."] * 8
    parallel = [ents(doc) for doc in new.pipe(texts, n_process=2, batch_size=4)]
    assert parallel == [ents(doc) for doc in new.pipe(texts)]
    assert [path.name for path in output.parent.iterdir()] == [to]


def run(*arguments):
    return CliRunner().invoke(app, ["optimize", *map(str, arguments)])


def test_command(trained, tmp_path):
    output = tmp_path / "small"
    arguments = (trained / "model", output, "--dev", trained / "dev.spacy")
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "words/s" in result.stdout and "times as fast" in result.stdout
    assert spacy.load(output)
    again = run(*arguments)
    assert again.exit_code == 1 and "is there already" in again.stderr
    assert run(*arguments, "--force", "--to", "bf16").exit_code == 0
    assert spacy.load(output).meta["optimized"]["to"] == "bf16"


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--max-loss", "-1"], "Refused: int8 loses 0.00 points"),
        (["--to", "fp4"], "'fp4'"),
        (["--dev", "none.spacy"], "none.spacy is not a file"),
        (["--dev", "empty.spacy"], "no docs"),
    ],
)
def test_refused_and_nothing_written(trained, tmp_path, monkeypatch, arguments, part):
    monkeypatch.chdir(tmp_path)
    DocBin().to_disk(tmp_path / "empty.spacy")
    output = tmp_path / "made" / "small"
    if "--dev" not in arguments:
        arguments = [*arguments, "--dev", str(trained / "dev.spacy")]
    result = run(trained / "model", output, *arguments)
    assert result.exit_code == 1
    assert part in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not output.exists()
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_models_that_are_none(trained, tmp_path):
    result = run(tmp_path / "nothing", "--dev", trained / "dev.spacy")
    assert result.exit_code == 1 and "nothing" in result.stderr
    make_nlp().to_disk(tmp_path / "untrained")
    result = run(tmp_path / "untrained")
    assert result.exit_code == 1 and "--dev" in result.stderr
