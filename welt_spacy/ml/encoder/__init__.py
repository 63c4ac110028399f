"""Transformer encoders in PyTorch and ONNX Runtime."""
