"""Cox's proportional hazards of many covariates, held back by a ridge, and the survival curves that belong to them.

Newton steps in numpy, checked against lifelines. With more columns than patients they run in as many dimensions as
there are patients, which is the same optimum: a thousand tile features of a fold take a second, not minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve

from slidesurv.errors import DataError
from slidesurv.survival.follow_up import Bools, Floats, Integers, as_follow_up, as_labels, as_numbers, members

__all__ = ["BaselineHazard", "breslow", "choose_penalty", "fit_ridge", "partial_likelihood"]

ROUNDS = 100  # Newton steps, halved ones among them; ten are usual
PRECISE = 1e-12  # nats that the next step can still gain, as a share of the deaths
ROUNDING = 1e-12  # of the likelihood, as a share: less than this is no fall
ROUGH = 1e-4  # the same while penalties are only compared
NOTHING = 1e-10  # singular values below this share of the largest are rounding errors
WORSE = 2  # penalties in a row that predict worse than the best: smaller ones are not tried


@dataclass(frozen=True, eq=False, slots=True)
class BaselineHazard:
    """The hazard of a patient whose log hazard is 0, added up over time.

    Attributes:
        time: (M,) rising months of deaths.
        cumulative: (M,) hazard up to and with each; a larger value means more deaths.
    """

    time: Floats
    cumulative: Floats

    def survival(self, log_hazard: ArrayLike, months: ArrayLike) -> Floats:
        """(B, T) probability that patients of (B,) log hazards are alive after each of (T,) months; flat at the end."""
        upto = np.searchsorted(self.time, np.asarray(months, np.float64), side="right")
        cumulative = np.concatenate([[0.0], self.cumulative])[upto]  # (T,)
        with np.errstate(over="ignore", divide="ignore"):
            hazard = np.asarray(log_hazard, np.float64)[:, None] + np.log(cumulative)
            curves: Floats = np.exp(-np.exp(hazard))
        return curves


def partial_likelihood(
    log_hazard: ArrayLike, time: ArrayLike, event: ArrayLike, *, strata: ArrayLike | None = None
) -> float:
    """Log partial likelihood, deaths at one time by Efron's rule.

    Args:
        log_hazard: (B,) a larger value means an earlier death.
        time: (B,) months.
        event: (B,) True = death seen.
        strata: (B,) folds or the like, each with its own baseline.

    Returns:
        Nats, at most 0; a larger value means that the deaths surprise less. 0 without a death.

    Raises:
        DataError: the lengths differ, a time is not finite, or a log hazard is NaN.

    Source:
        Cox, JRSS B 1972; Efron, JASA 1977, for ties.
    """
    times, events = as_follow_up(time, event)
    values = as_numbers("log_hazard", log_hazard, len(times))
    return _likelihood(_sort(times, events, members(strata, len(times))), values)


def fit_ridge(
    values: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    *,
    penalty: float,
    strata: ArrayLike | None = None,
) -> Floats:
    """Fit proportional hazards by maximising partial likelihood − penalty / 2 · Σ coefficient².

    Args:
        values: (B, P) covariates, on comparable scales.
        time: (B,) months.
        event: (B,) True = death seen.
        penalty: at least 0; the precision of a normal prior around 0. Without it a covariate that tells all gets a
            coefficient so large that the likelihood stops rising.
        strata: as in `partial_likelihood`.

    Returns:
        (P,) change of the log hazard with one unit of each covariate; a larger value means an earlier death.

    Raises:
        DataError: nobody died, or no maximum is found.

    Source:
        Verweij and Van Houwelingen, Statistics in Medicine 1994. Ties by Efron, JASA 1977.
    """
    times, events, table = _check(values, time, event)
    reduced, directions = _reduce(table)
    sets = _sort(times, events, members(strata, len(times)))
    return directions.T @ _climb(reduced, sets, penalty, np.zeros(reduced.shape[1]), PRECISE)


def choose_penalty(
    values: ArrayLike, time: ArrayLike, event: ArrayLike, fold: ArrayLike, *, penalties: Sequence[float]
) -> float:
    """Choose the penalty of `fit_ridge` by the likelihood of those whom the fit has not seen.

    Each fold is left out once; what it adds to the partial likelihood of all is counted. Penalties are tried from the
    largest on, until two in a row do worse than the best.

    Args:
        values: (B, P) covariates, as for `fit_ridge`.
        time: (B,) months.
        event: (B,) True = death seen.
        fold: (B,) the inner fold of each patient, all of the training patients.
        penalties: to choose from, each above 0.

    Returns:
        The best of them; of equals the largest.

    Raises:
        DataError: nobody died, or only in one fold.

    Source:
        Verweij and Van Houwelingen, Statistics in Medicine 1993.
    """
    times, events, table = _check(values, time, event)
    reduced, _ = _reduce(table)
    _, number = as_labels("fold", fold, len(times))
    everybody = _sort(times, events, members(None, len(times)))
    parts = [_Part.leave_out(number == own, reduced, times, events) for own in np.unique(number)]
    scores: list[float] = []
    rising = sorted(penalties, reverse=True)
    for penalty in rising:
        scores.append(sum(part.gain(reduced, everybody, penalty) for part in parts))
        if len(scores) - 1 - int(np.argmax(scores)) >= WORSE:
            break
    return rising[int(np.argmax(scores))]


def breslow(log_hazard: ArrayLike, time: ArrayLike, event: ArrayLike) -> BaselineHazard:
    """Estimate the hazard that all patients share, given how theirs differ.

    Args:
        log_hazard: (B,) of training patients.
        time: (B,) months.
        event: (B,) True = death seen.

    Raises:
        DataError: as for `partial_likelihood`.

    Source:
        Breslow, discussion of Cox, JRSS B 1972.
    """
    times, events = as_follow_up(time, event)
    values = as_numbers("log_hazard", log_hazard, len(times))
    moments, deaths = np.unique(times[events], return_counts=True)
    order = times.argsort()
    top = values.max(initial=0.0)
    hazard = np.append(np.exp(values[order] - top)[::-1].cumsum()[::-1], 0.0)  # (B+1,) of those from here on
    at_risk = hazard[np.searchsorted(times[order], moments, side="left")]  # (M,)
    return BaselineHazard(moments, (deaths / at_risk).cumsum() * np.exp(-top))


@dataclass(frozen=True, eq=False, slots=True)
class _RiskSets:
    """Who was at risk at the deaths of one stratum.

    Attributes:
        order: (n,) positions of its patients, the latest first, so that a risk set is the head of the list.
        moment: (n,) the number of each patient's time, from the latest.
        last: (M,) where the patients of each moment end.
        dead: (E,) places in ``order`` of those who died.
        share: (E,) k / d for the k-th of d deaths at one moment, from 0: what it leaves out of their hazard (Efron).
    """

    order: Integers
    moment: Integers
    last: Integers
    dead: Integers
    share: Floats

    @classmethod
    def sort(cls, time: Floats, event: Bools, inside: Integers) -> Self:
        order = inside[np.argsort(-time[inside], kind="stable")]
        later = np.diff(time[order]) != 0
        moment = np.concatenate([[0], later.cumsum()])[: len(order)]
        last = np.append(np.flatnonzero(later), len(order) - 1)
        dead = np.flatnonzero(event[order])
        many = np.bincount(moment[dead], minlength=len(last))
        earlier = np.arange(len(dead)) - (many.cumsum() - many)[moment[dead]]
        return cls(order, moment, last, dead, earlier / many[moment[dead]])

    def hazards(self, log_hazard: Floats) -> tuple[Floats, Floats, float]:
        """(n,) hazards, scaled to be at most 1; (E,) of the risk set of each death; and the log of the scale."""
        own = log_hazard[self.order]
        top = float(own.max())
        hazard = np.exp(own - top)
        return hazard, self.at_deaths(hazard), top

    def at_deaths(self, values: Floats) -> Floats:
        """(E, …) sum of (n, …) values over the risk set of each death, less what Efron's rule leaves out."""
        upto = values.cumsum(0)[self.last[self.moment[self.dead]]]
        dying = np.zeros((len(self.last), *values.shape[1:]))
        np.add.at(dying, self.moment[self.dead], values[self.dead])
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        left: Floats = upto - share * dying[self.moment[self.dead]]
        return left

    def likelihood(self, log_hazard: Floats) -> float:
        _, at_risk, top = self.hazards(log_hazard)
        with np.errstate(divide="ignore"):  # of a step that went much too far
            return float((log_hazard[self.order][self.dead] - top - np.log(at_risk)).sum())

    def derivatives(self, values: Floats, log_hazard: Floats) -> tuple[Floats, Floats]:
        """(r,) first derivative of the likelihood along (B, r) values, and minus the (r, r) second."""
        hazard, at_risk, _ = self.hazards(log_hazard)
        own = values[self.order]
        left_out = np.zeros(len(hazard))
        per_moment = np.bincount(self.moment[self.dead], self.share / at_risk, len(self.last))
        left_out[self.dead] = per_moment[self.moment[self.dead]]
        once = np.bincount(self.moment[self.dead], 1 / at_risk, len(self.last))
        expected = hazard * (once[::-1].cumsum()[::-1][self.moment] - left_out)  # (n,) deaths
        weighted = own * hazard[:, None]
        mean = self.at_deaths(weighted) / at_risk[:, None]  # (E, r)
        slope = own[self.dead].sum(0) - expected @ own
        return slope, (own * expected[:, None]).T @ own - mean.T @ mean


@dataclass(frozen=True, eq=False, slots=True)
class _Part:
    """The patients outside one inner fold, and the coefficients that they were last given.

    Attributes:
        sets: of these patients, as places in the whole table.
        coefficients: (r,) changed in place, from which the next penalty starts.
    """

    sets: list[_RiskSets]
    coefficients: Floats

    @classmethod
    def leave_out(cls, left_out: Bools, reduced: Floats, time: Floats, event: Bools) -> Self:
        others = np.flatnonzero(~left_out)
        if not event[others].any():
            raise DataError(
                f"All {event.sum()} deaths are in one inner fold: nothing can be fitted without it. "
                "Deal the deaths to two folds or more."
            )
        return cls(_sort(time, event, [others]), np.zeros(reduced.shape[1]))

    def gain(self, reduced: Floats, everybody: list[_RiskSets], penalty: float) -> float:
        """What the fold left out adds to the likelihood, at the coefficients of the others."""
        self.coefficients[:] = _climb(reduced, self.sets, penalty, self.coefficients, ROUGH)
        log_hazard = reduced @ self.coefficients
        return _likelihood(everybody, log_hazard) - _likelihood(self.sets, log_hazard)


def _check(values: ArrayLike, time: ArrayLike, event: ArrayLike) -> tuple[Floats, Bools, Floats]:
    times, events = as_follow_up(time, event)
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or len(table) != len(times) or not np.isfinite(table).all():
        raise DataError(
            f"The covariates have the shape {table.shape}, {np.count_nonzero(~np.isfinite(table))} of them not finite, "
            f"for {len(times)} patients: give one row a patient, every value filled in."
        )
    if not events.any():
        raise DataError(f"None of {len(times)} patients died, so hazards cannot be fitted. Give patients with deaths.")
    return times, events, table


def _reduce(table: Floats) -> tuple[Floats, Floats]:
    """Turn (B, P) values into (B, r) with r ≤ B; a ridge's optimum lies in the span of the patients.

    Returns:
        The reduced values, and the (r, P) directions that carry coefficients back.
    """
    if table.shape[1] <= len(table):
        return table, np.eye(table.shape[1])
    left, sizes, directions = np.linalg.svd(table, full_matrices=False)
    kept = sizes > NOTHING * max(sizes[0], NOTHING)
    return left[:, kept] * sizes[kept], directions[kept]


def _sort(time: Floats, event: Bools, strata: Sequence[Integers]) -> list[_RiskSets]:
    return [_RiskSets.sort(time, event, inside) for inside in strata if len(inside)]


def _likelihood(sets: Sequence[_RiskSets], log_hazard: Floats) -> float:
    return sum(each.likelihood(log_hazard) for each in sets)


def _climb(reduced: Floats, sets: Sequence[_RiskSets], penalty: float, start: Floats, precise: float) -> Floats:
    """Maximise the penalised likelihood by Newton steps, halved where they go too far."""
    coefficients, ridge = start, penalty * np.eye(reduced.shape[1])
    deaths = sum(len(each.dead) for each in sets)

    def value(at: Floats) -> float:
        return _likelihood(sets, reduced @ at) - penalty / 2 * float(at @ at)

    now = value(coefficients)
    for _ in range(ROUNDS):
        log_hazard = reduced @ coefficients
        slopes, bends = zip(*(each.derivatives(reduced, log_hazard) for each in sets), strict=True)
        slope, bend = np.sum(slopes, axis=0) - penalty * coefficients, np.sum(bends, axis=0) + ridge
        step = solve(bend, slope, assume_a="pos") if penalty else np.linalg.lstsq(bend, slope)[0]
        if slope @ step <= 2 * precise * deaths:
            return coefficients + step
        while (then := value(coefficients + step)) < now - ROUNDING * (1 + abs(now)):
            step /= 2
        coefficients, now = coefficients + step, then
    raise DataError(
        f"The hazards of {deaths} deaths by {reduced.shape[1]} covariates have no maximum that {ROUNDS} steps reach: "
        f"the penalty {penalty:g} is too small for them. Set a larger one."
    )
