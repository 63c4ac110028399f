"""Static vectors of word pieces, made from a pre-trained encoder.

Each piece of the encoder's vocabulary is run alone through the encoder. Its output and its
input embedding are each reduced by principal components and scaled, and stand side by
side. (Model2Vec reduces outputs alone: van Dongen and Tulkens 2024.)
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError, check_number, extra_needed, first_line
from ..ml.piece_vectors import PieceVectors

Floats = NDArray[np.float32]
# Pieces that go through the encoder at once
CHUNK = 1024


def make_vectors(
    encoder: str,
    *,
    width: int = 128,
    report: Callable[[int, int], None] = lambda i, n: None,
) -> PieceVectors:
    """Make static vectors from an encoder.

    encoder (str): A local folder, or a name on the model hub. Folders with BERT in
        safetensors need neither torch nor transformers.
    width (int): Components of the outputs, and as many of the input embeddings.
    report (Callable[[int, int], None]): Is told how many of how many pieces are done.
    RETURNS (PieceVectors): The vectors, 2 x width wide.
    RAISES (WeltError): If the encoder can't be loaded, or the width is above its own.
    """
    check_number("width", width, low=1)
    folder = Path(encoder)
    if _is_plain_bert(folder):
        tokenizer, special, embeddings, run = _load_numpy(folder)
    else:
        tokenizer, special, embeddings, run = _load_torch(encoder)
    n, hidden = embeddings.shape
    if width > hidden:
        raise WeltError(
            f"width is {width}: {encoder} is {hidden} wide, so use at most that"
        )
    outputs: Floats = np.zeros((n, hidden), dtype="float32")
    before, after = special
    for start in range(0, n, CHUNK):
        pieces = np.arange(start, min(start + CHUNK, n))
        ids = np.concatenate(
            [
                np.tile(before, (len(pieces), 1)),
                pieces[:, None],
                np.tile(after, (len(pieces), 1)),
            ],
            axis=1,
        ).astype("int64")
        outputs[pieces] = run(ids)[:, len(before)]
        report(int(pieces[-1]) + 1, n)
    table = np.concatenate(
        [_reduce(outputs, width), _reduce(embeddings, width)], axis=1
    )
    return PieceVectors(table.astype("float16"), tokenizer)


def _reduce(values: Floats, width: int) -> Floats:
    """Principal components, scaled to a standard deviation of 1 over all of them."""
    centred = values - values.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype("float64") @ centred)
    found = centred @ axes[:, ::-1][:, :width].astype("float32")
    return found / max(float(found.std()), 1e-12)


_Loaded = tuple[str, tuple[Any, Any], Floats, Callable[[NDArray[np.int64]], Floats]]


def _is_plain_bert(folder: Path) -> bool:
    names = ("config.json", "model.safetensors", "tokenizer.json")
    if not all((folder / name).is_file() for name in names):
        return False
    config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


def _load_numpy(folder: Path) -> _Loaded:
    with extra_needed("spacy welt vectors", "vectors"):
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
    config = json.loads((folder / "config.json").read_text(encoding="utf8"))
    try:
        weights = {
            name.removeprefix("bert."): array.astype("float32")
            for name, array in load_file(folder / "model.safetensors").items()
        }
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as err:  # both have exceptions of their own
        raise WeltError(
            f"{folder}: can't read this encoder: {first_line(err)}"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    full = tokenizer.encode("a").ids
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    at = full.index(plain[0])
    special = (full[:at], full[at + len(plain) :])
    bert = _Bert(weights, config)
    return tokenizer.to_str(), special, bert.words, bert


class _Bert:
    """The forward pass of BERT in NumPy, for sequences of one length."""

    def __init__(self, weights: dict[str, Floats], config: dict[str, Any]):
        self.weights = weights
        self.words = weights["embeddings.word_embeddings.weight"]
        self.n_heads = int(config["num_attention_heads"])
        self.n_layers = int(config["num_hidden_layers"])
        self.eps = float(config.get("layer_norm_eps", 1e-12))

    def __call__(self, ids: NDArray[np.int64]) -> Floats:
        w = self.weights
        n, length = ids.shape
        x = self.words[ids] + w["embeddings.position_embeddings.weight"][:length]
        x = self._norm(
            x + w["embeddings.token_type_embeddings.weight"][0], "embeddings"
        )
        for i in range(self.n_layers):
            at = f"encoder.layer.{i}"
            q, k, v = (
                self._dense(x, f"{at}.attention.self.{name}")
                .reshape(n, length, self.n_heads, -1)
                .transpose(0, 2, 1, 3)
                for name in ("query", "key", "value")
            )
            scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            seen = (scores / scores.sum(axis=-1, keepdims=True)) @ v
            seen = seen.transpose(0, 2, 1, 3).reshape(n, length, -1)
            attended = self._dense(seen, f"{at}.attention.output.dense")
            x = self._norm(x + attended, f"{at}.attention.output")
            wide = _gelu(self._dense(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._dense(wide, f"{at}.output.dense"), f"{at}.output")
        return x

    def _dense(self, x: Floats, name: str) -> Floats:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        # One large product: of three dimensions NumPy makes a small one for each piece
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


def _load_torch(encoder: str) -> _Loaded:
    with extra_needed("spacy welt vectors, for this encoder,", "transformers"):
        import torch

        from ..ml.encoder.pretrained import load_encoder, load_tokenizer, special_pieces
    tokenizer = load_tokenizer(encoder)
    model = load_encoder(encoder, {}).eval()
    embeddings = model.get_input_embeddings().weight.detach().numpy()

    def run(ids: NDArray[np.int64]) -> Floats:
        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids)).last_hidden_state.numpy()

    told = tokenizer.backend_tokenizer.to_str()
    n = min(len(embeddings), len(tokenizer))
    return told, special_pieces(tokenizer), embeddings[:n], run
