"""Lexicon features: learned vectors for tokens that occur in a user's lists of names."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from ..errors import WeltError, check_number
from ..util.arrays import starts_of


def build_lexicon_embed(
    embed: Model[list[Doc], list[Floats2d]],
    *,
    labels: Sequence[str],
    spans_key: str = "lexicon",
    dropout: float = 0.5,
) -> Model[list[Doc], list[Floats2d]]:
    """Build the layer `welt_spacy.LexiconEmbed.v1`: an embedding, plus a learned vector for
    each token of a name that is in a lexicon.

    An earlier component, such as spaCy's `span_ruler`, sets the names as
    `doc.spans[spans_key]`. Each label has two vectors, for the first token of a name and for
    the following ones. A token in several names gets the sum. The vectors do not depend on
    the name itself, so the lexicon can change without training.

        list[Doc] -> embed + [B-x, I-x, B-y, ...] @ E -> (n, width)

    embed (Model[list[Doc], list[Floats2d]]): An embedding, for `embed` of
        `spacy.Tok2Vec.v2`, or an encoder such as `welt_spacy.TransformerEncoder.v1`.
    labels (Sequence[str]): The labels of the spans. Other spans are ignored.
    spans_key (str): The key of the spans.
    dropout (float): Share of names that are left out at random in training. With 0 and a
        lexicon that has all names of the training data, the model learns that nothing else
        is an entity.
    RETURNS (Model[list[Doc], list[Floats2d]]): A layer with output (n_tokens, width),
        float32, per document.
    RAISES (WeltError): If there are no labels, a label is given twice, or the dropout is not
        in [0, 1).
    """
    check_number("dropout", dropout, low=0, below=1)
    if not labels or len(set(labels)) != len(labels):
        raise WeltError(
            f"LexiconEmbed: the labels are {list(labels)}. Give at least one, each once."
        )
    return Model(
        "lexicon_embed",
        _forward,
        init=_init,
        layers=[embed],
        params={"E": None},
        dims={"nO": embed.maybe_get_dim("nO")},
        attrs={
            "labels": list(labels),
            "spans_key": spans_key,
            # Not "dropout_rate", which training sets for all layers
            "name_dropout": dropout,
        },
    )


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    embed = model.layers[0]
    embed.initialize(X=X)
    width = embed.get_dim("nO")
    model.set_dim("nO", width, force=True)
    if not model.has_param("E"):
        # At zero, the lexicon has no effect before training
        model.set_param("E", model.ops.alloc2f(2 * len(model.attrs["labels"]), width))


def _forward(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], list[Doc]]]:
    docs = list(docs)
    ops = model.ops
    arrays, backprop_embed = model.layers[0](docs, is_train)
    lengths: Any = np.array([len(doc) for doc in docs], dtype="int64")
    bounds = starts_of(lengths).tolist()
    rows, columns = _features(model, docs, bounds, is_train)
    if len(rows):
        E = model.get_param("E")
        flat = ops.flatten(arrays)
        places: Any = ops.asarray(rows)  # type: ignore[arg-type]
        kinds: Any = ops.asarray(columns)  # type: ignore[arg-type]
        ops.scatter_add(flat, places, E[kinds])
        arrays = ops.unflatten(flat, lengths)

    def backprop(d_arrays: list[Floats2d]) -> list[Doc]:
        if len(rows):
            d_E = ops.alloc2f(*model.get_param("E").shape)
            d_flat = ops.flatten(d_arrays)
            ops.scatter_add(d_E, kinds, d_flat[places])
            model.inc_grad("E", d_E)
        return backprop_embed(d_arrays)

    return arrays, backprop


def _features(
    model: Model, docs: Sequence[Doc], bounds: Sequence[int], is_train: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of names, counted over all documents, and their rows of E."""
    kinds = {label: 2 * i for i, label in enumerate(model.attrs["labels"])}
    key, rate = model.attrs["spans_key"], model.attrs["name_dropout"]
    features: list[tuple[int, int]] = []
    for offset, doc in zip(bounds, docs):
        for span in doc.spans.get(key, ()):
            kind = kinds.get(span.label_)
            if kind is None or (is_train and rate and np.random.random() < rate):
                continue
            start = offset + span.start
            features.append((start, kind))
            features.extend((start + i, kind + 1) for i in range(1, len(span)))
    table = np.array(sorted(set(features)), dtype="int64").reshape(-1, 2)
    return table[:, 0], table[:, 1]
