"""Static vectors of word pieces: a word's vector is the mean over its pieces, so that no
word is unknown.
"""

from collections.abc import Callable
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
    """Build a layer that looks up static vectors of word pieces, followed by a trained
    linear layer.

    Registered as `welt_spacy.PieceVectors.v1`, for `vectors` of
    `welt_spacy.SubwordEmbed.v1`. The table is read when the pipeline is initialized and
    saved with it; nothing is trained in it.

    path (str | None): The file, made by `spacy welt vectors`; None: no vectors.
    width (int): The width of the output.
    RETURNS (Model[Words, Floats2d] | None): (n_words, width) float32; None without a
        path.
    RAISES (WeltError): If the width is not above 0, or tokenizers is missing.
    """
    check_number("width", width, low=1)
    if path is None:
        return None
    with extra_needed("welt_spacy.PieceVectors.v1", "vectors"):
        import tokenizers  # noqa: F401  # now rather than in the middle of a training
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
    """A static table and the tokenizer of its pieces. It can be called from many threads.

    table (ndarray | None): Shape (n_pieces, width), float16; none yet if not set.
    tokenizer (str): The tokenizer, as JSON of the tokenizers library.
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
        """Get the vectors of words.

        orths (ndarray): Shape (n,), uint64: their ids.
        strings (StringStore): What they are ids of.
        RETURNS (ndarray): Shape (n, width), float32: the mean over the pieces of each
            word; 0 for white space, which has none.
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


def write_vectors(vectors: PieceVectors, about: dict[str, Any]) -> bytes:
    """Write a table as bytes, for a file.

    vectors (PieceVectors): The table.
    about (dict[str, Any]): Where it comes from.
    RETURNS (bytes): The file's content.
    """
    content = {"table": vectors.array, "tokenizer": vectors.tokenizer, "about": about}
    return srsly.msgpack_dumps(content)


def read_vectors(path: Path) -> PieceVectors:
    """Read a table that `spacy welt vectors` has written.

    path (Path): The file.
    RETURNS (PieceVectors): The table.
    RAISES (WeltError): If there is none, or it is damaged.
    """
    try:
        content = srsly.msgpack_loads(Path(path).read_bytes())
        table = np.asarray(content["table"], dtype="float16")
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ValueError("the table is not of two dimensions, or not finite")
        return PieceVectors(table, content["tokenizer"])
    except OSError as err:
        raise WeltError(
            f"{path}: can't read these vectors: {err.strerror}. 'spacy welt vectors' "
            "makes them"
        ) from None
    except WeltError:
        raise
    except Exception as err:
        # msgpack's, NumPy's and the exceptions of tokenizers, which are plain ones
        raise WeltError(
            f"{path} is not a file of vectors ({first_line(err)}): make one with 'spacy "
            "welt vectors'"
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
        raise WeltError("PieceVectors has no table: initialize the pipeline first")
    found = vectors(words.orths, words.strings)
    return model.ops.asarray2f(found), lambda d_vectors: None


@serialize_attr.register(PieceVectors)
def _serialize(_: Any, value: PieceVectors, name: str, model: Model) -> bytes:
    return write_vectors(value, {})


@deserialize_attr.register(PieceVectors)
def _deserialize(_: Any, value: bytes, name: str, model: Model) -> PieceVectors:
    content = srsly.msgpack_loads(value)
    return PieceVectors(content["table"], content["tokenizer"])
