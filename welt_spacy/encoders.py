"""Registered architectures, where spaCy's own do not do."""

import contextlib
from functools import partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Optional,
    Sequence,
    Union,
)

import numpy as np
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import (
    CupyOps,
    Dropout,
    Maxout,
    Model,
    Ops,
    Softmax_v2,
    chain,
    expand_window,
    get_current_ops,
    with_array,
)
from thinc.types import Floats2d, FloatsXd

from .errors import WeltError, check_number
from .pipeline.tags import starts_of

POOLINGS = ("first", "mean")


def build_token_classifier(
    tok2vec: Model[List[Doc], List[Floats2d]],
    nO: Optional[int] = None,
    *,
    hidden_width: Optional[int] = None,
    window_size: int = 0,
    maxout_pieces: int = 2,
    dropout: float = 0.0,
    init_std: float = 0.05,
) -> Model[List[Doc], List[Floats2d]]:
    """Build a model that gives each token a probability for each tag.

    Registered as `welt_spacy.TokenClassifier.v1`. It differs from
    `spacy.Tagger.v2` in three points: the output layer starts at small random
    weights instead of zero (a transformer learns nothing through a zero head in
    its first steps), an optional hidden layer can look at the neighbours of a
    token, and the output is always normalised, in training and in prediction.

        List[Doc] -> tok2vec -> [window, maxout, dropout] -> softmax -> (n, nO)

    tok2vec (Model[List[Doc], List[Floats2d]]): The embedding, or a listener.
    nO (Optional[int]): The number of tags, 2K + 1; found at initialisation.
    hidden_width (Optional[int]): Width of a hidden maxout layer; no hidden
        layer if not set.
    window_size (int): How many neighbours on either side the hidden layer sees.
    maxout_pieces (int): Pieces of the hidden layer.
    dropout (float): Dropout before the output layer, until `training.dropout`
        sets it.
    init_std (float): Standard deviation of the output layer's first weights.
    RETURNS (Model[List[Doc], List[Floats2d]]): One array of shape
        (n_tokens, nO), float32, rows summing to 1, for each doc.
    RAISES (WeltError): If a setting is out of its range, or there is a window but no
        hidden layer to look through it.
    """
    check_number("window_size", window_size, low=0)
    check_number("maxout_pieces", maxout_pieces, low=1)
    check_number("dropout", dropout, low=0, below=1)
    check_number("init_std", init_std, low=0)
    if hidden_width is not None:
        check_number("hidden_width", hidden_width, low=1)
    elif window_size > 0:
        raise WeltError("window_size needs a hidden layer: set hidden_width too")
    width = tok2vec.maybe_get_dim("nO")
    output_layer = Softmax_v2(
        nO,
        width if hidden_width is None else hidden_width,
        init_W=partial(_normal_init, std=init_std),
        normalize_outputs=True,
    )
    layers: List[Model[Floats2d, Floats2d]] = []
    if hidden_width is not None:
        n_neighbours = 2 * window_size + 1
        hidden = Maxout(
            nO=hidden_width,
            nI=None if width is None else width * n_neighbours,
            nP=maxout_pieces,
            normalize=True,
        )
        layers += [expand_window(window_size), hidden] if window_size else [hidden]
    layers += [Dropout(dropout), output_layer]
    # Padding keeps the windows of neighbouring docs apart.
    head: Model[List[Floats2d], List[Floats2d]] = with_array(
        chain(*layers), pad=window_size
    )
    model: Model[List[Doc], List[Floats2d]] = chain(tok2vec, head)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    return model


def _normal_init(ops: Ops, shape, *, std: float) -> FloatsXd:
    # Thinc's own normal initialiser takes a fan-in, not a deviation.
    values = ops.xp.random.normal(scale=std, size=shape)
    return ops.asarray_f(values)


def build_transformer_encoder(
    name: str,
    *,
    pooling: Literal["first", "mean"] = "first",
    max_pieces: Optional[int] = None,
    overlap: int = 128,
    batch_pieces: Optional[int] = None,
    train_pieces: Optional[int] = None,
    frozen_layers: int = 0,
    layer_decay: float = 1.0,
    mixed_precision: bool = False,
    transformer_config: Dict[str, Any] = {},  # noqa: B006
) -> Model[List[Doc], List[Floats2d]]:
    """Build an encoder of the transformers library, in the form of a tok2vec.

    Registered as `welt_spacy.TransformerEncoder.v1`. Use it as `model.tok2vec` of a
    component, or in a `tok2vec` component that several listen to. It takes any
    encoder that `AutoModel` knows and that has a fast tokenizer. The encoder is
    fetched when the pipeline is initialized and saved with it.

    name (str): A name on the model hub, or a local folder.
    pooling (str): The vector of a word is that of its first piece, or the mean.
    max_pieces (Optional[int]): Word pieces in a window, special ones included,
        if fewer than the encoder takes.
    overlap (int): Pieces that neighbouring windows of a long doc share, at most a
        third of a window. A word in both gets the vector from where more of its
        context is seen.
    batch_pieces (Optional[int]): Pieces that go through the encoder at once,
        padding included; 1,024 on a CPU and 16,384 on a GPU if not set. Bounds
        memory in prediction.
    train_pieces (Optional[int]): Pieces of a training batch whose activations are
        kept; 2,048 on a CPU and 16,384 on a GPU if not set. Those of larger
        batches and docs are computed a second time, so that no batch runs out
        of memory.
    frozen_layers (int): Embeddings and so many layers are not trained; -1: none is.
    layer_decay (float): Learning rate of a layer over that of the layer above,
        with `welt_spacy.AdamW.v1`.
    mixed_precision (bool): Whether to compute in bfloat16 on GPUs that can.
    transformer_config (Dict[str, Any]): Settings of the encoder to change, e.g.
        {"hidden_dropout_prob": 0.2}.
    RETURNS (Model[List[Doc], List[Floats2d]]): (n_tokens, width) float32 a doc.
    RAISES (WeltError): If a setting is out of its range, or torch or transformers are
        missing.
    """
    for setting, value, low in (
        ("max_pieces", max_pieces, 1),
        ("overlap", overlap, 0),
        ("batch_pieces", batch_pieces, 1),
        ("train_pieces", train_pieces, 0),
        ("frozen_layers", frozen_layers, -1),
    ):
        if value is not None:
            check_number(setting, value, low=low)
    check_number("layer_decay", layer_decay, above=0)
    if pooling not in POOLINGS:
        raise WeltError(f"pooling is {pooling!r}: use one of {', '.join(POOLINGS)}")
    with _extra_needed("welt_spacy.TransformerEncoder.v1"):
        from .transformer import TransformerShim
    settings = {
        "name": name,
        "pooling": pooling,
        "max_pieces": max_pieces,
        "overlap": overlap,
        "batch_pieces": batch_pieces,
        "train_pieces": train_pieces,
        "frozen_layers": frozen_layers,
        "layer_decay": layer_decay,
        "mixed_precision": mixed_precision,
        "transformer_config": dict(transformer_config),
    }
    return Model(
        "transformer_encoder",
        _encode,
        init=_init_encoder,
        dims={"nO": None},
        # What a package of the pipeline needs; see `WeltNER.initialize`
        attrs={"requires_extras": ["transformers"]},
        shims=[TransformerShim(settings)],
    )


@contextlib.contextmanager
def _extra_needed(name: str):
    try:
        yield
    except ImportError as err:
        raise WeltError(
            f'{name} needs {err.name}: pip install "welt-spacy[transformers]"'
        ) from None


def configure_piece_counter(name: str) -> Callable[[Union[Doc, Example]], int]:
    """Count the word pieces of an example, special ones included.

    Registered as `welt_spacy.piece_counter.v1` in `@misc`, for `get_length` of
    `spacy.batch_by_padded.v1`: batches are then of like cost, and what is long in
    pieces is not padded to what is long in words.

    name (str): The encoder whose pieces are counted: a name on the hub, or a
        local folder.
    RETURNS (Callable[[Union[Doc, Example]], int]): The counter.
    RAISES (WeltError): If torch or transformers are missing, or the encoder.
    """
    with _extra_needed("welt_spacy.piece_counter.v1"):
        from .transformer import count_pieces
    return count_pieces(name)


def _encode(model: Model, docs: Sequence[Doc], is_train: bool):
    from .transformer import forward_docs

    shim: Any = model.shims[0]
    arrays, backprop_arrays = forward_docs(shim, model.ops, docs, is_train)

    def backprop(d_arrays: List[Floats2d]) -> List[Doc]:
        backprop_arrays(d_arrays)
        return []

    return arrays, backprop


def _init_encoder(model: Model, X: Any = None, Y: Any = None) -> None:
    shim: Any = model.shims[0]
    if shim.width is None:
        shim.load(shim.cfg["name"])
    model.set_dim("nO", shim.width, force=True)


def on_gpu() -> bool:
    """Whether Thinc runs on a GPU. Registered as `welt_spacy.on_gpu.v1` in
    `@misc`, for settings such as `mixed_precision` that only work there.

    RETURNS (bool): True on a GPU.
    """
    return isinstance(get_current_ops(), CupyOps)


def configure_strided_spans(
    window: int = 128, stride: int = 96, max_pieces: int = 510
) -> Callable[[Iterable[Doc]], List[List[Span]]]:
    """Cut docs into overlapping windows that fit an encoder for certain.

    Registered as `welt_spacy.strided_spans.v1` in `@span_getters`. It differs
    from `spacy-transformers.strided_spans.v1` in counting characters beside
    tokens: a token has no more word pieces than it has bytes, so a window of at
    most `max_pieces` bytes is never cut by the encoder, however rare its words.
    Windows are shorter for it only in long docs; sentences usually fit into one.

    window (int): Most tokens in a window.
    stride (int): Tokens between the starts of two full windows; the overlap of
        shorter ones is in proportion.
    max_pieces (int): Word pieces that the encoder takes, special ones left out.
    RETURNS (Callable[[Iterable[Doc]], List[List[Span]]]): The span getter.
    RAISES (ValueError): If windows would leave gaps.
    """
    if not 0 < stride <= window or max_pieces < 1:
        raise ValueError(
            "strided spans need 0 < stride <= window and max_pieces > 0, but got "
            f"window {window}, stride {stride}, max_pieces {max_pieces}"
        )
    return partial(
        get_strided_spans, window=window, stride=stride, max_pieces=max_pieces
    )


def get_strided_spans(
    docs: Iterable[Doc], *, window: int, stride: int, max_pieces: int
) -> List[List[Span]]:
    """Cut docs into windows. See `configure_strided_spans`.

    docs (Iterable[Doc]): The docs.
    RETURNS (List[List[Span]]): The windows of each doc; together they cover
        every token, and none is longer than the encoder takes unless a single
        token is.
    """
    spans: List[List[Span]] = []
    for doc in docs:
        # Bytes up to each token, white space between tokens not counted.
        size = starts_of(np.array([len(t.text.encode("utf8")) for t in doc], "int64"))
        spans.append([])
        start = 0
        while start < len(doc):
            fits = int(np.searchsorted(size, size[start] + max_pieces, "right")) - 1
            end = min(max(fits, start + 1), start + window, len(doc))
            spans[-1].append(doc[start:end])
            if end == len(doc):
                break
            start += max(1, (end - start) * stride // window)
    return spans
