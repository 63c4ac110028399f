"""Tune the settings of a trained pipeline on dev data."""
