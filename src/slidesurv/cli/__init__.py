"""The front door: words to calls."""
