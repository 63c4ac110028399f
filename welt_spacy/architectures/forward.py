"""Docs through an encoder: windows, batches, and what backpropagation keeps of them."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from spacy.tokens import Doc

from ..arrays import Ints, ranges, starts_of
from ..errors import WeltError
from .pretrained import special_pieces, window_of
from .windows import Windows, bucket, cut_windows
from .word_pieces import WordPieces

# Small groups keep to the caches of a CPU and pad little; a GPU wants to be filled.
BATCH_PIECES = {"cpu": 1024, "cuda": 16384}
TRAIN_PIECES = {"cpu": 2048, "cuda": 16384}

Backprop = Callable[[torch.Tensor], None]


class Forward:
    """Runs an encoder on docs. Prediction can be called from many threads.

    model (Any): The encoder: a PreTrainedModel, or an `OnnxEncoder`.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    settings (Dict[str, Any]): The arguments of `build_transformer_encoder`.
    RAISES (WeltError): If no word fits into a window.
    """

    def __init__(self, model: Any, tokenizer: Any, settings: Dict[str, Any]):
        self.model = model
        self.settings = settings
        limit = window_of(model.config, tokenizer)
        limit = min(limit, settings["max_pieces"] or limit)
        self.prefix, self.suffix = special_pieces(tokenizer)
        self.padding = tokenizer.pad_token_id or 0
        self.capacity = limit - len(self.prefix) - len(self.suffix)
        if self.capacity < 1:
            raise WeltError(f"max_pieces = {limit} leaves no room for words")
        # Windows that share more than a third cost far more than they give.
        self.overlap = min(settings["overlap"], self.capacity // 3)
        self.pieces = WordPieces(tokenizer, self.capacity)

    @property
    def device(self) -> torch.device:
        """RETURNS (torch.device): Where the encoder is."""
        parameter = next(self.model.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def __call__(
        self, docs: Sequence[Doc], trains: bool
    ) -> Tuple[torch.Tensor, Backprop]:
        """Run the encoder.

        docs (Sequence[Doc]): The docs, n tokens together, at least one.
        trains (bool): Whether there will be backpropagation.
        RETURNS (Tuple[torch.Tensor, Callable]): The vectors of the tokens, shape
            (n, width), float32, and a function from their gradient to nothing, which
            leaves gradients in the parameters.
        """
        flat, n_pieces = self.pieces(docs)
        windows = cut_windows(
            n_pieces, [len(doc) for doc in docs], self.capacity, self.overlap
        )
        piece_at = starts_of(n_pieces)
        sizes = piece_at[windows.end] - piece_at[windows.start]
        extra = len(self.prefix) + len(self.suffix)
        parts: List[_Part] = []
        order = []
        kind = self.device.type
        budget = self.settings["batch_pieces"] or BATCH_PIECES.get(kind, 4096)
        room = self.settings["train_pieces"] or TRAIN_PIECES.get(kind, 4096)
        for group in bucket(sizes + extra, budget):
            batch = Windows(*(column[group] for column in windows))
            inputs = (flat, piece_at, sizes[group], batch)
            room -= len(group) * int(sizes[group].max() + extra)
            # Without room to keep what backpropagation needs, it is computed again there
            parts.append(self._run_part(inputs, keep=trains and room >= 0))
            order.append(ranges(batch.keep_start, batch.keep_end))
        # Back from the order of sizes to that of the docs.
        words = np.concatenate(order)
        back = np.empty(len(words), dtype="int64")
        back[words] = np.arange(len(words))
        vectors = torch.cat([part.vectors.detach() for part in parts])
        vectors = vectors.index_select(0, self._send(back))
        if not trains:
            return vectors, no_backprop

        def backprop_vectors(d_vectors: torch.Tensor) -> None:
            d_words = d_vectors.index_select(0, self._send(words))
            d_parts = d_words.split([len(part.vectors) for part in parts])
            for part, d_part in zip(parts, d_parts):
                self._backprop_part(part, d_part)

        return vectors, backprop_vectors

    def _run_part(self, inputs: Tuple, keep: bool) -> "_Part":
        if keep:
            return _Part(inputs, self._run(*inputs), None)
        state = _random_state(self.device)
        with torch.no_grad():
            return _Part(inputs, self._run(*inputs), state)

    def _backprop_part(self, part: "_Part", d_vectors: torch.Tensor) -> None:
        if part.random_state is None:
            part.vectors.backward(d_vectors)
            return
        devices = [] if self.device.type == "cpu" else [self.device]
        with torch.random.fork_rng(devices, device_type=self.device.type):
            _set_random_state(self.device, part.random_state)  # the same dropout
            vectors = self._run(*part.inputs)
        vectors.backward(d_vectors)

    def _run(
        self, flat: Ints, piece_at: Ints, sizes: Ints, batch: Windows
    ) -> torch.Tensor:
        """Run the encoder on a group of windows.

        RETURNS (torch.Tensor): The vectors of the words that are kept, window by
            window, float32.
        """
        n, n_prefix = len(sizes), len(self.prefix)
        width = int(sizes.max()) + n_prefix + len(self.suffix)
        ids = np.full((n, width), self.padding, dtype="int64")
        ids[:, :n_prefix] = self.prefix
        rows = np.repeat(np.arange(n), sizes)
        columns = ranges(np.full(n, n_prefix), n_prefix + sizes)
        starts = piece_at[batch.start]
        ids[rows, columns] = flat[ranges(starts, starts + sizes)]
        for i, piece in enumerate(self.suffix):
            ids[np.arange(n), n_prefix + sizes + i] = piece
        inputs = {"input_ids": self._send(ids)}
        full = sizes + n_prefix + len(self.suffix)
        if (full < width).any():
            inputs["attention_mask"] = self._send(
                (np.arange(width) < full[:, None]).astype("int64")
            )
        with self._autocast():
            hidden = self.model(**inputs).last_hidden_state
        hidden = hidden.float().reshape(n * width, -1)
        # Where the pieces of the kept words lie in `hidden`
        words = ranges(batch.keep_start, batch.keep_end)
        window = np.repeat(np.arange(n), batch.keep_end - batch.keep_start)
        first = window * width + n_prefix + piece_at[words] - starts[window]
        if self.settings["pooling"] == "first":
            return hidden.index_select(0, self._send(first))
        lengths = piece_at[words + 1] - piece_at[words]
        places = ranges(first, first + lengths)
        owner = self._send(np.repeat(np.arange(len(words)), lengths))
        sums = hidden.new_zeros(len(words), hidden.shape[1])
        sums = sums.index_add(0, owner, hidden.index_select(0, self._send(places)))
        return sums / self._send(lengths)[:, None]

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
    """A group of windows that went through the encoder.

    inputs (Tuple): The arguments of `_run`.
    vectors (torch.Tensor): What came out.
    random_state (Optional[Tuple]): If nothing was kept for backpropagation: the
        state of the random numbers before.
    """

    inputs: Tuple
    vectors: torch.Tensor
    random_state: Optional[Tuple]


def _random_state(device: torch.device) -> Tuple:
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_device


def _set_random_state(device: torch.device, state: Tuple) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
