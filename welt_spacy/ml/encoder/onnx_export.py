"""Export torch encoders to ONNX, in full precision or int8.

Imported when a pipeline is optimized, because torch, onnx and onnxruntime are extras.
"""

import contextlib
import logging
import tempfile
import threading
import warnings
from collections.abc import Iterator
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
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return output.last_hidden_state


def export(encoder: Any) -> bytes:
    """Export an encoder on the CPU to ONNX: a model from input_ids and attention_mask of any
    shape to last_hidden_state. Raise an error if its outputs differ.
    """
    module = _LastHiddenState(encoder).eval()
    axes = {0: "batch", 1: "width"}
    names = ["input_ids", "attention_mask", "last_hidden_state"]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                module,
                _make_inputs(encoder.config, (2, 7), n_masked=2),
                str(path),
                input_names=names[:2],
                output_names=names[2:],
                dynamic_axes=dict.fromkeys(names, axes),
                opset_version=OPSET,
                # int8 models of the newer exporter are a fifth slower
                dynamo=False,
            )
            data = path.read_bytes()
        except Exception as err:
            reason = first_line(err)
            raise WeltError(
                f"Encoders of type {encoder.config.model_type!r} can't be exported to "
                f"ONNX: {reason}"
            ) from None
    _compare(module, data, encoder.config)
    return data


def _make_inputs(
    config: Any, shape: tuple[int, int], n_masked: int
) -> tuple[torch.Tensor, torch.Tensor]:
    n, length = shape
    ids = torch.arange(n * length).reshape(n, length) % int(config.vocab_size)
    mask = torch.ones_like(ids)
    mask[-1, length - n_masked :] = 0
    return ids, mask


def _compare(module: torch.nn.Module, data: bytes, config: Any) -> None:
    """Compare outputs for inputs of another shape than those of the export."""
    ids, mask = _make_inputs(config, (3, 11), n_masked=7)
    with torch.inference_mode():
        expected = module(ids, mask)
    inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    outputs = torch.from_numpy(start_session(data, threads=1).run(None, inputs)[0])
    gap = float((expected - outputs)[mask == 1].abs().max())
    if not gap < 1e-3 * max(1.0, float(expected.abs().max())):
        raise WeltError(
            f"Encoders of type {config.model_type!r} give other results in "
            f"ONNX: vectors differ by up to {gap:.2g}"
        )


def quantize(data: bytes) -> bytes:
    """Round the weights of an exported encoder to int8, by output channel. Activations are
    rounded at run time (dynamic quantization).
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
def _quiet() -> Iterator[None]:
    """Hide warnings of exporters, which are for their own developers. Messages that other
    threads log are not hidden.
    """
    thread = threading.get_ident()

    def is_shown(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or record.thread != thread

    root = logging.getLogger()  # onnxruntime logs there
    root.addFilter(is_shown)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(is_shown)
