"""Convert trained encoders to faster formats that only predict."""

from typing import Any

from thinc.api import Model

from ...errors import WeltError, extra_needed

OPTIMIZED = ("onnx", "int8", "bf16")
# Settings that both encoders have
SHARED_SETTINGS = ("pooling", "max_length", "overlap", "context", "max_batch_pieces")
TRANSFORMER, ONNX = "welt_spacy.TransformerEncoder.v1", "welt_spacy.OnnxEncoder.v1"


def optimize_encoder(layer: Model, format: str) -> Model:
    """Convert an encoder to a faster format."""
    if format not in OPTIMIZED:
        raise WeltError(
            f"Can't optimize to {format!r}: use one of {', '.join(OPTIMIZED)}"
        )
    shim: Any = layer.shims[0]
    if shim.optimized:
        raise WeltError(
            f"The encoder is optimized already ({shim.optimized}): start from the "
            "pipeline that was trained"
        )
    if format == "bf16":
        shim.to_bf16()
        return layer
    with extra_needed("This", "onnx"):
        from .onnx import OnnxEncoder, build_onnx_encoder
        from .onnx_export import export, quantize
    from .pretrained import get_special_tokens

    encoder = shim.encoder.cpu()
    data = export(encoder)
    if format == "int8":
        data = quantize(data)
    settings = {name: shim.cfg[name] for name in SHARED_SETTINGS}
    optimized = build_onnx_encoder(**settings)
    optimized.attrs["encoder"] = OnnxEncoder(
        settings,
        data,
        shim.tokenizer.backend_tokenizer.to_str(),
        get_special_tokens(encoder.config, shim.tokenizer),
        format,
    )
    optimized.set_dim("nO", shim.width, force=True)
    return optimized
