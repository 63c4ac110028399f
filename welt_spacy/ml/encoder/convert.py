"""Encoders in forms that are faster, and only predict."""

from typing import Any

from thinc.api import Model

from ...errors import WeltError, extra_needed

OPTIMIZED = ("onnx", "int8", "bf16")
# Settings of the encoder that matter in prediction on a CPU
KEPT = ("pooling", "max_length", "overlap", "context", "max_batch_pieces")
TRANSFORMER, ONNX = "welt_spacy.TransformerEncoder.v1", "welt_spacy.OnnxEncoder.v1"


def optimize_encoder(layer: Model, to: str) -> Model:
    """Convert an encoder to a form that is faster.

    layer (Model): A `welt_spacy.TransformerEncoder.v1`.
    to (str): "onnx": ONNX Runtime, full precision; "int8": ONNX Runtime, weights and
        activations of matrix products in 8 bits; "bf16": bfloat16 in torch.
    RETURNS (Model): The layer to put in its place: a `welt_spacy.OnnxEncoder.v1`, or for
        "bf16" the layer itself.
    RAISES (WeltError): If the form is unknown, the encoder is optimized already, onnx or
        onnxruntime are missing, or they can't run it.
    """
    if to not in OPTIMIZED:
        raise WeltError(f"Can't optimize to {to!r}: use one of {', '.join(OPTIMIZED)}")
    shim: Any = layer.shims[0]
    if shim.optimized:
        raise WeltError(
            f"The encoder is optimized already ({shim.optimized}): start from the "
            "pipeline that was trained"
        )
    if to == "bf16":
        shim.to_bf16()
        return layer
    with extra_needed("This", "onnx"):
        from .onnx import OnnxEncoder, build_onnx_encoder
        from .onnx_export import export, quantize
    from .pretrained import special_of

    encoder: Any = shim._model.cpu()
    data = export(encoder)
    if to == "int8":
        data = quantize(data)
    settings = {name: shim.cfg[name] for name in KEPT}
    made = build_onnx_encoder(**settings)
    made.attrs["encoder"] = OnnxEncoder(
        settings,
        data,
        shim.tokenizer.backend_tokenizer.to_str(),
        special_of(encoder.config, shim.tokenizer),
        to,
    )
    made.set_dim("nO", shim.width, force=True)
    return made
