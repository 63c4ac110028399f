"""Registered models: the head, the transformer encoder, windows for it."""
