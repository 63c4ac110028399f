"""Strict and fair scores, errors, slices, calibration, significance."""
