"""Annotate any number of texts, each exactly once."""
