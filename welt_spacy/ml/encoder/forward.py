"""Forward and backward passes of an encoder over documents."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from spacy.tokens import Doc

from ...util.arrays import ranges
from ..word_pieces import read_tokenizer
from .batches import CPU_PIECES, Batch, Batcher
from .pretrained import get_special_tokens

# Larger on a GPU, to use all of it
MAX_BATCH_PIECES = {"cpu": CPU_PIECES, "cuda": 16384}
MAX_STORED_PIECES = {"cpu": 2048, "cuda": 16384}
OTHER_DEVICE_PIECES = 4096

Backprop = Callable[[torch.Tensor], None]


class Forward:
    """Runs an encoder on documents. Prediction can be called from many threads. The settings are
    the arguments of `build_transformer_encoder`.
    """

    def __init__(self, model: Any, tokenizer: Any, settings: dict[str, Any]):
        self.model = model
        self.settings = settings
        self.batcher = Batcher(
            read_tokenizer(tokenizer.backend_tokenizer.to_str()),
            get_special_tokens(model.config, tokenizer),
            settings["max_length"],
            settings["overlap"],
            settings["context"],
        )

    @property
    def device(self) -> torch.device:
        """The device of the encoder."""
        return next(self.model.parameters()).device

    def __call__(
        self, docs: Sequence[Doc], is_train: bool
    ) -> tuple[torch.Tensor, Backprop]:
        """Run the encoder."""
        device = self.device.type
        max_batch_pieces = self.settings["max_batch_pieces"] or MAX_BATCH_PIECES.get(
            device, OTHER_DEVICE_PIECES
        )
        room = self.settings["max_stored_pieces"] or MAX_STORED_PIECES.get(
            device, OTHER_DEVICE_PIECES
        )
        plan = self.batcher(docs, max_batch_pieces)
        outputs: list[_Output] = []
        for batch in plan.batches:
            room -= batch.ids.size
            # Without room for activations, backpropagation computes them again
            store = is_train and room >= 0
            outputs.append(self._run_batch(batch, store))
        # From the order of the batches to that of the documents
        vectors = torch.cat([output.vectors.detach() for output in outputs])
        vectors = vectors.index_select(0, self._send(plan.places))
        if not is_train:
            return vectors, no_backprop

        def backprop_vectors(d_vectors: torch.Tensor) -> None:
            d_words = d_vectors.index_select(0, self._send(plan.words))
            d_outputs = d_words.split([len(output.vectors) for output in outputs])
            for output, d_output in zip(outputs, d_outputs):
                self._backprop_batch(output, d_output)

        return vectors, backprop_vectors

    def _run_batch(self, batch: Batch, store: bool) -> "_Output":
        if store:
            return _Output(batch, self._run(batch), None)
        state = _get_random_state(self.device)
        with torch.no_grad():
            return _Output(batch, self._run(batch), state)

    def _backprop_batch(self, output: "_Output", d_vectors: torch.Tensor) -> None:
        if output.random_state is None:
            output.vectors.backward(d_vectors)
            return
        devices = [] if self.device.type == "cpu" else [self.device]
        with torch.random.fork_rng(devices, device_type=self.device.type):
            _set_random_state(self.device, output.random_state)  # for the same dropout
            vectors = self._run(output.batch)
        vectors.backward(d_vectors)

    def _run(self, batch: Batch) -> torch.Tensor:
        """Compute the vectors of the words of a batch, float32."""
        inputs = {"input_ids": self._send(batch.ids)}
        if batch.mask is not None:
            inputs["attention_mask"] = self._send(batch.mask)
        with self._autocast():
            hidden = self.model(**inputs).last_hidden_state
        hidden = hidden.float().reshape(batch.ids.size, -1)
        if self.settings["pooling"] == "first":
            return hidden.index_select(0, self._send(batch.first))
        n = len(batch.lengths)
        places = ranges(batch.first, batch.first + batch.lengths)
        words = self._send(np.repeat(np.arange(n), batch.lengths))
        sums = hidden.new_zeros(n, hidden.shape[1])
        sums = sums.index_add(0, words, hidden.index_select(0, self._send(places)))
        return sums / self._send(batch.lengths)[:, None]

    def _autocast(self) -> torch.autocast:
        enabled = (
            self.settings["mixed_precision"]
            and self.device.type == "cuda"
            and torch.cuda.is_bf16_supported()
        )
        return torch.autocast("cuda", dtype=torch.bfloat16, enabled=enabled)

    def _send(self, array: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(
            self.device, non_blocking=True
        )


def no_backprop(d_vectors: Any) -> None:
    """Do nothing: the backpropagation of predictions."""


class _Output(NamedTuple):
    """Output of an encoder for a batch.

    batch (Batch): The batch.
    vectors (torch.Tensor): The vectors of its words.
    random_state (tuple | None): The state of the random numbers before, if activations were
        not stored.
    """

    batch: Batch
    vectors: torch.Tensor
    random_state: tuple | None


def _get_random_state(device: torch.device) -> tuple:
    cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda_state


def _set_random_state(device: torch.device, state: tuple) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
