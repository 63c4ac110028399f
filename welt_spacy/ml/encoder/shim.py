"""An encoder of the transformers library as a layer of Thinc.

Imported when a pipeline with `welt_spacy.TransformerEncoder.v1` is made: torch
and transformers are an extra.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import (
    Any,
    cast,
)

import torch
from spacy.tokens import Doc
from thinc.api import Optimizer, get_torch_default_device, torch2xp, xp2torch
from thinc.shims.shim import Shim
from thinc.types import Floats2d, FloatsXd

from ...errors import WeltError
from .fork_safety import calm_torch
from .forward import Backprop, Forward, no_backprop
from .pretrained import freeze_layers, group_parameters, load_encoder, load_tokenizer
from .serialization import Encoder, decode_encoder, encode_encoder


class TransformerShim(Shim):
    """Holds an encoder and its tokenizer for Thinc.

    Saved is what `save_pretrained` writes (config.json, model.safetensors, the
    tokenizer's files), as one message; so nothing is pickled, nothing is asked
    of a hub when it is loaded, and versions of transformers understand each
    other's files.

    settings (dict[str, Any]): The arguments of `build_transformer_encoder`.
    """

    def __init__(self, settings: dict[str, Any]):
        super().__init__(None, settings)
        self.tokenizer: Any = None
        self.forward: Forward | None = None
        # How the encoder was made faster for prediction; then it can't be trained
        self.optimized: str | None = None

    @property
    def width(self) -> int | None:
        """RETURNS (int | None): The width of the encoder's output; None before
        there is an encoder.
        """
        return None if self._model is None else int(self._model.config.hidden_size)

    def load(self, name: str) -> None:
        """Load a pre-trained encoder.

        name (str): Its name on the hub, or its folder.
        RAISES (WeltError): If it can't be loaded, or its tokenizer is not a fast one.
        """
        encoder = load_encoder(name, self.cfg["transformer_config"])
        self._set(encoder, load_tokenizer(name))

    def _set(self, model: Any, tokenizer: Any) -> None:
        self._model = model.to(get_torch_default_device())
        self._model.eval()
        self.tokenizer = tokenizer
        self.forward = Forward(self._model, tokenizer, self.cfg)
        freeze_layers(self._model, self.cfg["frozen_layers"])

    def __call__(
        self, docs: Sequence[Doc], is_train: bool
    ) -> tuple[torch.Tensor, Backprop]:
        """Run the encoder. See `Forward.__call__`.

        RAISES (WeltError): If it is to be trained, and was optimized for prediction.
        """
        assert self.forward is not None
        calm_torch()
        if is_train and self.optimized:
            raise WeltError(
                f"This encoder was optimized for prediction ({self.optimized}) and "
                "can't be trained: train the pipeline it was made from"
            )
        if is_train and any(p.requires_grad for p in self._model.parameters()):
            self._model.train()
            return self.forward(docs, trains=True)
        self._model.eval()
        with torch.inference_mode():
            return self.forward(docs, trains=False)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Update the weights with the gradients that have been collected.

        optimizer (Optimizer): One with a method `step_torch`, such as
            `welt_spacy.AdamW.v1`, gets all parameters at once, grouped by layers; any
            other optimizer of Thinc is called for each parameter.
        """
        step_torch = getattr(optimizer, "step_torch", None)
        if step_torch is not None:
            groups = group_parameters(self._model, self.cfg["layer_decay"])
            if groups:
                step_torch(self.id, groups)
            return
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                weights, _ = optimizer(
                    (self.id, name),
                    cast(FloatsXd, torch2xp(parameter.data)),
                    cast(FloatsXd, torch2xp(parameter.grad)),
                )
                parameter.data = xp2torch(weights, device=parameter.device)
                parameter.grad = None

    @contextlib.contextmanager
    def use_params(self, params: dict[Any, Any]):
        """Use other weights, e.g. averages, for the time of a `with` block.

        params (dict[Any, Any]): The weights, by the id of the shim and their names.
        """
        state = dict(self._model.named_parameters()) if self._model is not None else {}
        mine = {
            name: params[self.id, name] for name in state if (self.id, name) in params
        }
        backup = {name: state[name].data for name in mine}
        for name, values in mine.items():
            state[name].data = xp2torch(values, device=state[name].device)
        try:
            yield
        finally:
            for name, values in backup.items():
                state[name].data = values

    def to_bf16(self) -> None:
        """Convert the encoder to bfloat16. It only predicts from then on."""
        self._set(self._model.to(torch.bfloat16), self.tokenizer)
        self.optimized = "bf16"

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the encoder to a device.

        device_type (str): "cpu" or "gpu".
        device_id (int): The number of the GPU.
        """
        if self._model is not None:
            where = "cpu" if device_type == "cpu" else f"cuda:{device_id}"
            self._model.to(where)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The encoder, as the files of `save_pretrained`."""
        return encode_encoder(Encoder(self._model, self.tokenizer, self.optimized))

    def from_bytes(self, bytes_data: bytes) -> "TransformerShim":
        """Load the encoder from `to_bytes`.

        bytes_data (bytes): The message.
        RETURNS (TransformerShim): The shim itself.
        """
        encoder = decode_encoder(bytes_data)
        if encoder is not None:
            self.optimized = encoder.optimized
            self._set(encoder.model, encoder.tokenizer)
        return self


def forward_docs(
    shim: TransformerShim, ops: Any, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], None]]:
    """Run the encoder on docs.

    shim (TransformerShim): The encoder.
    ops (Ops): The operations of the layer, for the device of what comes out.
    docs (Sequence[Doc]): The docs.
    is_train (bool): Whether there will be backpropagation.
    RETURNS (Tuple): One (n_tokens, width) float32 array for each doc, on the
        device of `ops`, and backpropagation.
    """
    docs = list(docs)
    lengths = [len(doc) for doc in docs]
    if not sum(lengths):
        return [ops.alloc2f(0, shim.width or 0) for _ in docs], no_backprop
    vectors, backprop_vectors = shim(docs, is_train)
    arrays = _split(torch2xp(vectors.detach(), ops=ops), lengths)

    def backprop(d_arrays: Iterable[Floats2d]) -> None:
        d_flat = ops.xp.concatenate([array for array in d_arrays if len(array)])
        backprop_vectors(xp2torch(d_flat, device=vectors.device))

    return arrays, backprop


def _split(flat: Any, lengths: list[int]) -> list[Any]:
    arrays, start = [], 0
    for length in lengths:
        arrays.append(flat[start : start + length])
        start += length
    return arrays
