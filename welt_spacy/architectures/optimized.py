"""Encoders in forms that are faster, and only predict."""

from typing import Any

import torch

from ..errors import WeltError, extra_needed

OPTIMIZED = ("onnx", "int8", "bf16")
# Those that ONNX Runtime runs
ON_RUNTIME = ("onnx", "int8")


def convert(model: Any, to: str) -> Any:
    """Convert an encoder.

    model (PreTrainedModel): The encoder.
    to (str): "onnx": ONNX Runtime, full precision; "int8": ONNX Runtime,
        weights and activations of matrix products in 8 bits; "bf16": bfloat16
        in torch.
    RETURNS (Any): The encoder in this form.
    RAISES (WeltError): If the form is unknown, onnx or onnxruntime are missing, or
        they can't run the encoder.
    """
    if to not in OPTIMIZED:
        raise WeltError(f"Can't optimize to {to!r}: use one of {', '.join(OPTIMIZED)}")
    if to == "bf16":
        return model.to(torch.bfloat16)
    onnx = import_onnx()
    data = onnx.export(model.cpu())
    if to == "int8":
        data = onnx.quantize(data)
    return onnx.OnnxEncoder(data, model.config)


def import_onnx() -> Any:
    """RETURNS (Any): The module `onnx_encoder`.
    RAISES (WeltError): If what it needs is not installed.
    """
    with extra_needed("This", "onnx"):
        from . import onnx_encoder
    return onnx_encoder
