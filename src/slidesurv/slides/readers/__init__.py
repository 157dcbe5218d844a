"""Libraries that read slides, one a file."""
