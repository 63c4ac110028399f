"""An embedding for small models: attributes of words, prefixes and suffixes, and static
vectors of word pieces.

All features depend on the word alone, so they are computed once per different word of a
batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import srsly
from numpy.typing import NDArray
from spacy.attrs import ORTH, intify_attr
from spacy.strings import get_string_id
from spacy.tokens import Doc
from thinc.api import HashEmbed, Maxout, Model, chain, concatenate
from thinc.model import deserialize_attr, serialize_attr
from thinc.types import Floats2d, Ints2d

from ..errors import WeltError, check_number
from .lexeme_table import Arrays, LexemeTable

PREFIXES = (2, 3, 4, 5)
SUFFIXES = (2, 4, 5, 6)
# Prime of the FNV hash, which combines the attributes of a word into one key
_PRIME = np.uint64(1099511628211)


class Words(NamedTuple):
    """The different words of a batch.

    orths (ndarray): Shape (n,), uint64: the ids of the words.
    features (ndarray): Shape (n, n_attrs), uint64: the attributes of the words.
    strings (StringStore): The store of the ids.
    """

    orths: NDArray[np.uint64]
    features: NDArray[np.uint64]
    strings: Any


def build_subword_embed(
    width: int,
    *,
    attrs: Sequence[str] = ("NORM", "PREFIX", "SUFFIX", "SHAPE"),
    rows: Sequence[int] = (5000, 1000, 2500, 2500),
    prefixes: Sequence[int] = PREFIXES,
    suffixes: Sequence[int] = SUFFIXES,
    subword_rows: int = 4000,
    subword_width: int = 48,
    vectors: Model[Words, Floats2d] | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Build the layer `welt_spacy.SubwordEmbed.v1`: an embedding of words, for `embed` of
    `spacy.Tok2Vec.v2`.

    It differs from `spacy.MultiHashEmbed.v2` in three points. Prefixes and suffixes of
    several lengths have their own hashed tables, which help with unseen drugs and diseases.
    Static vectors of word pieces can be added. Equal words of a batch are computed once, and
    share their dropout.

        list[Doc] -> words -> [hashed attributes, affixes, vectors] -> maxout -> (n, width)

    width (int): The width of the output, and of the table of each attribute.
    attrs (Sequence[str]): Attributes of a lexeme, e.g. "NORM" and "SHAPE".
    rows (Sequence[int]): The number of rows of the table of each attribute.
    prefixes, suffixes (Sequence[int]): Lengths in characters of the lower-case word. Shorter
        words are used whole.
    subword_rows (int): The number of rows of the table of each length.
    subword_width (int): The width of the table of each length.
    vectors (Model[Words, Floats2d] | None): Static vectors, such as
        `welt_spacy.PieceVectors.v1`.
    RETURNS (Model[list[Doc], list[Floats2d]]): A layer with output (n_tokens, width),
        float32, per document.
    RAISES (WeltError): If a setting is out of range, or the numbers of attributes and rows
        differ.
    """
    check_number("width", width, low=1)
    check_number("subword_rows", subword_rows, low=1)
    check_number("subword_width", subword_width, low=1)
    for length in (*prefixes, *suffixes):
        check_number("prefixes and suffixes", length, low=1)
    if len(rows) != len(attrs):
        raise WeltError(
            f"SubwordEmbed: there are {len(attrs)} attrs and {len(rows)} rows. Give one "
            "number of rows for each attribute."
        )
    parts: list[Model] = [
        HashEmbed(width, n, column=i, seed=7 + i, dropout=0.0)
        for i, n in enumerate(rows)
    ]
    embeds: list[Model] = [chain(_features(), _columns(parts))] if parts else []
    total = width * len(rows)
    n_affixes = len(prefixes) + len(suffixes)
    if n_affixes:
        affix_parts: list[Model] = [
            HashEmbed(subword_width, subword_rows, column=i, seed=101 + i, dropout=0.0)
            for i in range(n_affixes)
        ]
        embeds.append(
            chain(_affixes(tuple(prefixes), tuple(suffixes)), _columns(affix_parts))
        )
        total += subword_width * n_affixes
    if vectors is not None:
        embeds.append(vectors)
    if not embeds:
        raise WeltError(
            "SubwordEmbed: there are no features. Give attrs, prefixes, suffixes or vectors."
        )
    nI = None if vectors is not None else total
    mix = Maxout(nO=width, nI=nI, nP=3, dropout=0.0, normalize=True)
    inner = chain(_columns(embeds), mix)
    return with_unique_words(inner, [_attribute(name) for name in attrs], width)


def _columns(layers: list[Model]) -> Model:
    return concatenate(*layers) if len(layers) > 1 else layers[0]


def _attribute(name: str) -> int:
    attr = intify_attr(name)
    if not attr:
        raise WeltError(
            f"SubwordEmbed: {name!r} is not an attribute of a lexeme. Use attributes such as "
            "NORM or SHAPE."
        )
    return int(attr)


def with_unique_words(
    layer: Model[Words, Floats2d], attrs: Sequence[int], width: int
) -> Model[list[Doc], list[Floats2d]]:
    """Run a layer on the different words of a batch and copy the output to their tokens.
    Words that differ in an attribute are different.
    """
    return Model(
        "with_unique_words",
        _forward_unique,
        init=_init_unique,
        layers=[layer],
        attrs={"columns": [int(attr) for attr in attrs]},
        dims={"nO": width},
    )


def _unique_words(model: Model, docs: Sequence[Doc]) -> tuple[Words, NDArray[Any]]:
    columns = [ORTH, *model.attrs["columns"]]
    flat = np.concatenate(
        [doc.to_array(columns).reshape(-1, len(columns)) for doc in docs]
    )
    flat = flat.astype("uint64")
    key = flat[:, 0].copy()
    for i in range(1, len(columns)):
        key *= _PRIME  # Overflow is intended
        key ^= flat[:, i]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    strings = docs[0].vocab.strings
    return Words(flat[first, 0], flat[first, 1:], strings), inverse


def _forward_unique(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    docs = list(docs)
    ops = model.ops
    lengths: Any = [len(doc) for doc in docs]
    if not sum(lengths):
        return [ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda d: []
    words, inverse = _unique_words(model, docs)
    Y, backprop_layer = model.layers[0](words, is_train)
    places: Any = ops.asarray(inverse)  # type: ignore[arg-type]
    flat = Y[places]
    arrays = ops.unflatten(flat, lengths)

    def backprop(d_arrays: list[Floats2d]) -> list[Doc]:
        d_flat = ops.flatten(d_arrays)
        d_words = ops.alloc2f(*Y.shape)
        ops.scatter_add(d_words, places, d_flat)
        backprop_layer(d_words)
        return []

    return arrays, backprop


def _init_unique(model: Model, X: Any = None, Y: Any = None) -> None:
    docs = [doc for doc in X or () if len(doc)]
    words = _unique_words(model, docs)[0] if docs else None
    model.layers[0].initialize(X=words)


def _features() -> Model[Words, Ints2d]:
    return Model("lexeme_features", _forward_features)


def _forward_features(
    model: Model, words: Words, is_train: bool
) -> tuple[Ints2d, Callable[[Any], Any]]:
    features: Any = model.ops.asarray(words.features)  # type: ignore[arg-type]
    return features, _no_gradient


def _affixes(
    prefixes: tuple[int, ...], suffixes: tuple[int, ...]
) -> Model[Words, Ints2d]:
    return Model(
        "affixes",
        _forward_affixes,
        attrs={"affixes": AffixTable(prefixes, suffixes)},
    )


def _forward_affixes(
    model: Model, words: Words, is_train: bool
) -> tuple[Ints2d, Callable[[Any], Any]]:
    host_hashes: Any = model.attrs["affixes"](words.orths, words.strings)
    hashes: Any = model.ops.asarray(host_hashes)
    return hashes, _no_gradient


def _no_gradient(d_features: Any) -> Any:
    return None


class AffixTable:
    """Look up the hashed prefixes and suffixes of words from any number of threads.

    prefixes, suffixes (tuple[int, ...]): Lengths in characters.
    """

    def __init__(self, prefixes: tuple[int, ...], suffixes: tuple[int, ...]):
        self.prefixes, self.suffixes = prefixes, suffixes
        n = len(prefixes) + len(suffixes)
        self.table = LexemeTable((np.zeros((0, n), dtype="uint64"),), self._extend)

    def __getstate__(self) -> dict:
        return {"prefixes": self.prefixes, "suffixes": self.suffixes}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, orths: NDArray[Any], strings: Any) -> NDArray[np.uint64]:
        """Return the hashes for word ids of a StringStore, shape (n, n_affixes), uint64."""
        rows, (hashes,) = self.table.find(orths, strings)
        return hashes[rows]

    def _extend(self, arrays: Arrays, words: list[str]) -> Arrays:
        new = np.array([self._hashes(word.lower()) for word in words], dtype="uint64")
        return (np.concatenate([arrays[0], new]),)

    def _hashes(self, word: str) -> list[int]:
        parts = [word[:n] for n in self.prefixes] + [word[-n:] for n in self.suffixes]
        return [get_string_id(part) for part in parts]


@serialize_attr.register(AffixTable)
def _serialize(_: Any, value: AffixTable, name: str, model: Model) -> bytes:
    return srsly.msgpack_dumps(value.__getstate__())


@deserialize_attr.register(AffixTable)
def _deserialize(_: Any, value: bytes, name: str, model: Model) -> AffixTable:
    lengths = srsly.msgpack_loads(value)
    return AffixTable(tuple(lengths["prefixes"]), tuple(lengths["suffixes"]))
