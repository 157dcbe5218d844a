"""The mathematics of censored time."""
