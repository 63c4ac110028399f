"""An encoder in ONNX Runtime, in the form of a tok2vec. It only predicts, and needs
neither torch nor transformers.
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
from .batches import CPU_PIECES, Batch, Batcher, Special, check_windows


def build_onnx_encoder(
    *,
    pooling: Literal["first", "mean"] = "first",
    max_length: int | None = None,
    overlap: int = 128,
    context: int | None = None,
    max_batch_pieces: int | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """Build an encoder in ONNX Runtime, in the form of a tok2vec.

    Registered as `welt_spacy.OnnxEncoder.v1`. `spacy welt optimize` puts it in the place
    of a `welt_spacy.TransformerEncoder.v1`, with its settings; see there. The encoder is
    loaded with the pipeline and can't be made from a config alone.

    pooling (str): The vector of a word is that of its first piece, or the mean.
    max_length (int | None): Word pieces in a window.
    overlap (int): Pieces that neighbouring windows share.
    context (int | None): Pieces around each sentence.
    max_batch_pieces (int | None): Pieces that go through the encoder at once.
    RETURNS (Model[list[Doc], list[Floats2d]]): (n_tokens, width) float32 a doc.
    RAISES (WeltError): If onnxruntime or tokenizers are missing, or a setting is out of
        its range.
    """
    check_windows(max_length, overlap, context, max_batch_pieces)
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
    """Start the runtime.

    data (bytes): The model, in ONNX.
    threads (int): How many it may use.
    RETURNS (onnxruntime.InferenceSession): The session.
    RAISES (WeltError): If the runtime can't read the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
    except Exception as err:
        # The runtime raises exceptions of its own, with no common class.
        reason = first_line(err)
        raise WeltError(f"ONNX Runtime can't load the encoder: {reason}") from None


def _threads() -> int:
    """As many as OMP_NUM_THREADS says, or as there are cores for this process."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    return n_cores()


class OnnxEncoder:
    """An encoder, its tokenizer and what it wants around the pieces of words. It can be
    called from many threads.

    settings (dict[str, Any]): The arguments of `build_onnx_encoder`.
    data (bytes): The model, in ONNX; empty if there is none yet.
    tokenizer (str): The tokenizer, as JSON of the tokenizers library.
    special (Special | None): What the encoder wants besides the pieces of words.
    form (str): How it was made: "onnx" or "int8".
    RAISES (WeltError): If the runtime can't read the model, or no word fits into a
        window.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        data: bytes = b"",
        tokenizer: str = "",
        special: Special | None = None,
        form: str = "onnx",
    ):
        self.settings = settings
        self.data = data
        self.tokenizer = tokenizer
        self.special = special
        self.form = form
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
            self._sessions.append(start_session(data, _threads()))

    @property
    def is_there(self) -> bool:
        """RETURNS (bool): Whether there is an encoder."""
        return self.special is not None

    @property
    def width(self) -> int:
        """RETURNS (int): The width of its output."""
        return int(self._sessions[-1].get_outputs()[0].shape[-1])

    def __getstate__(self) -> dict[str, Any]:
        names = ("settings", "data", "tokenizer", "special", "form")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __call__(self, docs: Sequence[Doc]) -> NDArray[np.float32]:
        """Run the encoder.

        docs (Sequence[Doc]): The docs, n tokens together, at least one.
        RETURNS (ndarray): Shape (n, width), float32: the vectors of the tokens.
        """
        session = self._session()
        plan = self._batcher(docs, self.settings["max_batch_pieces"] or CPU_PIECES)
        parts = [self._run(session, batch) for batch in plan.batches]
        return np.concatenate(parts)[plan.back]

    def _session(self) -> Any:
        if os.getpid() != self._pid:
            # Threads do not survive a fork. Earlier sessions are kept: to end one is to
            # wait for its threads, which for ever sleep in the parent process.
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
    if not model.attrs["encoder"].is_there:
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
            f"This encoder was optimized for prediction ({encoder.form}) and can't be "
            "trained: train the pipeline it was made from"
        )
    lengths = np.array([len(doc) for doc in docs], dtype="int64")
    if not lengths.sum():
        width = encoder.width if encoder.is_there else 0
        return [model.ops.alloc2f(0, width) for _ in docs], lambda d: []
    flat = model.ops.asarray2f(encoder(docs))
    bounds = starts_of(lengths).tolist()
    return [flat[a:b] for a, b in zip(bounds, bounds[1:])], lambda d: []


@serialize_attr.register(OnnxEncoder)
def _serialize(_: Any, value: OnnxEncoder, name: str, model: Model) -> bytes:
    state = value.__getstate__()
    state["special"] = None if value.special is None else value.special._asdict()
    return srsly.msgpack_dumps(state)


@deserialize_attr.register(OnnxEncoder)
def _deserialize(_: Any, value: bytes, name: str, model: Model) -> OnnxEncoder:
    state = srsly.msgpack_loads(value)
    if state["special"] is not None:
        state["special"] = Special(**state["special"])
    # What the config says now, such as another max_batch_pieces, holds
    return OnnxEncoder(**{**state, "settings": model.attrs["encoder"].settings})
