"""An encoder of the transformers library in ONNX Runtime, full precision or int8.

Imported when such an encoder is made or loaded: onnx and onnxruntime are an extra.
"""

import contextlib
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import onnxruntime
import torch

from ..errors import WeltError

OPSET = 17


class Output(NamedTuple):
    """What the models of transformers return, as far as it is used here.

    last_hidden_state (torch.Tensor): Shape (n, width, hidden size), float32.
    """

    last_hidden_state: torch.Tensor


class OnnxEncoder:
    """Runs an encoder in ONNX Runtime on the CPU. Has the methods of a torch
    module that `TransformerShim` calls; there is nothing in it to train.

    data (bytes): The model, as `export` and `quantize` give it.
    config (PretrainedConfig): The settings of the encoder.
    """

    def __init__(self, data: bytes, config: Any):
        self.data = data
        self.config = config
        self._sessions: List[Any] = []
        self.start()

    def start(self, threads: Optional[int] = None) -> None:
        """Start the runtime; again after a fork, which its threads do not survive.

        threads (Optional[int]): How many it may use; as many as torch if not set.
        RAISES (WeltError): If the runtime can't read the model.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3  # errors
        try:
            # Earlier sessions are kept: to end one is to wait for its threads,
            # which for ever sleep in the parent process.
            self._sessions.append(
                onnxruntime.InferenceSession(
                    self.data, options, providers=["CPUExecutionProvider"]
                )
            )
        except Exception as err:
            # The runtime raises exceptions of its own, with no common class.
            reason = str(err).strip().splitlines()[0]
            raise WeltError(f"ONNX Runtime can't load the encoder: {reason}") from None

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: Optional[torch.Tensor] = None
    ) -> Output:
        """Run the encoder.

        input_ids (torch.Tensor): Shape (n, width), int64.
        attention_mask (Optional[torch.Tensor]): Shape (n, width), int64; 0 where
            there is padding.
        RETURNS (Output): The vectors, shape (n, width, hidden size), float32.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        inputs = {
            "input_ids": input_ids.numpy(),
            "attention_mask": attention_mask.numpy(),
        }
        (hidden,) = self._sessions[-1].run(["last_hidden_state"], inputs)
        return Output(torch.from_numpy(hidden))

    def __getstate__(self) -> Dict[str, Any]:
        return {"data": self.data, "config": self.config}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def named_parameters(self) -> Iterator[Tuple[str, Any]]:
        """There are no parameters: nothing can be trained."""
        return iter(())

    def parameters(self) -> Iterator[Any]:
        """There are no parameters: nothing can be trained."""
        return iter(())

    def train(self, mode: bool = True) -> "OnnxEncoder":
        """Change nothing: there is one mode."""
        return self

    def eval(self) -> "OnnxEncoder":
        """Change nothing: there is one mode."""
        return self

    def to(self, device: Any) -> "OnnxEncoder":
        """Change nothing, whatever the device: it runs on the CPU."""
        return self


class _LastHiddenState(torch.nn.Module):
    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return found.last_hidden_state


def export(encoder: Any) -> bytes:
    """Write an encoder in ONNX.

    encoder (PreTrainedModel): The encoder, on the CPU.
    RETURNS (bytes): The model: input_ids and attention_mask of any shape to
        last_hidden_state.
    RAISES (WeltError): If it can't be written, or does not compute the same.
    """
    module = _LastHiddenState(encoder).eval()
    ids = torch.arange(2 * 7).reshape(2, 7) % int(encoder.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    axes = {0: "batch", 1: "width"}
    names = ["input_ids", "attention_mask", "last_hidden_state"]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                module,
                (ids, mask),
                str(path),
                input_names=names[:2],
                output_names=names[2:],
                dynamic_axes=dict.fromkeys(names, axes),
                opset_version=OPSET,
                # The newer exporter made int8 models that are a fifth slower.
                dynamo=False,
            )
            data = path.read_bytes()
        except Exception as err:
            reason = str(err).strip().splitlines()[0]
            raise WeltError(
                f"Encoders of type {encoder.config.model_type!r} can't be written in "
                f"ONNX: {reason}"
            ) from None
    _check(module, OnnxEncoder(data, encoder.config))
    return data


def _check(module: torch.nn.Module, onnx: OnnxEncoder) -> None:
    """Compare them on a shape that the export has not seen."""
    ids = torch.arange(3 * 11).reshape(3, 11) % int(onnx.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[2, 4:] = 0
    with torch.inference_mode():
        wanted = module(ids, mask)
    found = onnx(ids, mask).last_hidden_state
    gap = float((wanted - found)[mask == 1].abs().max())
    if not gap < 1e-3 * max(1.0, float(wanted.abs().max())):
        raise WeltError(
            f"Encoders of type {onnx.config.model_type!r} give other results in "
            f"ONNX: vectors differ by up to {gap:.2g}"
        )


def quantize(data: bytes) -> bytes:
    """Round the weights to int8, by output channel; activations are rounded as they
    come (dynamic quantisation).

    data (bytes): What `export` returned.
    RETURNS (bytes): The model, about a quarter of the size.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path, rounded = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        path.write_bytes(data)
        quantize_dynamic(
            path,
            rounded,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        return rounded.read_bytes()


@contextlib.contextmanager
def _quiet():
    """Without the advice of exporters to their own developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


__all__ = ["OnnxEncoder", "export", "quantize"]
