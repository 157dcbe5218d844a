"""Encoders of tiles, one file a family."""
