"""Static vectors of word pieces, computed with a pre-trained encoder.

The encoder runs on each word piece of its vocabulary alone. Its output and its input embedding
are each reduced to principal components, scaled, and concatenated. (Model2Vec reduces outputs
alone: van Dongen and Tulkens 2024.)
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import WeltError, check_number, extra_needed, first_line
from ..ml.piece_vectors import PieceVectors
from .numpy_bert import Floats, NumpyBert, is_numpy_bert

# Number of word pieces that go through the encoder at once
BATCH_SIZE = 1024


class PieceEncoder(NamedTuple):
    """A pre-trained encoder.

    tokenizer (str): Its tokenizer, as JSON of the tokenizers library.
    prefix, suffix (list[int]): Word pieces around a sequence.
    embeddings (ndarray): Input embeddings of the n word pieces, shape (n, hidden).
    run (Callable): Function from word pieces, shape (n, length), to last hidden states, shape
        (n, length, hidden).
    """

    tokenizer: str
    prefix: list[int]
    suffix: list[int]
    embeddings: Floats
    run: Callable[[NDArray[np.int64]], Floats]


def make_vectors(
    encoder: str,
    *,
    width: int = 128,
    report: Callable[[int, int], None] = lambda done, n: None,
) -> PieceVectors:
    """Compute static vectors of word pieces.

    encoder (str): The encoder: a local folder, or a name on the model hub. Folders with BERT
        in safetensors need neither torch nor transformers.
    width (int): Number of components of the outputs, and of the input embeddings.
    report (Callable[[int, int], None]): Called with the number of word pieces done so far,
        and the number of all.
    RETURNS (PieceVectors): The vectors, 2 * width wide.
    RAISES (WeltError): If the encoder can't be loaded, or is narrower than the width.
    """
    check_number("width", width, low=1)
    folder = Path(encoder)
    if is_numpy_bert(folder):
        loaded = load_numpy_encoder(folder)
    else:
        loaded = load_torch_encoder(encoder)
    n, hidden = loaded.embeddings.shape
    if width > hidden:
        raise WeltError(
            f"width is {width}: {encoder} is {hidden} wide, so use at most that"
        )
    outputs: Floats = np.zeros((n, hidden), dtype="float32")
    for start in range(0, n, BATCH_SIZE):
        pieces = np.arange(start, min(start + BATCH_SIZE, n))
        ids = np.concatenate(
            [
                np.tile(loaded.prefix, (len(pieces), 1)),
                pieces[:, None],
                np.tile(loaded.suffix, (len(pieces), 1)),
            ],
            axis=1,
        ).astype("int64")
        outputs[pieces] = loaded.run(ids)[:, len(loaded.prefix)]
        report(int(pieces[-1]) + 1, n)
    table = np.concatenate(
        [_reduce(outputs, width), _reduce(loaded.embeddings, width)], axis=1
    )
    return PieceVectors(table.astype("float16"), loaded.tokenizer)


def _reduce(values: Floats, width: int) -> Floats:
    """Compute principal components, scaled to a standard deviation of 1 over all of them."""
    centred = values - values.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype("float64") @ centred)
    components = centred @ axes[:, ::-1][:, :width].astype("float32")
    return components / max(float(components.std()), 1e-12)


def load_numpy_encoder(folder: Path) -> PieceEncoder:
    """Load an encoder that `is_numpy_bert` accepts."""
    with extra_needed("spacy welt vectors", "vectors"):
        import safetensors  # noqa: F401
        from tokenizers import Tokenizer
    bert = NumpyBert(folder)
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as err:  # tokenizers has no class of its own
        raise WeltError(
            f"{folder}: can't read this tokenizer: {first_line(err)}"
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.encode("a").ids
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    start = ids.index(plain[0])
    prefix, suffix = ids[:start], ids[start + len(plain) :]
    return PieceEncoder(tokenizer.to_str(), prefix, suffix, bert.word_embeddings, bert)


def load_torch_encoder(encoder: str) -> PieceEncoder:
    """Load an encoder with transformers: a folder, or a name on the hub."""
    with extra_needed("spacy welt vectors, for this encoder,", "transformers"):
        import torch

        from ..ml.encoder.pretrained import (
            find_special_pieces,
            load_encoder,
            load_tokenizer,
        )
    tokenizer = load_tokenizer(encoder)
    model = load_encoder(encoder, {}).eval()
    embeddings = model.get_input_embeddings().weight.detach().numpy()

    def run(ids: NDArray[np.int64]) -> Floats:
        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids)).last_hidden_state.numpy()

    n = min(len(embeddings), len(tokenizer))
    backend = tokenizer.backend_tokenizer.to_str()
    prefix, suffix = find_special_pieces(tokenizer)
    return PieceEncoder(backend, prefix, suffix, embeddings[:n], run)
