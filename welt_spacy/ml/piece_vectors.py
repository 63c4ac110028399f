"""Static vectors of word pieces. The vector of a word is the mean over its pieces, so no word
is unknown.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import srsly
from numpy.typing import NDArray
from thinc.api import Linear, Model, chain
from thinc.model import deserialize_attr, serialize_attr
from thinc.types import Floats2d

from ..errors import WeltError, check_number, extra_needed, first_line
from ..util.arrays import starts_of
from .lexeme_table import PieceTable
from .subword_embed import Words
from .word_pieces import read_tokenizer, tokenize_words


def build_piece_vectors(
    path: str | None, *, width: int = 96
) -> Model[Words, Floats2d] | None:
    """Build the layer `welt_spacy.PieceVectors.v1`: static vectors of word pieces, followed by
    a trained linear layer. Used as `vectors` of `welt_spacy.SubwordEmbed.v1`. The vectors are
    loaded when the pipeline is initialized, saved with it, and not trained.

    path (str | None): The file written by `spacy welt vectors`; None for no vectors.
    width (int): The width of the output.
    RETURNS (Model[Words, Floats2d] | None): A layer with output (n_words, width), float32;
        None without a path.
    RAISES (WeltError): If the width is not above 0, or the package tokenizers is missing.
    """
    check_number("width", width, low=1)
    if path is None:
        return None
    with extra_needed("welt_spacy.PieceVectors.v1", "vectors"):
        import tokenizers  # noqa: F401  # Raise before training starts
    static: Model[Words, Floats2d] = Model(
        "piece_vectors",
        _forward,
        init=_init,
        dims={"nO": None},
        attrs={
            "path": str(path),
            "vectors": PieceVectors(),
            "requires_extras": ["vectors"],
        },
    )
    return chain(static, Linear(nO=width))


class PieceVectors:
    """A table of vectors and the tokenizer of its word pieces, for any number of threads.

    table (ndarray | None): Shape (n_pieces, width), float16; None before loading.
    tokenizer (str): The JSON of the tokenizer.
    """

    def __init__(self, table: NDArray[np.float16] | None = None, tokenizer: str = ""):
        self.array = np.zeros((0, 0), dtype="float16") if table is None else table
        self.tokenizer = tokenizer
        if tokenizer:
            with extra_needed("welt_spacy.PieceVectors.v1", "vectors"):
                self._tokenizer = read_tokenizer(tokenizer)
        self.table = PieceTable(self._tokenize)

    def __getstate__(self) -> dict[str, Any]:
        return {"table": self.array, "tokenizer": self.tokenizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, orths: NDArray[Any], strings: Any) -> NDArray[np.float32]:
        """Return the vectors of word ids of a StringStore, shape (n, width): the mean over
        the pieces of each word, and 0 for white space, which has none.
        """
        flat, lengths = self.table.gather(*self.table.find(orths, strings))
        pieces = self.array[flat].astype("float32")
        sums = np.zeros((len(orths), self.array.shape[1]), dtype="float32")
        known = np.flatnonzero(lengths)
        if len(known):
            firsts = starts_of(lengths[known])[:-1]
            sums[known] = np.add.reduceat(pieces, firsts, axis=0)
            sums[known] /= lengths[known, None]
        return sums

    def _tokenize(self, words: list[str]) -> list[list[int]]:
        return tokenize_words(self._tokenizer, words)


def write_vectors(vectors: PieceVectors, about: Mapping[str, str]) -> bytes:
    """Serialize vectors and a description of their origin."""
    content = {
        "table": vectors.array,
        "tokenizer": vectors.tokenizer,
        "about": dict(about),
    }
    return srsly.msgpack_dumps(content)


def read_vectors(path: Path) -> PieceVectors:
    """Load the vectors that `spacy welt vectors` wrote."""
    try:
        content = srsly.msgpack_loads(Path(path).read_bytes())
        table = np.asarray(content["table"], dtype="float16")
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ValueError("the table must have two dimensions and finite values")
        return PieceVectors(table, content["tokenizer"])
    except OSError as err:
        raise WeltError(
            f"{path}: can't read the vectors: {err.strerror}. Write them with 'spacy welt "
            "vectors'."
        ) from None
    except WeltError:
        raise
    except Exception as err:
        # msgpack, NumPy and tokenizers raise different exceptions
        raise WeltError(
            f"{path} is not a file of vectors: {first_line(err)}. Write one with 'spacy "
            "welt vectors'."
        ) from None


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    if not model.attrs["vectors"].tokenizer:
        model.attrs["vectors"] = read_vectors(Path(model.attrs["path"]))
    model.set_dim("nO", model.attrs["vectors"].array.shape[1], force=True)


def _forward(
    model: Model, words: Words, is_train: bool
) -> tuple[Floats2d, Callable[[Any], Any]]:
    vectors = model.attrs["vectors"]
    if not vectors.tokenizer:
        raise WeltError("PieceVectors: no vectors are loaded. Initialize the pipeline.")
    values: Any = vectors(words.orths, words.strings)
    return model.ops.asarray2f(values), lambda d_vectors: None


@serialize_attr.register(PieceVectors)
def _serialize(_: Any, value: PieceVectors, name: str, model: Model) -> bytes:
    return write_vectors(value, {})


@deserialize_attr.register(PieceVectors)
def _deserialize(_: Any, value: bytes, name: str, model: Model) -> PieceVectors:
    content = srsly.msgpack_loads(value)
    return PieceVectors(content["table"], content["tokenizer"])
