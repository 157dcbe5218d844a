"""Look at follow-up before counting with it: one time and one event a patient, and no holes."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slidesurv.errors import DataError

__all__ = [
    "Bools",
    "Floats",
    "Integers",
    "as_events",
    "as_follow_up",
    "as_labels",
    "as_numbers",
    "as_times",
    "members",
    "require_patients",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


def as_follow_up(time: ArrayLike, event: ArrayLike) -> tuple[Floats, Bools]:
    """Bring follow-up into one form.

    Args:
        time: (B,) months to death or to the last time seen alive.
        event: (B,) True or 1 = death seen.

    Returns:
        (B,) float64 times and (B,) bool events.

    Raises:
        DataError: the lengths differ, a time is not a finite number, or an event is not true or false.
    """
    times = as_times(time)
    return times, as_events(event, len(times))


def as_times(time: ArrayLike) -> Floats:
    """Bring (B,) times into float64, or say how many are no finite number."""
    times = np.asarray(time, dtype=np.float64)
    _require_column("time", times, times.size)
    if not np.isfinite(times).all():
        _refuse("time", ~np.isfinite(times), "is not a finite number")
    return times


def as_events(event: ArrayLike, patients: int) -> Bools:
    """Bring (B,) events into bool, or say how many are neither true (1) nor false (0)."""
    events = np.asarray(event)
    _require_column("event", events, patients)
    if events.dtype == np.bool_:
        return events
    if not (known := np.isin(events, (0, 1))).all():
        _refuse("event", ~known, "is neither true (1, death seen) nor false (0)")
    return events.astype(np.bool_)


def as_numbers(name: str, values: ArrayLike, patients: int) -> Floats:
    """Bring a (B,) column into float64, or say how many of it are NaN."""
    numbers = np.asarray(values, dtype=np.float64)
    _require_column(name, numbers, patients)
    if (missing := np.isnan(numbers)).any():
        _refuse(name, missing, "is NaN")
    return numbers


def as_labels(name: str, values: ArrayLike, patients: int) -> tuple[tuple[Any, ...], Integers]:
    """The different labels of a (B,) column, sorted, and the number (B,) of each patient's own."""
    labels = np.asarray(values)
    _require_column(name, labels, patients)
    names = np.unique(labels)
    return tuple(names.tolist()), names.searchsorted(labels)


def members(strata: ArrayLike | None, patients: int) -> list[Integers]:
    """The positions of the patients of each stratum; all patients together when there are no strata."""
    if strata is None:
        return [np.arange(patients)]
    names, numbers = as_labels("strata", strata, patients)
    return [np.flatnonzero(numbers == number) for number in range(len(names))]


def require_patients(patients: int, what: str) -> None:
    """Check that there is somebody to estimate from.

    Raises:
        DataError: there is nobody.
    """
    if not patients:
        raise DataError(f"No patient to estimate {what} from: at least one is needed. Check how they were chosen.")


def _require_column(name: str, values: NDArray[Any], patients: int) -> None:
    if values.shape == (patients,):
        return
    if values.ndim == 1:
        raise DataError(f"'{name}' has {len(values)} values for {patients} patients: give one value a patient.")
    raise DataError(f"'{name}' has the shape {values.shape}: give one value for each of the {patients} patients.")


def _refuse(name: str, bad: Bools, why: str) -> None:
    raise DataError(
        f"'{name}' {why} for {np.count_nonzero(bad)} of {bad.size} patients, first at position {int(bad.argmax())}. "
        "Mend or leave out these patients, and say so; they are never dropped in silence."
    )
