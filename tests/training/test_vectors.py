"""Static vectors of word pieces, computed in NumPy and with torch."""

import shutil

import numpy as np
import pytest
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.ml.piece_vectors import read_vectors
from welt_spacy.training.vectors import (
    load_numpy_encoder,
    load_torch_encoder,
    make_vectors,
)

from ..factories import fails_with_one_line, make_tiny_bert, run_command

pytest.importorskip("torch")
pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("vectors") / "bert", 64)


def test_numpy_and_torch_compute_the_same_outputs(bert):
    a, b = load_numpy_encoder(bert), load_torch_encoder(str(bert))
    assert (a.prefix, a.suffix) == (b.prefix, b.suffix)
    np.testing.assert_array_equal(a.embeddings, b.embeddings)
    rng = np.random.default_rng(0)
    for shape in ((5, 3), (1, 9)):
        ids = rng.integers(0, len(a.embeddings), size=shape)
        np.testing.assert_allclose(a.run(ids), b.run(ids), atol=1e-5)


def test_numpy_and_torch_give_the_same_vectors(bert, monkeypatch):
    a = make_vectors(str(bert), width=8).array
    name = "welt_spacy.training.vectors.is_numpy_bert"
    monkeypatch.setattr(name, lambda folder: False)
    b = make_vectors(str(bert), width=8).array
    # The sign of a component is not determined
    np.testing.assert_allclose(np.abs(a), np.abs(b), atol=0.02)


def test_outputs_and_embeddings_have_the_same_scale(bert):
    vectors = make_vectors(str(bert), width=8).array
    assert vectors.shape == (len(vectors), 16)
    for half in (vectors[:, :8], vectors[:, 8:]):
        assert half.astype("float32").std() == pytest.approx(1, abs=0.01)


def test_progress_is_reported(bert):
    reports = []
    vectors = make_vectors(
        str(bert), width=8, report=lambda done, n: reports.append((done, n))
    )
    assert reports[-1] == (len(vectors.array), len(vectors.array))


def test_distances_of_vectors_are_those_of_outputs(bert):
    # With as many components as there are, nothing is lost but the scale
    vectors = make_vectors(str(bert), width=32)
    encoder = load_numpy_encoder(bert)
    ids = np.array([[*encoder.prefix, i, *encoder.suffix] for i in (7, 8, 30)])
    outputs = encoder.run(ids)[:, len(encoder.prefix)]
    rows = vectors.array[[7, 8, 30], :32].astype("float32")

    def ratio(points):
        a, b = (np.linalg.norm(points[0] - points[i]) for i in (1, 2))
        return a / b

    assert ratio(rows) == pytest.approx(ratio(outputs), rel=0.01)


def test_command(bert, tmp_path):
    output = tmp_path / "x.vectors"
    result = run_command("vectors", bert, output, "--width", 8)
    assert result.exit_code == 0 and "16 wide" in result.stdout, result.output
    assert read_vectors(output).array.shape[1] == 16
    assert srsly.msgpack_loads(output.read_bytes())["about"]


def test_mistakes(bert, tmp_path):
    output, file = tmp_path / "y", tmp_path / "file"
    file.write_bytes(b"")
    fails_with_one_line(
        run_command("vectors", bert, output, "--width", 999), "is 32 wide"
    )
    fails_with_one_line(
        run_command("vectors", tmp_path / "none", output), "Can't load the encoder"
    )
    fails_with_one_line(
        run_command("vectors", bert, file / "y", "--width", 8), "can't write"
    )
    assert not output.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_encoder(bert, tmp_path, name):
    copy = shutil.copytree(bert, tmp_path / "bert")
    (copy / name).write_bytes(b"x")
    with pytest.raises(WeltError, match="can't read this"):
        make_vectors(str(copy), width=8)
