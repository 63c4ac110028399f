"""An encoder of the transformers library in the form of a tok2vec.

Importing this module does not import torch: it is an extra, and needed when an encoder
is made.
"""

from collections.abc import Sequence
from typing import Any, Literal

from spacy.tokens import Doc
from thinc.api import CupyOps, Model, get_current_ops
from thinc.types import Floats2d

from ...errors import WeltError, check_number, extra_needed
from .batches import check_windows

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
    """Build an encoder of the transformers library, in the form of a tok2vec.

    Registered as `welt_spacy.TransformerEncoder.v1`. Use it as `model.tok2vec` of a
    component, or in a `tok2vec` component that several listen to. It takes any
    encoder that `AutoModel` knows and that has a fast tokenizer. The encoder is
    fetched when the pipeline is initialized and saved with it.

    name (str): A name on the model hub, or a local folder.
    pooling (str): The vector of a word is that of its first piece, or the mean.
    max_length (int | None): Word pieces in a window, special ones included,
        if fewer than the encoder takes.
    overlap (int): Pieces that neighbouring windows of a long doc share, at most a
        third of a window. A word in both gets the vector from where more of its
        context is seen.
    context (int | None): If set, a window has one sentence, and so many pieces of what
        stands on each side of it in the doc (FLERT). A component before must find the
        sentences, e.g. `welt_sentencizer`; a doc without is one. If not set, a window
        has as much of a doc as fits.
    max_batch_pieces (int | None): Pieces that go through the encoder at once,
        padding included; 1,024 on a CPU and 16,384 on a GPU if not set. Bounds
        memory in prediction.
    max_stored_pieces (int | None): Pieces of a training batch whose activations are
        kept; 2,048 on a CPU and 16,384 on a GPU if not set. Those of larger
        batches and docs are computed a second time, so that no batch runs out
        of memory.
    frozen_layers (int): Embeddings and so many layers are not trained; -1: none is.
    layer_decay (float): Learning rate of a layer over that of the layer above,
        with `welt_spacy.AdamW.v1`.
    mixed_precision (bool): Whether to compute in bfloat16 on GPUs that can.
    transformer_config (dict[str, Any]): Settings of the encoder to change, e.g.
        {"hidden_dropout_prob": 0.2}.
    RETURNS (Model[list[Doc], list[Floats2d]]): (n_tokens, width) float32 a doc.
    RAISES (WeltError): If a setting is out of its range, or torch or transformers are
        missing.
    """
    check_windows(max_length, overlap, context, max_batch_pieces)
    for setting, value, low in (
        ("max_stored_pieces", max_stored_pieces, 0),
        ("frozen_layers", frozen_layers, -1),
    ):
        if value is not None:
            check_number(setting, value, low=low)
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
        _encode,
        init=_init_encoder,
        dims={"nO": None},
        # What a package of the pipeline needs; see `WeltNER.initialize`
        attrs={"requires_extras": ["transformers"]},
        shims=[TransformerShim(settings)],
    )


def _encode(model: Model, docs: Sequence[Doc], is_train: bool):
    from .shim import forward_docs

    shim: Any = model.shims[0]
    arrays, backprop_arrays = forward_docs(shim, model.ops, docs, is_train)

    def backprop(d_arrays: list[Floats2d]) -> list[Doc]:
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
