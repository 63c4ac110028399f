"""Encoders of the transformers library as tok2vec layers.

Importing this module does not import torch, which is an extra.
"""

from collections.abc import Sequence
from typing import Any, Literal

from spacy.tokens import Doc
from thinc.api import CupyOps, Model, get_current_ops
from thinc.types import Floats2d

from ...errors import WeltError, check_number, extra_needed
from .batches import check_window_settings

POOLINGS = ("first", "mean")


def build_transformer_encoder(
    name: str,
    *,
    pooling: Literal["first", "mean"] = "first",
    max_length: int | None = None,
    overlap: int = 128,
    context: int | None = None,
    max_batch_pieces: int | None = None,
    max_stored_pieces: int | None = None,
    frozen_layers: int = 0,
    layer_decay: float = 1.0,
    mixed_precision: bool = False,
    transformer_config: dict[str, Any] = {},  # noqa: B006
) -> Model[list[Doc], list[Floats2d]]:
    """Build an encoder of the transformers library as a tok2vec layer.

    Registered as `welt_spacy.TransformerEncoder.v1`. Use it as `model.tok2vec` of a component,
    or in a `tok2vec` component that others listen to. It takes any encoder of `AutoModel` with
    a fast tokenizer. The encoder is loaded when the pipeline is initialized, and saved with it.

    name (str): A name on the model hub, or a local folder.
    pooling (str): The vector of a word is that of its first word piece ("first"), or the mean
        of all ("mean").
    max_length (int | None): Maximum number of word pieces in a window, special ones included;
        that of the encoder if not set.
    overlap (int): Word pieces that neighbouring windows of a long document share, a third of a
        window at most. The vector of a shared word is taken from the window with more of its
        context.
    context (int | None): If set, a window has one sentence, and at most so many word pieces of
        the document on each side (FLERT). An earlier component must set sentences, e.g.
        `welt_sentencizer`; a document without them is one sentence. If not set, windows are as
        long as possible.
    max_batch_pieces (int | None): Maximum number of word pieces that go through the encoder at
        once, padding included, which limits memory in prediction; 1,024 on a CPU and 16,384 on
        a GPU if not set.
    max_stored_pieces (int | None): Maximum number of word pieces of a training batch whose
        activations are stored; 2,048 on a CPU and 16,384 on a GPU if not set. Activations of
        larger batches are computed twice, so that memory is limited.
    frozen_layers (int): The embeddings and so many layers are not trained; -1: none is.
    layer_decay (float): Learning rate of a layer over that of the layer above, with
        `welt_spacy.AdamW.v1`.
    mixed_precision (bool): Whether to compute in bfloat16 on GPUs that support it.
    transformer_config (dict[str, Any]): Settings of the encoder to change, e.g.
        {"hidden_dropout_prob": 0.2}.
    RETURNS (Model[list[Doc], list[Floats2d]]): A layer with an array for each document, shape
        (n_tokens, width), float32.
    RAISES (WeltError): If a setting is out of its range, or torch or transformers are missing.
    """
    check_window_settings(max_length, overlap, context, max_batch_pieces)
    if max_stored_pieces is not None:
        check_number("max_stored_pieces", max_stored_pieces, low=0)
    check_number("frozen_layers", frozen_layers, low=-1)
    check_number("layer_decay", layer_decay, above=0)
    if pooling not in POOLINGS:
        raise WeltError(f"pooling is {pooling!r}: use one of {', '.join(POOLINGS)}")
    with extra_needed("welt_spacy.TransformerEncoder.v1", "transformers"):
        from .shim import TransformerShim
    settings = {
        "name": name,
        "pooling": pooling,
        "max_length": max_length,
        "overlap": overlap,
        "context": context,
        "max_batch_pieces": max_batch_pieces,
        "max_stored_pieces": max_stored_pieces,
        "frozen_layers": frozen_layers,
        "layer_decay": layer_decay,
        "mixed_precision": mixed_precision,
        "transformer_config": dict(transformer_config),
    }
    return Model(
        "transformer_encoder",
        _forward,
        init=_init,
        dims={"nO": None},
        # Requirements of a package of the pipeline; see `WeltNER.initialize`
        attrs={"requires_extras": ["transformers"]},
        shims=[TransformerShim(settings)],
    )


def _forward(model: Model, docs: Sequence[Doc], is_train: bool):
    from .shim import forward_docs

    shim: Any = model.shims[0]
    arrays, backprop_arrays = forward_docs(shim, model.ops, docs, is_train)

    def backprop(d_arrays: list[Floats2d]) -> list[Doc]:
        backprop_arrays(d_arrays)
        return []

    return arrays, backprop


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    shim: Any = model.shims[0]
    if shim.width is None:
        shim.load(shim.cfg["name"])
    model.set_dim("nO", shim.width, force=True)


def on_gpu() -> bool:
    """Check whether Thinc runs on a GPU.

    Registered as `welt_spacy.on_gpu.v1` in `@misc`, for settings such as `mixed_precision`.

    RETURNS (bool): True on a GPU.
    """
    return isinstance(get_current_ops(), CupyOps)
