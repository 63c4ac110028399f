"""An encoder of the transformers library as a layer of Thinc.

Imported when a pipeline with `welt_spacy.TransformerEncoder.v1` is made: torch
and transformers are an extra.
"""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
    cast,
)

import numpy as np
import srsly
import torch
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Optimizer, get_torch_default_device, torch2xp, xp2torch
from thinc.shims.shim import Shim
from thinc.types import Floats2d, FloatsXd

from .errors import WeltError
from .optimizers import AdamW
from .word_pieces import Ints, Windows, WordPieces, bucket, cut_windows, ranges

# Small groups keep to the caches of a CPU and pad little; a GPU wants to be filled.
BATCH_PIECES = {"cpu": 1024, "cuda": 16384}
TRAIN_PIECES = {"cpu": 2048, "cuda": 16384}
OPTIMIZED = ("onnx", "int8", "bf16")
OPTIMIZED_FILE = "welt_optimized.json"


class TransformerShim(Shim):
    """Holds an encoder and its tokenizer, runs them and saves them.

    Saved is what `save_pretrained` writes (config.json, model.safetensors, the
    tokenizer's files), as one message; so nothing is pickled, nothing is asked
    of a hub when it is loaded, and versions of transformers understand each
    other's files.

    settings (Dict[str, Any]): The arguments of `build_transformer_encoder`.
    """

    def __init__(self, settings: Dict[str, Any]):
        super().__init__(None, settings)
        self.tokenizer: Any = None
        self.pieces: Optional[WordPieces] = None
        # How the encoder was made faster for prediction; then it can't be trained
        self.optimized: Optional[str] = None
        self._pid = os.getpid()

    @property
    def width(self) -> Optional[int]:
        """RETURNS (Optional[int]): The width of the encoder's output; None before
        there is an encoder."""
        return None if self._model is None else int(self._model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """RETURNS (torch.device): Where the encoder is."""
        parameter = next(self._model.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def load(self, name: str) -> None:
        """Load a pre-trained encoder.

        name (str): Its name on the hub, or its folder.
        RAISES (WeltError): If there is none, or its tokenizer is no fast one.
        """
        from transformers import AutoModel

        with _clear_errors(name):
            model = AutoModel.from_pretrained(
                name, trust_remote_code=False, **self.cfg["transformer_config"]
            )
        # Encoders that are kept in half precision are trained in full precision.
        self._set(model.float(), load_tokenizer(name))

    def _set(self, model: Any, tokenizer: Any) -> None:
        self._model = model.to(get_torch_default_device())
        self._model.eval()
        self.tokenizer = tokenizer
        limit = _window_of(model.config, tokenizer)
        limit = min(limit, self.cfg["max_pieces"] or limit)
        self.prefix, self.suffix = _special_pieces(tokenizer)
        self.capacity = limit - len(self.prefix) - len(self.suffix)
        if self.capacity < 1:
            raise WeltError(f"max_pieces = {limit} leaves no room for words")
        # Windows that share more than a third cost far more than they give.
        self.overlap = min(self.cfg["overlap"], self.capacity // 3)
        self.pieces = WordPieces(tokenizer, self.capacity)
        self._freeze()

    def _freeze(self) -> None:
        n = self.cfg["frozen_layers"]
        if not n:
            return
        for name, parameter in self._model.named_parameters():
            depth = layer_of(name)
            if n < 0 or (depth is not None and depth < n):
                parameter.requires_grad_(False)

    # Running

    def __call__(self, docs: Sequence[Doc], is_train: bool):
        self._after_fork()
        if is_train and self.optimized:
            raise WeltError(
                f"This encoder was optimized for prediction ({self.optimized}) and "
                "can't be trained: train the pipeline it was made from"
            )
        if is_train and any(p.requires_grad for p in self._model.parameters()):
            self._model.train()
            return self._forward(docs, trains=True)
        self._model.eval()
        with torch.inference_mode():
            return self._forward(docs, trains=False)

    def _after_fork(self) -> None:
        # The threads of torch do not survive a fork (`nlp.pipe(n_process=2)`):
        # a child that waits for them hangs.
        if os.getpid() != self._pid:
            self._pid = os.getpid()
            torch.set_num_threads(1)
            if self.pieces is not None:
                self.pieces.renew_lock()
            if self.optimized in ("onnx", "int8"):
                self._model.start(threads=1)

    def _forward(
        self, docs: Sequence[Doc], trains: bool
    ) -> Tuple[torch.Tensor, Callable[[torch.Tensor], None]]:
        assert self.pieces is not None
        flat, n_pieces = self.pieces(docs)
        windows = cut_windows(
            n_pieces, [len(doc) for doc in docs], self.capacity, self.overlap
        )
        piece_at = np.concatenate(([0], np.cumsum(n_pieces)))
        sizes = piece_at[windows.end] - piece_at[windows.start]
        extra = len(self.prefix) + len(self.suffix)
        parts: List[_Part] = []
        order = []
        budget = self.cfg["batch_pieces"] or BATCH_PIECES.get(self.device.type, 4096)
        room = self.cfg["train_pieces"] or TRAIN_PIECES.get(self.device.type, 4096)
        for group in bucket(sizes + extra, budget):
            batch = Windows(*(column[group] for column in windows))
            inputs = (flat, piece_at, sizes[group], batch)
            room -= len(group) * int(sizes[group].max() + extra)
            # Without room to keep what its way back needs, it is computed again there
            parts.append(self._run_part(inputs, keep=trains and room >= 0))
            order.append(ranges(batch.keep_start, batch.keep_end))
        # Back from the order of sizes to that of the docs.
        words = np.concatenate(order)
        back = np.empty(len(words), dtype="int64")
        back[words] = np.arange(len(words))
        vectors = torch.cat([part.vectors.detach() for part in parts])
        vectors = vectors.index_select(0, self._send(back))
        if not trains:
            return vectors, _no_backprop

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
        ids = np.full((n, width), self.tokenizer.pad_token_id or 0, dtype="int64")
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
            hidden = self._model(**inputs).last_hidden_state
        hidden = hidden.float().reshape(n * width, -1)
        # Where the pieces of the kept words lie in `hidden`
        words = ranges(batch.keep_start, batch.keep_end)
        window = np.repeat(np.arange(n), batch.keep_end - batch.keep_start)
        first = window * width + n_prefix + piece_at[words] - starts[window]
        if self.cfg["pooling"] == "first":
            return hidden.index_select(0, self._send(first))
        lengths = piece_at[words + 1] - piece_at[words]
        places = ranges(first, first + lengths)
        owner = self._send(np.repeat(np.arange(len(words)), lengths))
        sums = hidden.new_zeros(len(words), hidden.shape[1])
        sums = sums.index_add(0, owner, hidden.index_select(0, self._send(places)))
        return sums / self._send(lengths)[:, None]

    def _autocast(self):
        on = (
            self.cfg["mixed_precision"]
            and self.device.type == "cuda"
            and torch.cuda.is_bf16_supported()
        )
        return torch.autocast("cuda", dtype=torch.bfloat16, enabled=on)

    def _send(self, array: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(
            self.device, non_blocking=True
        )

    # Training

    def finish_update(self, optimizer: Optimizer) -> None:
        """Update the weights with the gradients that have been collected.

        optimizer (Optimizer): `welt_spacy.AdamW.v1` steps with torch's fused
            AdamW, one clipping for the whole encoder; any other optimizer of
            Thinc is called for each parameter.
        """
        if isinstance(optimizer, AdamW):
            if any(p.requires_grad for p in self._model.parameters()):
                optimizer.step_torch(
                    self.id, self._model, layer_decay=self.cfg["layer_decay"]
                )
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
    def use_params(self, params: Dict[Any, Any]):
        """Use other weights, e.g. averages, for the time of a `with` block."""
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

    # Making it faster

    def optimize(self, to: str) -> None:
        """Convert the encoder to a form that is faster, and only predicts.

        to (str): "onnx": ONNX Runtime, full precision; "int8": ONNX Runtime,
            weights and activations of matrix products in 8 bits; "bf16": bfloat16
            in torch.
        RAISES (WeltError): If onnx or onnxruntime are missing, or can't run the
            encoder, or it is optimized already.
        """
        if to not in OPTIMIZED:
            raise WeltError(f"Can't optimize to {to!r}: use one of {OPTIMIZED}")
        if self.optimized:
            raise WeltError(
                f"The encoder is optimized already ({self.optimized}): start from the "
                "pipeline that was trained"
            )
        if to == "bf16":
            self._model = self._model.to(torch.bfloat16)
        else:
            onnx = _import_onnx()
            data = onnx.export(self._model.cpu())
            if to == "int8":
                data = onnx.quantize(data)
            self._model = onnx.OnnxEncoder(data, self._model.config)
        self.optimized = to

    # Moving and saving

    def to_device(self, device_type: str, device_id: int) -> None:
        """Move the encoder to a device: "cpu", or "gpu" and its number."""
        if self._model is not None:
            where = "cpu" if device_type == "cpu" else f"cuda:{device_id}"
            self._model.to(where)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The encoder, as the files of `save_pretrained`."""
        if self._model is None:
            return srsly.msgpack_dumps({})
        with tempfile.TemporaryDirectory() as folder, _no_progress():
            if self.optimized:
                srsly.write_json(
                    Path(folder) / OPTIMIZED_FILE, {"optimized": self.optimized}
                )
            if self.optimized in ("onnx", "int8"):
                (Path(folder) / "model.onnx").write_bytes(self._model.data)
                self._model.config.save_pretrained(folder)
            else:
                # One file, whatever its size
                self._model.save_pretrained(folder, max_shard_size="1000GB")
            self.tokenizer.save_pretrained(folder)
            files = {
                path.name: path.read_bytes()
                for path in sorted(Path(folder).iterdir())
                if path.is_file()
            }
        return srsly.msgpack_dumps(files)

    def from_bytes(self, bytes_data: bytes) -> "TransformerShim":
        """Load the encoder from `to_bytes`.

        bytes_data (bytes): The message.
        RETURNS (TransformerShim): The shim itself.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        files = srsly.msgpack_loads(bytes_data)
        if not files:
            return self
        told = srsly.json_loads(files.pop(OPTIMIZED_FILE, b"{}"))
        self.optimized = told.get("optimized")
        with tempfile.TemporaryDirectory() as folder, _no_progress():
            for name, content in files.items():
                # A name is a name: no way out of the folder.
                (Path(folder) / Path(name).name).write_bytes(content)
            local = {"local_files_only": True, "trust_remote_code": False}
            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
            if "model.onnx" in files:
                config = AutoConfig.from_pretrained(folder, **local)
                model = _import_onnx().OnnxEncoder(files["model.onnx"], config)
            else:
                model = AutoModel.from_pretrained(folder, use_safetensors=True, **local)
                # Which precision it loads in depends on the version of transformers.
                model.to(torch.bfloat16 if self.optimized == "bf16" else torch.float32)
            self._set(model, tokenizer)
        return self


def _import_onnx() -> Any:
    try:
        from . import onnx_encoder
    except ImportError as err:
        raise WeltError(
            f'This needs {err.name}: pip install "welt-spacy[onnx]"'
        ) from None
    return onnx_encoder


@contextlib.contextmanager
def _no_progress():
    """Keep transformers' progress bars out of the tables of `spacy train`."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class _Part(NamedTuple):
    """A group of windows that went through the encoder.

    inputs (Tuple): The arguments of `_run`.
    vectors (torch.Tensor): What came out.
    random_state (Optional[Tuple]): If nothing was kept for the way back: the state
        of the random numbers before.
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


@contextlib.contextmanager
def _clear_errors(name: str):
    try:
        yield
    except (OSError, ValueError) as err:
        reason = str(err).strip().splitlines()[0]
        raise WeltError(
            f"Can't load the encoder {name!r}: {reason} Use the name of a model on "
            "the hub, or a local folder with config.json, the weights and the "
            "tokenizer."
        ) from None


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a pre-trained encoder.

    name (str): Its name on the hub, or its folder.
    RETURNS (PreTrainedTokenizerFast): The tokenizer.
    RAISES (WeltError): If there is none, or it is no fast one.
    """
    from transformers import AutoTokenizer

    with _clear_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(
            name,
            use_fast=True,
            trust_remote_code=False,
            # Byte-level tokenizers need it for words; others ignore it.
            add_prefix_space=True,
        )
    if not getattr(tokenizer, "is_fast", False):
        raise WeltError(
            f"The encoder {name!r} has no fast tokenizer, which is needed to know "
            "the pieces of words"
        )
    return tokenizer


def count_pieces(name: str) -> Callable[[Union[Doc, Example]], int]:
    """See `welt_spacy.encoders.configure_piece_counter`."""
    tokenizer = load_tokenizer(name)
    n_special = sum(map(len, _special_pieces(tokenizer)))
    pieces = WordPieces(tokenizer, max_pieces=10**6)

    def count(item: Union[Doc, Example]) -> int:
        doc = item if isinstance(item, Doc) else item.predicted
        return int(pieces([doc])[1].sum()) + n_special

    return count


def _no_backprop(d_vectors: Any) -> None:
    return None


def layer_of(name: str) -> Optional[int]:
    """Find the depth of a parameter.

    name (str): Its name, e.g. "encoder.layer.3.output.dense.weight".
    RETURNS (Optional[int]): -1 for embeddings, 0 for the first layer; None for
        what lies outside of the layers.
    """
    parts = name.split(".")
    for before, part in zip(parts, parts[1:]):
        if before in ("layer", "layers", "h") and part.isdigit():
            return int(part)
    return -1 if "embeddings" in name else None


def _window_of(config: Any, tokenizer: Any) -> int:
    positions = int(getattr(config, "max_position_embeddings", 512) or 512)
    # RoBERTa's kin count positions from the padding id on.
    if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(getattr(tokenizer, "model_max_length", positions)))


def _special_pieces(tokenizer: Any) -> Tuple[List[int], List[int]]:
    """RETURNS (Tuple[List[int], List[int]]): The pieces before and after a
    sequence, e.g. [CLS] and [SEP]."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[:start], full[start + len(plain) :]
    raise WeltError("Can't tell the special pieces of this tokenizer")


def forward_docs(
    shim: TransformerShim, ops: Any, docs: Sequence[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], None]]:
    """Run the encoder on docs.

    RETURNS (Tuple): One (n_tokens, width) float32 array for each doc, on the
        device of `ops`, and the way back.
    """
    docs = list(docs)
    lengths = [len(doc) for doc in docs]
    if not sum(lengths):
        return [ops.alloc2f(0, shim.width or 0) for _ in docs], _no_backprop
    vectors, backprop_vectors = shim(docs, is_train)
    arrays = _split(torch2xp(vectors.detach(), ops=ops), lengths)

    def backprop(d_arrays: Iterable[Floats2d]) -> None:
        d_flat = ops.xp.concatenate([array for array in d_arrays if len(array)])
        backprop_vectors(xp2torch(d_flat, device=vectors.device))

    return arrays, backprop


def _split(flat: Any, lengths: List[int]) -> List[Any]:
    arrays, start = [], 0
    for length in lengths:
        arrays.append(flat[start : start + length])
        start += length
    return arrays
