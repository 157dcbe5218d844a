"""What a group of patients went through: Kaplan–Meier curves, the log-rank test, follow-up.

Written in numpy because a report must start in a tenth of a second; checked against lifelines and scikit-survival.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.errors import DataError
from slidesurv.survival.follow_up import (
    Bools,
    Floats,
    Integers,
    as_follow_up,
    as_labels,
    as_times,
    members,
    require_patients,
)

__all__ = ["KaplanMeier", "LogRank", "at_risk", "kaplan_meier", "log_rank", "median_follow_up"]

Z = 1.959963984540054  # the normal quantile of a 95 % band
ROUNDING = 1e-12  # a curve that is one half may be computed as a little more
NOTHING = 1e-9  # a variance of zero may be computed as a little more; one death among n patients has about 1 / n


@dataclass(frozen=True, eq=False)  # without slots: the error of the band is worked out when asked, and kept
class KaplanMeier:
    """A survival curve.

    Attributes:
        time: (M,) rising months at which somebody died or was last seen.
        survival: (M,) share alive just after each time; a larger value means fewer deaths.
        at_risk: (M,) patients still watched just before each time.
        events: (M,) deaths at each time.
    """

    time: Floats
    survival: Floats
    at_risk: Integers
    events: Integers

    def at(self, months: ArrayLike) -> Floats:
        """Survival at any (...) months: 1 before the first time, NaN after the last unless all have died."""
        return self._look_up(self.survival, months)

    def band_at(self, months: ArrayLike) -> tuple[Floats, Floats]:
        """The ends of the band at any (...) months, by the rules of `at`."""
        return self._look_up(self.low, months), self._look_up(self.high, months)

    @property
    def low(self) -> Floats:
        """(M,) lower end of the 95 % band, S ** exp(1.96 e) with e the standard error of log(-log S) by Greenwood."""
        return self._bound(Z)

    @property
    def high(self) -> Floats:
        """(M,) upper end of the 95 % band, S ** exp(-1.96 e)."""
        return self._bound(-Z)

    @property
    def median(self) -> float:
        """First month at which no more than half are alive; infinite when the curve stays above."""
        reached = self.time[self.survival <= 0.5 + ROUNDING]
        return float(reached[0]) if len(reached) else math.inf

    @cached_property
    def _error(self) -> Floats:
        """(M,) Greenwood's standard error of log(-log S); 0 where the curve is 1 or 0 and the band closes on it."""
        alive = self.at_risk - self.events
        greenwood = np.divide(self.events, self.at_risk * alive, out=np.zeros(len(alive)), where=alive > 0).cumsum()
        inside = (self.survival > 0) & (self.survival < 1)
        error = np.zeros(len(alive))
        error[inside] = np.sqrt(greenwood[inside]) / -np.log(self.survival[inside])
        return error

    def _bound(self, z: float) -> Floats:
        bound: Floats = self.survival ** np.exp(z * self._error)
        return bound

    def _look_up(self, values: Floats, months: ArrayLike) -> Floats:
        asked = np.asarray(months, dtype=np.float64)
        found = np.concatenate([[1.0], values])[np.searchsorted(self.time, asked, side="right")]
        watched = (asked <= self.time[-1]) | (self.survival[-1] == 0)
        return np.where(watched, found, np.nan)


@dataclass(frozen=True, eq=False, slots=True)
class LogRank:
    """A test whether groups die alike.

    Attributes:
        statistic: chi-squared; a larger value means that the groups differ more; NaN when no death can tell.
        p: probability of a statistic at least as large when they do not differ.
        groups: their names, sorted.
        observed: (K,) deaths in each group.
        expected: (K,) deaths in each group if all died alike.
    """

    statistic: float
    p: float
    groups: tuple[Any, ...]
    observed: Integers
    expected: Floats


def kaplan_meier(time: ArrayLike, event: ArrayLike) -> KaplanMeier:
    """Estimate the survival curve of a group.

    Args:
        time: (B,) months.
        event: (B,) True = death seen.

    Returns:
        The curve, with one step for each different time.

    Raises:
        DataError: no patient, lengths that differ, or a time that is not finite.

    Source:
        Kaplan and Meier, JASA 1958; band by Greenwood's variance on the log(-log) scale, Borgan and Liestøl 1990.
    """
    times, events = as_follow_up(time, event)
    require_patients(len(times), "a survival curve")
    order = times.argsort()
    rising = times[order]
    first = np.flatnonzero(_changes(rising))  # (M,) of each different time
    deaths = np.add.reduceat(events[order], first, dtype=np.int64)
    watched = len(times) - first
    return KaplanMeier(rising[first], (1 - deaths / watched).cumprod(), watched, deaths)


def median_follow_up(time: ArrayLike, event: ArrayLike) -> float:
    """Median months a patient would have been watched had nobody died (reverse Kaplan–Meier).

    Args:
        time: (B,) months.
        event: (B,) True = death seen.

    Returns:
        Months; infinite when more than half of the curve is still standing at the last time.

    Source:
        Schemper and Smith, Controlled Clinical Trials 1996.
    """
    times, events = as_follow_up(time, event)
    return kaplan_meier(times, ~events).median


def at_risk(time: ArrayLike, months: ArrayLike) -> Integers:
    """Count the patients still watched just before any (...) months, for the rows under a survival plot."""
    times = np.sort(as_times(time))
    return np.asarray(len(times) - np.searchsorted(times, np.asarray(months), side="left"), dtype=np.int64)


def log_rank(time: ArrayLike, event: ArrayLike, group: ArrayLike, *, strata: ArrayLike | None = None) -> LogRank:
    """Test whether K groups die alike.

    Args:
        time: (B,) months.
        event: (B,) True = death seen.
        group: (B,) the group of each patient.
        strata: (B,) folds or the like, inside which the groups are compared; None compares all with all.

    Returns:
        A chi-squared statistic with one degree of freedom fewer than there are groups that can be told apart.

    Raises:
        DataError: fewer than two groups, lengths that differ, or a time that is not finite.

    Source:
        Mantel, Cancer Chemotherapy Reports 1966; Peto and Peto, JRSS A 1972.
    """
    times, events = as_follow_up(time, event)
    names, member = as_labels("group", group, len(times))
    if len(names) < 2:
        raise DataError(f"The log-rank test was given {len(names)} group: it compares two or more. Check the cut-off.")
    if strata is None:
        observed, expected, covariance = _compare(times, events, member, len(names))
    else:
        parts = [_compare(times[m], events[m], member[m], len(names)) for m in members(strata, len(times))]
        observed, expected, covariance = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    statistic, p = _chi_squared(observed - expected, covariance)
    return LogRank(statistic, p, names, observed, expected)


def _compare(times: Floats, events: Bools, member: Integers, groups: int) -> tuple[Integers, Floats, Floats]:
    """Deaths (K,) observed and expected in each group, and the (K, K) covariance of their difference."""
    order = times.argsort()[::-1]  # latest first, so that sums run over those still watched
    moment = _changes(times[order]).cumsum() - 1
    shape = groups, int(moment[-1]) + 1  # (K, M)
    cell = member[order] * shape[1] + moment
    leaving = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    deaths = np.bincount(cell[events[order]], minlength=shape[0] * shape[1]).reshape(shape)
    watched = leaving.cumsum(1)
    died, alive = deaths.sum(0), watched.sum(0)  # (M,)
    share = watched / alive  # (K, M)
    spread = died * (alive - died) / np.maximum(alive - 1, 1)  # (M,) of the hypergeometric distribution
    covariance = np.diag(share @ spread) - (share * spread) @ share.T
    return deaths.sum(1), share @ died, covariance


def _chi_squared(difference: Floats, covariance: Floats) -> tuple[float, float]:
    """Weigh K differences, which sum to zero, by their covariance; its rank is the degrees of freedom."""
    if len(difference) == 2:
        if covariance[0, 0] < NOTHING:
            return math.nan, math.nan
        statistic = float(difference[0] ** 2 / covariance[0, 0])
        return statistic, math.erfc(math.sqrt(statistic / 2))
    variances, axes = np.linalg.eigh(covariance)
    told = variances > NOTHING
    if not told.any():
        return math.nan, math.nan
    from scipy.special import chdtrc

    statistic = float(((difference @ axes)[told] ** 2 / variances[told]).sum())
    return statistic, float(chdtrc(np.count_nonzero(told), statistic))


def _changes(times: Floats) -> Bools:
    """(B,) whether each sorted time differs from the one before it."""
    changes = np.ones(len(times), dtype=np.bool_)
    np.not_equal(times[1:], times[:-1], out=changes[1:])
    return changes
