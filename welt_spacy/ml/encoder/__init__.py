"""Transformer encoders as layers of Thinc, in torch and in ONNX Runtime."""
