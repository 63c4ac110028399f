"""Registered architectures, where spaCy's own do not do."""

from functools import partial
from typing import Callable, Iterable, List, Optional

import numpy as np
from spacy.tokens import Doc, Span
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

from .pipeline.tags import starts_of


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
    RAISES (ValueError): If there is a window but no hidden layer to look
        through it.
    """
    if window_size > 0 and hidden_width is None:
        raise ValueError("window_size needs a hidden layer: set hidden_width too")
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
