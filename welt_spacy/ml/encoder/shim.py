"""Encoders of the transformers library as layers of Thinc.

Imported when a pipeline with `welt_spacy.TransformerEncoder.v1` is created, because torch and
transformers are an extra.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from spacy.tokens import Doc
from thinc.api import Ops, Optimizer, get_torch_default_device, torch2xp, xp2torch
from thinc.shims.shim import Shim
from thinc.types import Floats2d, FloatsXd

from ...errors import WeltError
from .fork_safety import limit_threads_after_fork
from .forward import Backprop, Forward, no_backprop
from .pretrained import freeze_layers, group_parameters, load_encoder, load_tokenizer
from .serialization import Encoder, decode_encoder, encode_encoder


class TransformerShim(Shim):
    """Holds an encoder and its tokenizer for Thinc.

    It is serialized as the files of `save_pretrained` (config.json, model.safetensors, the
    tokenizer's files) in one message. So nothing is pickled, loading needs no network, and
    versions of transformers read each other's files.

    settings (dict[str, Any]): The arguments of `build_transformer_encoder`.
    """

    def __init__(self, settings: dict[str, Any]):
        super().__init__(None, settings)
        self.tokenizer: Any = None
        self.forward: Forward | None = None
        # The format of an encoder that was optimized for prediction and can't be trained
        self.optimized: str | None = None

    @property
    def encoder(self) -> Any:
        """The PreTrainedModel; None before it is loaded."""
        return self._model

    @property
    def width(self) -> int | None:
        """The width of the encoder's output; None before it is loaded."""
        return None if self._model is None else int(self._model.config.hidden_size)

    def load(self, name: str) -> None:
        """Load a pre-trained encoder from the hub or a folder."""
        encoder = load_encoder(name, self.cfg["transformer_config"])
        self._set_encoder(encoder, load_tokenizer(name))

    def _set_encoder(self, encoder: Any, tokenizer: Any) -> None:
        self._model = encoder.to(get_torch_default_device())
        self._model.eval()
        self.tokenizer = tokenizer
        self.forward = Forward(self._model, tokenizer, self.cfg)
        freeze_layers(self._model, self.cfg["frozen_layers"])

    def __call__(
        self, docs: Sequence[Doc], is_train: bool
    ) -> tuple[torch.Tensor, Backprop]:
        """Run the encoder; see `Forward.__call__`."""
        assert self.forward is not None
        limit_threads_after_fork()
        if is_train and self.optimized:
            raise WeltError(
                f"This encoder was optimized for prediction ({self.optimized}) and "
                "can't be trained: train the pipeline it was made from"
            )
        if is_train and any(p.requires_grad for p in self._model.parameters()):
            self._model.train()
            return self.forward(docs, is_train=True)
        self._model.eval()
        with torch.inference_mode():
            return self.forward(docs, is_train=False)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Update the weights with the accumulated gradients."""
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
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Use other weights within a `with` block, given by the id of the shim and name."""
        state = dict(self._model.named_parameters()) if self._model is not None else {}
        weights = {
            name: params[self.id, name] for name in state if (self.id, name) in params
        }
        backup = {name: state[name].data for name in weights}
        for name, values in weights.items():
            state[name].data = xp2torch(values, device=state[name].device)
        try:
            yield
        finally:
            for name, values in backup.items():
                state[name].data = values

    def to_bf16(self) -> None:
        """Convert the encoder to bfloat16. It can't be trained afterwards."""
        self._set_encoder(self._model.to(torch.bfloat16), self.tokenizer)
        self.optimized = "bf16"

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the encoder to a device, "cpu" or "gpu"."""
        if self._model is not None:
            self._model.to("cpu" if device_type == "cpu" else f"cuda:{device_id}")

    def to_bytes(self) -> bytes:
        """Serialize the encoder."""
        return encode_encoder(Encoder(self._model, self.tokenizer, self.optimized))

    def from_bytes(self, bytes_data: bytes) -> "TransformerShim":
        """Load the encoder from the message of `to_bytes`, and return the shim itself."""
        encoder = decode_encoder(bytes_data)
        if encoder is not None:
            self.optimized = encoder.optimized
            self._set_encoder(encoder.model, encoder.tokenizer)
        return self


def forward_docs(
    shim: TransformerShim, ops: Ops, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], None]]:
    """Run an encoder on documents, and return an array for each, shape (n_tokens, width), float32,
    on the device of `ops`; and backpropagation.
    """
    lengths: Any = [len(doc) for doc in docs]
    if not sum(lengths):
        return [ops.alloc2f(0, shim.width or 0) for _ in docs], no_backprop
    vectors, backprop_vectors = shim(docs, is_train)
    flat = cast(Floats2d, torch2xp(vectors.detach(), ops=ops))
    arrays = ops.unflatten(flat, lengths)

    def backprop(d_arrays: Iterable[Floats2d]) -> None:
        d_flat = ops.flatten(list(d_arrays))
        backprop_vectors(xp2torch(d_flat, device=vectors.device))

    return arrays, backprop
