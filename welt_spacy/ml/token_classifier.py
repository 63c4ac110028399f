"""The head: a probability for each tag of each token."""

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
    """Build a model that gives each token a probability for each tag.

    Registered as `welt_spacy.TokenClassifier.v1`. It differs from
    `spacy.Tagger.v2` in three points: the output layer starts at small random
    weights instead of zero (a transformer learns nothing through a zero head in
    its first steps), an optional hidden layer can look at the neighbours of a
    token, and the output is always normalised, in training and in prediction.

        list[Doc] -> tok2vec -> [window, maxout, dropout] -> softmax -> (n, nO)

    tok2vec (Model[list[Doc], list[Floats2d]]): The embedding, or a listener.
    nO (int | None): The number of tags, 2K + 1; found at initialisation.
    hidden_width (int | None): Width of a hidden maxout layer; no hidden
        layer if not set.
    window_size (int): How many neighbours on either side the hidden layer sees.
    maxout_pieces (int): Pieces of the hidden layer.
    dropout (float): Dropout before the output layer, until `training.dropout`
        sets it.
    init_std (float): Standard deviation of the output layer's first weights.
    RETURNS (Model[list[Doc], list[Floats2d]]): One array of shape
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
    layers: list[Model[Floats2d, Floats2d]] = []
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
    head: Model[list[Floats2d], list[Floats2d]] = with_array(
        chain(*layers), pad=window_size
    )
    model: Model[list[Doc], list[Floats2d]] = chain(tok2vec, head)
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output_layer)
    return model


def _normal_init(ops: Ops, shape, *, std: float) -> FloatsXd:
    # Thinc's own normal initialiser takes a fan-in, not a deviation.
    values = ops.xp.random.normal(scale=std, size=shape)
    return ops.asarray_f(values)
