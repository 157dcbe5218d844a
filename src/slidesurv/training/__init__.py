"""Doing: fit, predict, cross-validate."""
