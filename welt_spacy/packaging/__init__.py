"""Optimize, describe, package and push trained pipelines."""
