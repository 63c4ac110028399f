"""Corpora: which there are, and how their files become docs."""
