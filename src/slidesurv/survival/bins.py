"""The discrete time scale of a model: as many deaths in one bin as in the next."""

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.follow_up import Integers, as_follow_up, as_times
from slidesurv.types import TimeBins

__all__ = ["assign", "fit_bins"]

MARGIN = 1e-6  # months by which the outer edges lie beyond the first and the last time


def fit_bins(time: ArrayLike, event: ArrayLike, *, n_bins: int = 4) -> TimeBins:
    """Cut time at the quantiles of the deaths.

    The inner edges are quantiles of the deaths' times, linearly interpolated; the outer edges hold every time given.

    Args:
        time: (B,) months of follow-up of the training patients.
        event: (B,) True = death seen.
        n_bins: T, how many bins.

    Returns:
        T+1 rising edges.

    Raises:
        ConfigError: n_bins is below one.
        DataError: there are fewer deaths than bins, or so many at one time that two edges fall together.

    Source:
        Zadeh and Schmid, TPAMI 2020, as in MCAT (Chen et al., ICCV 2021).
    Differs:
        MCAT's edges see the whole cohort; the caller gives training patients alone, and `assign` closes the ends.
    """
    if n_bins < 1:
        raise ConfigError(f"n_bins is {n_bins}: at least one bin is needed.")
    times, events = as_follow_up(time, event)
    deaths = times[events]
    if len(deaths) < n_bins:
        raise DataError(
            f"{len(deaths)} deaths cannot fill {n_bins} time bins. "
            "Set n_bins to no more than the deaths, or teach with patients of whom more have died."
        )
    edges = np.quantile(deaths, np.linspace(0, 1, n_bins + 1))
    if np.any(np.diff(edges) <= 0):
        raise DataError(
            f"{n_bins} time bins need {n_bins + 1} different edges, but the quantiles of {len(deaths)} deaths are "
            f"{', '.join(f'{edge:g}' for edge in edges)}: too many deaths at one time. Set a smaller n_bins."
        )
    return TimeBins((float(times.min() - MARGIN), *edges[1:-1].tolist(), float(times.max() + MARGIN)))


def assign(bins: TimeBins, time: ArrayLike) -> Integers:
    """Say in which bin each time falls.

    Args:
        bins: T bins, each closed on the left.
        time: (B,) months.

    Returns:
        (B,) int64 in [0, T); times before the first edge or after the last fall into the first or the last bin.
    """
    return np.searchsorted(bins.edges[1:-1], as_times(time), side="right").astype(np.int64)
