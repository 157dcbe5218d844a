"""Many runs: a list of them, and two side by side."""
