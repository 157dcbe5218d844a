"""Pixels, tiles and their features."""
