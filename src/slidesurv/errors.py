"""The errors a user can cause, and mend.

::

    SlidesurvError
    ├── ConfigError   (also ValueError)   what was asked for cannot be done
    ├── DataError     (also ValueError)   what was given cannot be used
    └── MissingExtra  (also ImportError)  an optional library is not installed

Every message says what is wrong with the value seen, what is allowed, and what to do now.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["ConfigError", "DataError", "MissingExtra", "SlidesurvError", "listing", "unknown"]


class SlidesurvError(Exception):
    """The root of every error that a user can cause."""


class ConfigError(SlidesurvError, ValueError):
    """What was asked for cannot be done."""


class DataError(SlidesurvError, ValueError):
    """What was given cannot be used."""


class MissingExtra(SlidesurvError, ImportError):  # noqa: N818 - named after pip's word for it
    """An optional library is not installed."""


def listing(values: Iterable[object], *, most: int = 5) -> str:
    """Quote values for a message, cut after ``most``.

    Returns:
        ``'a', 'b', … and 3 more``; at least two values are ever cut.
    """
    quoted = [f"'{value}'" for value in values]
    if len(quoted) <= most:
        return ", ".join(quoted)
    return ", ".join(quoted[: most - 1]) + f", … and {len(quoted) - most + 1} more"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is not known, with the nearest one that is.

    Returns:
        ``Unknown model 'vgta'. Did you mean 'vgat'? Known: 'attnmil', 'vgat'.``
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return f"Unknown {kind} '{name}'.{guess} Known: {listing(names, most=20)}."
