"""Processes on one machine and Ray."""
