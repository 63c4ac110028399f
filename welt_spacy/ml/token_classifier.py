"""The token classifier: tag probabilities from token vectors."""

from functools import partial

from spacy.tokens import Doc
from thinc.api import (
    Dropout,
    Maxout,
    Model,
    Ops,
    Softmax_v2,
    chain,
    expand_window,
    with_array,
)
from thinc.types import Floats2d, FloatsXd

from ..errors import WeltError, check_number


def build_token_classifier(
    tok2vec: Model[list[Doc], list[Floats2d]],
    nO: int | None = None,
    *,
    hidden_width: int | None = None,
    window_size: int = 0,
    maxout_pieces: int = 2,
    dropout: float = 0.0,
    init_std: float = 0.05,
) -> Model[list[Doc], list[Floats2d]]:
    """Build the architecture `welt_spacy.TokenClassifier.v1`, which predicts a probability
    distribution over tags for each token.

    It differs from `spacy.Tagger.v2` in three points. The weights of the output layer are
    initialized with small random values instead of zero, because a zero output layer has no
    gradient for a transformer in the first steps. An optional hidden layer uses the
    neighbors of a token. The output is always normalized, in training and in prediction.

        list[Doc] -> tok2vec -> [window, maxout, dropout] -> softmax -> (n, nO)

    tok2vec (Model[list[Doc], list[Floats2d]]): The embedding, or a listener.
    nO (int | None): The number of tags, 2K + 1; set by `initialize` if not given.
    hidden_width (int | None): Width of a hidden maxout layer; no hidden layer if not set.
    window_size (int): Number of neighbors on either side in the input of the hidden layer.
    maxout_pieces (int): Number of maxout pieces of the hidden layer.
    dropout (float): Dropout before the output layer, until `training.dropout` sets it.
    init_std (float): Standard deviation of the initial weights of the output layer.
    RETURNS (Model[list[Doc], list[Floats2d]]): A model with output (n_tokens, nO), float32,
        per document; rows sum to 1.
    RAISES (WeltError): If a setting is out of range, or there is a window but no hidden
        layer.
    """
    check_number("window_size", window_size, low=0)
    check_number("maxout_pieces", maxout_pieces, low=1)
    check_number("dropout", dropout, low=0, below=1)
    check_number("init_std", init_std, low=0)
    if hidden_width is not None:
        check_number("hidden_width", hidden_width, low=1)
    elif window_size > 0:
        raise WeltError("window_size needs a hidden layer. Set hidden_width.")
    width = tok2vec.maybe_get_dim("nO")
    output_layer = Softmax_v2(
        nO,
        width if hidden_width is None else hidden_width,
        init_W=partial(_normal_init, std=init_std),
        normalize_outputs=True,
    )
    layers: list[Model[Floats2d, Floats2d]] = []
    if hidden_width is not None:
        n_vectors = 2 * window_size + 1
        hidden = Maxout(
            nO=hidden_width,
            nI=None if width is None else width * n_vectors,
            nP=maxout_pieces,
            normalize=True,
        )
        layers += [expand_window(window_size), hidden] if window_size else [hidden]
    layers += [Dropout(dropout), output_layer]
    # Padding separates the windows of consecutive documents
    head: Model[list[Floats2d], list[Floats2d]] = with_array(
        chain(*layers), pad=window_size
    )
    model: Model[list[Doc], list[Floats2d]] = chain(tok2vec, head)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    return model


def _normal_init(ops: Ops, shape, *, std: float) -> FloatsXd:
    # Thinc's initializer takes the fan-in, not the standard deviation
    values = ops.xp.random.normal(scale=std, size=shape)
    return ops.asarray_f(values)
