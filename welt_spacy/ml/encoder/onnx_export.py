"""Encoders of torch written in ONNX, full precision or int8.

Imported when a pipeline is optimized: torch, onnx and onnxruntime are needed.
"""

import contextlib
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from ...errors import WeltError, first_line
from .onnx import start_session

OPSET = 17


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
            reason = first_line(err)
            raise WeltError(
                f"Encoders of type {encoder.config.model_type!r} can't be written in "
                f"ONNX: {reason}"
            ) from None
    _check(module, data, encoder.config)
    return data


def _check(module: torch.nn.Module, data: bytes, config: Any) -> None:
    """Compare them on a shape that the export has not seen."""
    ids = torch.arange(3 * 11).reshape(3, 11) % int(config.vocab_size)
    mask = torch.ones_like(ids)
    mask[2, 4:] = 0
    with torch.inference_mode():
        wanted = module(ids, mask)
    inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    found = torch.from_numpy(start_session(data, threads=1).run(None, inputs)[0])
    gap = float((wanted - found)[mask == 1].abs().max())
    if not gap < 1e-3 * max(1.0, float(wanted.abs().max())):
        raise WeltError(
            f"Encoders of type {config.model_type!r} give other results in "
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
