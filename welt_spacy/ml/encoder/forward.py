"""Docs through an encoder, and what backpropagation keeps of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from spacy.tokens import Doc

from ...util.arrays import ranges
from ..word_pieces import read_tokenizer
from .batches import CPU_PIECES, Batch, Batcher
from .pretrained import special_of

# A GPU wants to be filled
MAX_BATCH_PIECES = {"cpu": CPU_PIECES, "cuda": 16384}
MAX_STORED_PIECES = {"cpu": 2048, "cuda": 16384}

Backprop = Callable[[torch.Tensor], None]


class Forward:
    """Runs an encoder on docs. Prediction can be called from many threads.

    model (PreTrainedModel): The encoder.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    settings (dict[str, Any]): The arguments of `build_transformer_encoder`.
    RAISES (WeltError): If no word fits into a window.
    """

    def __init__(self, model: Any, tokenizer: Any, settings: dict[str, Any]):
        self.model = model
        self.settings = settings
        self.batcher = Batcher(
            read_tokenizer(tokenizer.backend_tokenizer.to_str()),
            special_of(model.config, tokenizer),
            settings["max_length"],
            settings["overlap"],
            settings["context"],
        )

    @property
    def device(self) -> torch.device:
        """RETURNS (torch.device): Where the encoder is."""
        return next(self.model.parameters()).device

    def __call__(
        self, docs: Sequence[Doc], trains: bool
    ) -> tuple[torch.Tensor, Backprop]:
        """Run the encoder.

        docs (Sequence[Doc]): The docs, n tokens together, at least one.
        trains (bool): Whether there will be backpropagation.
        RETURNS (tuple[torch.Tensor, Callable]): The vectors of the tokens, shape
            (n, width), float32, and a function from their gradient to nothing, which
            leaves gradients in the parameters.
        """
        kind = self.device.type
        budget = self.settings["max_batch_pieces"] or MAX_BATCH_PIECES.get(kind, 4096)
        room = self.settings["max_stored_pieces"] or MAX_STORED_PIECES.get(kind, 4096)
        plan = self.batcher(docs, budget)
        parts: list[_Part] = []
        for batch in plan.batches:
            room -= batch.ids.size
            # Without room to keep what backpropagation needs, it is computed again there
            parts.append(self._run_part(batch, keep=trains and room >= 0))
        # Back from the order of sizes to that of the docs.
        vectors = torch.cat([part.vectors.detach() for part in parts])
        vectors = vectors.index_select(0, self._send(plan.back))
        if not trains:
            return vectors, no_backprop

        def backprop_vectors(d_vectors: torch.Tensor) -> None:
            d_words = d_vectors.index_select(0, self._send(plan.words))
            d_parts = d_words.split([len(part.vectors) for part in parts])
            for part, d_part in zip(parts, d_parts):
                self._backprop_part(part, d_part)

        return vectors, backprop_vectors

    def _run_part(self, batch: Batch, keep: bool) -> "_Part":
        if keep:
            return _Part(batch, self._run(batch), None)
        state = _random_state(self.device)
        with torch.no_grad():
            return _Part(batch, self._run(batch), state)

    def _backprop_part(self, part: "_Part", d_vectors: torch.Tensor) -> None:
        if part.random_state is None:
            part.vectors.backward(d_vectors)
            return
        devices = [] if self.device.type == "cpu" else [self.device]
        with torch.random.fork_rng(devices, device_type=self.device.type):
            _set_random_state(self.device, part.random_state)  # the same dropout
            vectors = self._run(part.batch)
        vectors.backward(d_vectors)

    def _run(self, batch: Batch) -> torch.Tensor:
        """RETURNS (torch.Tensor): The vectors of the words of a batch, float32."""
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
        owner = self._send(np.repeat(np.arange(n), batch.lengths))
        sums = hidden.new_zeros(n, hidden.shape[1])
        sums = sums.index_add(0, owner, hidden.index_select(0, self._send(places)))
        return sums / self._send(batch.lengths)[:, None]

    def _autocast(self):
        on = (
            self.settings["mixed_precision"]
            and self.device.type == "cuda"
            and torch.cuda.is_bf16_supported()
        )
        return torch.autocast("cuda", dtype=torch.bfloat16, enabled=on)

    def _send(self, array: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(
            self.device, non_blocking=True
        )


def no_backprop(d_vectors: Any) -> None:
    """Do nothing: what prediction returns in the place of backpropagation.

    d_vectors (Any): Ignored.
    """
    return None


class _Part(NamedTuple):
    """A batch that went through the encoder.

    batch (Batch): What went in.
    vectors (torch.Tensor): What came out.
    random_state (Tuple | None): If nothing was kept for backpropagation: the
        state of the random numbers before.
    """

    batch: Batch
    vectors: torch.Tensor
    random_state: tuple | None


def _random_state(device: torch.device) -> tuple:
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_device


def _set_random_state(device: torch.device, state: tuple) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
