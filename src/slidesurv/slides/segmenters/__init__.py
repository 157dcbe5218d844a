"""Ways of finding tissue, one a file."""
