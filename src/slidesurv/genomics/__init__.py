"""Expression and its views."""
