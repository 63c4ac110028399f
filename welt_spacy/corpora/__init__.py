"""Corpora: catalogue, download, conversion and comparison."""
