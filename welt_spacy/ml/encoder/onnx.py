"""Encoders in ONNX Runtime as tok2vec layers. They only predict, and need neither torch nor
transformers.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import srsly
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Model
from thinc.model import deserialize_attr, serialize_attr
from thinc.types import Floats2d

from ...errors import WeltError, extra_needed, first_line
from ...parallel.processes import n_cores
from ...util.arrays import ranges, starts_of
from ..word_pieces import read_tokenizer
from .batches import (
    CPU_PIECES,
    Batch,
    Batcher,
    SpecialTokens,
    check_window_settings,
)


def build_onnx_encoder(
    *,
    pooling: Literal["first", "mean"] = "first",
    max_length: int | None = None,
    overlap: int = 128,
    context: int | None = None,
    max_batch_pieces: int | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Build an encoder in ONNX Runtime as a tok2vec layer.

    Registered as `welt_spacy.OnnxEncoder.v1`. `spacy welt optimize` replaces a
    `welt_spacy.TransformerEncoder.v1` with it and keeps its settings; see there. The encoder is
    loaded with the pipeline and can't be created from a config alone.

    pooling (str): The vector of a word is that of its first word piece ("first"), or the mean
        of all ("mean").
    max_length (int | None): Maximum number of word pieces in a window.
    overlap (int): Word pieces that neighbouring windows share.
    context (int | None): Maximum number of word pieces on each side of a sentence.
    max_batch_pieces (int | None): Maximum number of word pieces that go through the encoder at
        once; 1,024 if not set.
    RETURNS (Model[list[Doc], list[Floats2d]]): A layer with an array for each document, shape
        (n_tokens, width), float32.
    RAISES (WeltError): If onnxruntime or tokenizers are missing, or a setting is out of its
        range.
    """
    check_window_settings(max_length, overlap, context, max_batch_pieces)
    with extra_needed("welt_spacy.OnnxEncoder.v1", "onnxruntime"):
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
    settings = {
        "pooling": pooling,
        "max_length": max_length,
        "overlap": overlap,
        "context": context,
        "max_batch_pieces": max_batch_pieces,
    }
    return Model(
        "onnx_encoder",
        _forward,
        init=_init,
        dims={"nO": None},
        attrs={
            "encoder": OnnxEncoder(settings),
            "requires_extras": ["onnxruntime"],
        },
    )


def start_session(data: bytes, threads: int) -> Any:
    """Start an InferenceSession of a model in ONNX with a number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
    except Exception as err:
        # The exceptions of ONNX Runtime have no common class
        reason = first_line(err)
        raise WeltError(f"ONNX Runtime can't load the encoder: {reason}") from None


def _n_threads() -> int:
    """Return OMP_NUM_THREADS, or the number of cores of this process."""
    variable = os.environ.get("OMP_NUM_THREADS", "")
    if variable.isdigit() and int(variable) > 0:
        return int(variable)
    return n_cores()


class OnnxEncoder:
    """An encoder in ONNX Runtime with its tokenizer. It can be called from many threads.

    settings (dict[str, Any]): The arguments of `build_onnx_encoder`.
    data (bytes): The model in ONNX; empty before it is loaded.
    tokenizer (str): The tokenizer, as JSON of the tokenizers library.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        data: bytes = b"",
        tokenizer: str = "",
        special: SpecialTokens | None = None,
        format: str = "onnx",
    ):
        self.settings = settings
        self.data = data
        self.tokenizer = tokenizer
        self.special = special
        self.format = format
        self._sessions: list[Any] = []
        self._pid = os.getpid()
        if special is not None:
            self._batcher = Batcher(
                read_tokenizer(tokenizer),
                special,
                settings["max_length"],
                settings["overlap"],
                settings["context"],
            )
            self._sessions.append(start_session(data, _n_threads()))

    @property
    def is_loaded(self) -> bool:
        """True if there is an encoder."""
        return self.special is not None

    @property
    def width(self) -> int:
        """The width of the output."""
        return int(self._sessions[-1].get_outputs()[0].shape[-1])

    def __getstate__(self) -> dict[str, Any]:
        names = ("settings", "data", "tokenizer", "special", "format")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, docs: Sequence[Doc]) -> NDArray[np.float32]:
        """Compute the vectors of all tokens of documents, shape (n, width), float32. There must
        be a token in one of the documents.
        """
        session = self._get_session()
        plan = self._batcher(docs, self.settings["max_batch_pieces"] or CPU_PIECES)
        vectors = [self._run(session, batch) for batch in plan.batches]
        return np.concatenate(vectors)[plan.places]

    def _get_session(self) -> Any:
        if os.getpid() != self._pid:
            # Threads do not survive a fork. Earlier sessions stay open, because closing one
            # waits for its threads, which exist in the parent process only.
            self._pid = os.getpid()
            self._sessions.append(start_session(self.data, threads=1))
        return self._sessions[-1]

    def _run(self, session: Any, batch: Batch) -> NDArray[np.float32]:
        mask = np.ones_like(batch.ids) if batch.mask is None else batch.mask
        inputs = {"input_ids": batch.ids, "attention_mask": mask}
        (hidden,) = session.run(["last_hidden_state"], inputs)
        hidden = hidden.reshape(batch.ids.size, -1)
        if self.settings["pooling"] == "first":
            return hidden[batch.first]
        pieces = hidden[ranges(batch.first, batch.first + batch.lengths)]
        sums = np.add.reduceat(pieces, starts_of(batch.lengths)[:-1], axis=0)
        return sums / batch.lengths[:, None].astype("float32")


def _init(model: Model, X: Any = None, Y: Any = None) -> None:
    if not model.attrs["encoder"].is_loaded:
        raise WeltError(
            "welt_spacy.OnnxEncoder.v1 is made by 'spacy welt optimize' from a trained "
            "pipeline: train with welt_spacy.TransformerEncoder.v1"
        )


def _forward(
    model: Model, docs: Sequence[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[Any], Any]]:
    encoder = model.attrs["encoder"]
    if is_train:
        raise WeltError(
            f"This encoder was optimized for prediction ({encoder.format}) and can't be "
            "trained: train the pipeline it was made from"
        )
    lengths: Any = [len(doc) for doc in docs]
    if not sum(lengths):
        width = encoder.width if encoder.is_loaded else 0
        return [model.ops.alloc2f(0, width) for _ in docs], lambda d: []
    flat = model.ops.asarray2f(encoder(docs))
    return model.ops.unflatten(flat, lengths), lambda d: []


@serialize_attr.register(OnnxEncoder)
def _serialize(_: Any, value: OnnxEncoder, name: str, model: Model) -> bytes:
    state = value.__getstate__()
    state["special"] = None if value.special is None else value.special._asdict()
    return srsly.msgpack_dumps(state)


@deserialize_attr.register(OnnxEncoder)
def _deserialize(_: Any, value: bytes, name: str, model: Model) -> OnnxEncoder:
    state = srsly.msgpack_loads(value)
    if state["special"] is not None:
        state["special"] = SpecialTokens(**state["special"])
    # The settings of the config take precedence, such as another max_batch_pieces
    return OnnxEncoder(**{**state, "settings": model.attrs["encoder"].settings})
