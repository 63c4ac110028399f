"""Serve a pipeline over HTTP."""
