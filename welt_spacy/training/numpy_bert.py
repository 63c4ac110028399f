"""Forward pass of BERT in NumPy, so that static vectors can be made without torch."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError, first_line

Floats = NDArray[np.float32]
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def is_numpy_bert(folder: Path) -> bool:
    """Check whether a folder has an encoder that `NumpyBert` can run."""
    if not all((folder / name).is_file() for name in FILES):
        return False
    config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


class NumpyBert:
    """BERT for prediction, without padding: all sequences of a call have one length.

    folder (Path): A folder with the encoder in safetensors.
    RAISES (WeltError): If the weights can't be read.
    """

    def __init__(self, folder: Path):
        from safetensors.numpy import load_file

        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
        try:
            arrays = load_file(folder / "model.safetensors")
        except Exception as err:  # safetensors has exceptions of its own
            raise WeltError(
                f"{folder}: can't read this encoder: {first_line(err)}"
            ) from None
        self.weights = {
            name.removeprefix("bert."): array.astype("float32")
            for name, array in arrays.items()
        }
        self.word_embeddings = self.weights["embeddings.word_embeddings.weight"]
        self.n_heads = int(config["num_attention_heads"])
        self.n_layers = int(config["num_hidden_layers"])
        self.eps = float(config.get("layer_norm_eps", 1e-12))

    def __call__(self, ids: NDArray[np.int64]) -> Floats:
        """Compute the last hidden states, shape (n, length, hidden), of sequences of word
        pieces, shape (n, length).
        """
        positions = self.weights["embeddings.position_embeddings.weight"]
        token_types = self.weights["embeddings.token_type_embeddings.weight"]
        x = self.word_embeddings[ids] + positions[: ids.shape[1]] + token_types[0]
        x = self._norm(x, "embeddings")
        for i in range(self.n_layers):
            layer = f"encoder.layer.{i}"
            attended = self._attend(x, f"{layer}.attention.self")
            attended = self._dense(attended, f"{layer}.attention.output.dense")
            x = self._norm(x + attended, f"{layer}.attention.output")
            hidden = _gelu(self._dense(x, f"{layer}.intermediate.dense"))
            hidden = self._dense(hidden, f"{layer}.output.dense")
            x = self._norm(x + hidden, f"{layer}.output")
        return x

    def _attend(self, x: Floats, name: str) -> Floats:
        n, length, _ = x.shape
        query, key, value = (
            self._dense(x, f"{name}.{part}")
            .reshape(n, length, self.n_heads, -1)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heads = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        return heads.transpose(0, 2, 1, 3).reshape(n, length, -1)

    def _dense(self, x: Floats, name: str) -> Floats:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        # One large product, because NumPy computes many small ones of three dimensions
        flat = x.reshape(-1, x.shape[-1]) @ weight.T + bias
        return flat.reshape(*x.shape[:-1], -1)

    def _norm(self, x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.eps)
        weight = self.weights[f"{name}.LayerNorm.weight"]
        return centred / scale * weight + self.weights[f"{name}.LayerNorm.bias"]


def _gelu(x: Floats) -> Floats:
    from scipy.special import erf

    return 0.5 * x * (1.0 + erf(x / np.sqrt(2.0))).astype("float32")
