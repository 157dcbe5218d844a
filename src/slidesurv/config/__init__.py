"""An experiment as one TOML file, checked whole before any data is read.

Every section is a class; a key that none of them knows is refused with the nearest one that is. Paths are relative to
the file; ``$SLIDESURV_DATA`` at their start is the environment variable, or ``../shared/data``.
"""
