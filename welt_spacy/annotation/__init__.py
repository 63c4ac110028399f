"""Entities of many texts: read, annotated and written, exactly once."""
