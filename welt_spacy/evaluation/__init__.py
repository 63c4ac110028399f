"""Evaluate pipelines and tune their settings on dev data."""
