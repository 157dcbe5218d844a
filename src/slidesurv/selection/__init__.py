"""Which tiles of a patient a model looks at."""
