"""Vectors of word pieces, in NumPy and by torch."""

import numpy as np
import pytest
import srsly

from welt_spacy.errors import WeltError
from welt_spacy.ml.piece_vectors import read_vectors
from welt_spacy.training.vectors import _load_numpy, _load_torch, make_vectors

from ..factories import make_tiny_bert, run_command

pytest.importorskip("torch")
pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("vectors") / "bert", 64)


def test_numpy_computes_what_torch_does(bert):
    one, other = _load_numpy(bert), _load_torch(str(bert))
    assert one[1] == other[1]
    rng = np.random.default_rng(0)
    for shape in ((5, 3), (1, 9)):
        ids = rng.integers(0, len(one[2]), size=shape)
        np.testing.assert_allclose(one[3](ids), other[3](ids), atol=1e-5)
    np.testing.assert_array_equal(one[2], other[2])


def test_both_ways_give_the_same_vectors(bert, monkeypatch):
    told = []
    one = make_vectors(str(bert), width=8, report=lambda *n: told.append(n))
    monkeypatch.setattr(
        "welt_spacy.training.vectors._is_plain_bert", lambda folder: False
    )
    other = make_vectors(str(bert), width=8)
    assert one.array.shape == other.array.shape == (len(one.array), 16)
    # The sign of a component is not determined
    np.testing.assert_allclose(np.abs(one.array), np.abs(other.array), atol=0.02)
    assert told[-1] == (len(one.array), len(one.array))
    for part in (one.array[:, :8], one.array[:, 8:]):
        assert part.astype("float32").std() == pytest.approx(1, abs=0.01)


def test_a_piece_alone_is_what_is_kept(bert):
    """Distances between rows are those between the encoder's own outputs, reduced by as
    many components as there are."""
    vectors = make_vectors(str(bert), width=32)
    _, (before, after), _, run = _load_numpy(bert)
    outputs = run_command(
        "vectors", np.array([[*before, i, *after] for i in (7, 8, 30)])
    )[:, len(before)]
    wanted = np.linalg.norm(outputs[0] - outputs[1]) / np.linalg.norm(
        outputs[0] - outputs[2]
    )
    rows = vectors.array[[7, 8, 30], :32].astype("float32")
    found = np.linalg.norm(rows[0] - rows[1]) / np.linalg.norm(rows[0] - rows[2])
    assert found == pytest.approx(wanted, rel=0.01)


def test_command(bert, tmp_path):
    result = run_command("vectors", bert, tmp_path / "x.vectors", "--width", 8)
    assert result.exit_code == 0 and "16 wide" in result.stdout, result.output
    assert read_vectors(tmp_path / "x.vectors").array.shape[1] == 16
    assert srsly.msgpack_loads((tmp_path / "x.vectors").read_bytes())["about"]
    for arguments, part in (
        ((bert, tmp_path / "y", "--width", 999), "is 32 wide"),
        ((tmp_path / "none", tmp_path / "y"), "Can't load the encoder"),
        ((bert, tmp_path / "x.vectors" / "y", "--width", 8), "can't write"),
    ):
        result = run_command("vectors", *arguments)
        assert result.exit_code == 1 and part in result.stderr, result.output
        assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "y").exists()


def test_a_damaged_encoder(bert, tmp_path):
    import shutil

    copied = shutil.copytree(bert, tmp_path / "bert")
    (copied / "model.safetensors").write_bytes(b"x")
    with pytest.raises(WeltError, match="can't read this encoder"):
        make_vectors(str(copied), width=8)
