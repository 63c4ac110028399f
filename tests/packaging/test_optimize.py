"""Optimized encoders and pipelines, compared with the originals."""

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
    fails_with_one_line,
    make_examples,
    make_nlp,
    run_command,
    train,
)
from ..factories.encoders import make_docs, make_model

pytest.importorskip("onnxruntime", reason="needs welt-spacy[onnx]")
pytest.importorskip("onnx")

# Format -> maximum root mean square difference of vectors
FORMATS = {"onnx": 1e-4, "int8": 0.1, "bf16": 0.1}
TEXT = "Aspirin and N-acetylcysteine were given."


# Encoders


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("encoder_format", FORMATS)
@pytest.mark.parametrize("kind", ENCODER_KINDS)
def test_vectors_are_similar(encoders, kind, encoder_format, pooling):
    model = make_model(encoders[kind], max_batch_pieces=40, pooling=pooling)
    docs = make_docs()
    before = model.predict(docs)
    optimized = optimize_encoder(model, encoder_format)
    after = optimized.predict(docs)
    for a, b in zip(before, after):
        assert a.shape == b.shape and b.dtype == "float32"
        if a.size:
            assert np.sqrt(np.mean((a - b) ** 2)) < FORMATS[encoder_format]
    assert optimized.get_dim("nO") == model.get_dim("nO")
    # The same batches: int8 rounds activations by their range in a batch
    if encoder_format == "bf16":
        loaded = build_transformer_encoder("no/such-encoder", max_batch_pieces=40)
        loaded.shims[0].cfg["pooling"] = pooling
    else:
        loaded = build_onnx_encoder(max_batch_pieces=40, pooling=pooling)
    loaded.from_bytes(optimized.to_bytes())
    pickled = pickle.loads(pickle.dumps(optimized))
    for copy in (loaded, optimized.copy(), pickled):
        for a, b in zip(after, copy.predict(docs)):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_unknown_formats_are_refused(encoders):
    with pytest.raises(WeltError, match="'fp4'"):
        optimize_encoder(make_model(encoders["bert"]), "fp4")


@pytest.mark.parametrize("encoder_format", FORMATS)
def test_optimized_encoders_are_not_trained(encoders, encoder_format):
    optimized = optimize_encoder(make_model(encoders["bert"]), encoder_format)
    with pytest.raises(WeltError, match="can't be trained"):
        optimized.begin_update(make_docs())


def test_encoders_are_optimized_once(encoders):
    model = optimize_encoder(make_model(encoders["bert"]), "bf16")
    with pytest.raises(WeltError, match="optimized already"):
        optimize_encoder(model, "int8")


def test_pipelines_without_an_encoder_are_refused():
    with pytest.raises(WeltError, match="nothing to optimize"):
        optimize_pipeline(make_nlp(), "int8")


def test_onnx_encoders_are_not_initialized():
    with pytest.raises(WeltError, match="made by 'spacy welt optimize'"):
        build_onnx_encoder().initialize()


def test_onnx_encoders_accept_empty_documents():
    (vectors,) = build_onnx_encoder().predict(make_docs([""]))
    assert vectors.shape == (0, 0)


# Pipelines


@pytest.fixture(scope="module")
def trained(tmp_path_factory, encoders):
    """Return a folder with a trained pipeline and its training data."""
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


@pytest.fixture(scope="module", params=FORMATS)
def optimized(trained, tmp_path_factory, request):
    """Return the folder of an optimized pipeline and the result of `optimize`."""
    output = tmp_path_factory.mktemp("optimized") / request.param
    result = optimize(
        trained / "model", output, request.param, trained / "dev.spacy", force=True
    )
    return output, result


def test_the_entities_are_the_same(trained, optimized):
    output, result = optimized
    assert result.before.ents_f > 0.9 and abs(result.loss) <= 0.5
    original, nlp = spacy.load(trained / "model"), spacy.load(output)
    assert ents(original(TEXT)) == ents(nlp(TEXT)) != []
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_the_meta_has_scores_and_requirements(optimized):
    output, result = optimized
    meta = spacy.load(output).meta
    assert meta["optimized"]["format"] == result.encoder_format == output.name
    assert meta["performance"]["ents_f"] == result.after.ents_f
    extra = "transformers" if output.name == "bf16" else "onnxruntime"
    assert meta["requirements"] == [f"welt-spacy[{extra}]>=0.1.0,<0.2.0"]


def test_several_processes_predict_the_same(optimized):
    nlp = spacy.load(optimized[0])
    texts = [TEXT, "No patient had nausea."] * 8
    parallel = [ents(doc) for doc in nlp.pipe(texts, n_process=2, batch_size=4)]
    assert parallel == [ents(doc) for doc in nlp.pipe(texts)]


@pytest.mark.parametrize("where", ["welt_ner", "tok2vec"])
def test_int8_runs_without_torch_and_transformers(trained, where, tmp_path):
    """Place the encoder in the component, and in a tok2vec that it listens to."""
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
print([(ent.text, ent.label_) for ent in nlp({TEXT!r}).ents])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf8"
    )
    assert done.returncode == 0, done.stderr
    expected = ents(nlp(TEXT))
    assert done.stdout.strip() == str(expected) and expected


# The command


@pytest.fixture
def set_speeds(monkeypatch):
    """Return a function that sets the speedups to be measured, in order."""

    def set_speeds(*speedups):
        remaining = list(speedups)
        monkeypatch.setattr(
            "welt_spacy.packaging.optimize.measure_speeds",
            lambda pipelines, examples: [1000.0, 1000.0 * remaining.pop(0)],
        )

    return set_speeds


@pytest.fixture
def run_optimize(trained, tmp_path):
    """Return a function that runs the command with `tmp_path / "out"` as output."""

    def run_optimize(*options):
        return run_command(
            *("optimize", trained / "model", tmp_path / "out"),
            *("--dev", trained / "dev.spacy", *options),
        )

    return run_optimize


def get_format(output):
    return spacy.load(output).meta["optimized"]["format"]


def test_slower_pipelines_are_refused(run_optimize, tmp_path, set_speeds):
    set_speeds(0.5)
    result = run_optimize("--format", "bf16")
    assert result.exit_code == 1 and "bf16 is slower on this machine" in result.stderr
    assert "500 words/s, not 1,000" in result.stderr
    assert not (tmp_path / "out").exists()


def test_slower_pipelines_can_be_forced(run_optimize, tmp_path, set_speeds):
    set_speeds(0.5)
    assert run_optimize("--format", "bf16", "--force").exit_code == 0
    assert spacy.load(tmp_path / "out").meta["optimized"]["times_as_fast"] == 0.5


def test_auto_chooses_the_fastest_format(run_optimize, tmp_path, set_speeds):
    set_speeds(1.5, 3.0, 0.3)  # onnx, int8, bf16
    result = run_optimize("--format", "auto")
    assert result.exit_code == 0, result.stderr
    for part in ("int8, 3.00 times", "onnx: 1.50 times", "bf16: is slower"):
        assert part in result.stdout
    assert get_format(tmp_path / "out") == "int8"


def test_auto_refuses_if_all_formats_are_slower(run_optimize, tmp_path, set_speeds):
    set_speeds(2.0)
    assert run_optimize().exit_code == 0
    set_speeds(0.9, 0.9, 0.9)
    result = run_optimize("--format", "auto", "--force")
    assert result.exit_code == 1 and result.stderr.count("is slower") == 3
    assert get_format(tmp_path / "out") == "int8"


def test_the_command_prints_scores_and_speed(run_optimize, set_speeds):
    set_speeds(2.0)
    result = run_optimize()
    assert result.exit_code == 0, result.stderr
    assert "words/s" in result.stdout and "times as fast" in result.stdout


def test_an_output_that_is_up_to_date_is_not_measured(run_optimize, set_speeds):
    set_speeds(2.0)
    first = run_optimize()
    again = run_optimize()
    assert again.exit_code == 0, again.stderr
    assert "up to date: int8, 2.00 times" in again.stdout
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]


@pytest.mark.parametrize("change", ["format", "dev", "model", "damage"])
def test_other_outputs_are_replaced_by_force_only(
    trained, tmp_path, run_optimize, set_speeds, change
):
    set_speeds(2.0, 2.0)
    assert run_optimize().exit_code == 0
    options = []
    if change == "format":
        options = ["--format", "bf16"]
    elif change == "dev":
        docs = [eg.reference for eg in make_examples(make_nlp())[:3]]
        DocBin(docs=docs).to_disk(tmp_path / "other.spacy")
        options = ["--dev", tmp_path / "other.spacy"]
    elif change == "model":
        record = tmp_path / "out" / "welt.json"
        record.write_text(record.read_text().replace('"model": "', '"model": "0'))
    else:
        path = tmp_path / "out" / "config.cfg"
        path.write_text(path.read_text() + "\n")
    fails_with_one_line(run_optimize(*options), "--force")
    assert run_optimize(*options, "--force").exit_code == 0
    assert get_format(tmp_path / "out") == ("bf16" if change == "format" else "int8")


@pytest.mark.parametrize(
    "options, part",
    [
        (["--max-loss", "-1"], "int8 loses 0.00 points"),
        (["--format", "fp4"], "'fp4'"),
        (["--dev", "none.spacy"], "none.spacy is not a file"),
        (["--dev", "empty.spacy"], "no documents"),
    ],
)
def test_nothing_is_written_if_it_is_refused(
    run_optimize, tmp_path, monkeypatch, options, part
):
    monkeypatch.chdir(tmp_path)
    DocBin().to_disk(tmp_path / "empty.spacy")
    before = sorted(tmp_path.iterdir())
    fails_with_one_line(run_optimize(*options), part)
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_model_is_one_line(trained, tmp_path):
    result = run_command(
        "optimize", tmp_path / "nothing", "--dev", trained / "dev.spacy"
    )
    fails_with_one_line(result, "nothing")


def test_missing_dev_data_are_one_line(tmp_path):
    make_nlp().to_disk(tmp_path / "untrained")
    fails_with_one_line(run_command("optimize", tmp_path / "untrained"), "--dev")
