"""How much sooner patients of higher risk die: hazard ratios and restricted means.

Proportional hazards are fitted by our own Newton steps, to all resamples together, where a loop takes minutes; checked
against lifelines.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.survival.concordance import TIED
from slidesurv.survival.estimators import KaplanMeier, kaplan_meier
from slidesurv.survival.evidence import Evidence, Metric, require_month
from slidesurv.survival.follow_up import Bools, Floats, Integers, as_numbers
from slidesurv.survival.resampling import Counts

__all__ = ["hazard_ratio", "log_hazard_ratio", "per_deviation", "restricted_mean_difference"]

Z = 1.959963984540054  # the normal quantile of a 95 % interval
ROUNDS = 50  # Newton steps of at most one standard deviation; five are usual, more than fifty mean no end
PRECISE = 1e-6  # standard deviations; a Newton step so short leaves an error of its square
NOTHING = 1e-8  # information that may be a rounding error of zero: the likelihood rises without end, or nowhere
NO_LIMIT = "the deaths follow the values without exception, or have nobody to be compared with: no finite ratio fits"
CELLS = 100_000  # resamples × patients looked at together: they stay in the cache


def hazard_ratio(evidence: Evidence, risk: ArrayLike) -> Metric:
    """Hazard ratio of one standard deviation of risk, each fold against its own baseline.

    Args:
        evidence: B test patients.
        risk: (B,) a larger value means an earlier death; the standard deviation is that of the fold's test patients,
            and stays when they are drawn again.

    Returns:
        A larger value means that risk tells more of death: 1 is nothing, below 1 the risk is upside down. ``theory``
        is the Wald interval. NaN without a death, when all risks are one, or when the ratio has no limit.

    Raises:
        DataError: the lengths differ, or a risk is NaN.

    Source:
        Cox, JRSS B 1972; Efron, JASA 1977, for ties.
    """
    risks = as_numbers("risk", risk, len(evidence.time))
    if endless := np.count_nonzero(np.isinf(risks)):
        return evidence.nothing(f"{endless} of {len(risks)} risks are infinite")
    fitted = log_hazard_ratio(evidence, per_deviation(risks, evidence.strata))
    low, high = np.exp(fitted.theory)
    return Metric(math.exp(fitted.value), np.exp(fitted.samples), fitted.note, (float(low), float(high)))


def log_hazard_ratio(evidence: Evidence, covariate: ArrayLike, *, until: float = math.inf) -> Metric:
    """Logarithm of the hazard ratio of one unit of a covariate, each fold against its own baseline.

    Args:
        evidence: B test patients.
        covariate: (B,) finite.
        until: months; what happened later is not looked at.

    Returns:
        0 means that the covariate tells nothing of death. ``theory`` is the Wald interval.

    Raises:
        DataError: the lengths differ, or a value is NaN.

    Source:
        Cox, JRSS B 1972; Efron, JASA 1977, for ties.
    """
    values = _centred(as_numbers("covariate", covariate, len(evidence.time)), evidence.strata)
    event = evidence.event & (evidence.time <= until)
    scale = float(values.std())
    if not event.any():
        return evidence.nothing(f"no death among {len(event)} test patients")
    if scale == 0:
        return evidence.nothing("all patients of a fold have one value")
    sets = _RiskSets.sort(np.minimum(evidence.time, until), event, evidence.strata)
    counts, values = evidence.counts[:, sets.order], values[sets.order] / scale
    with np.errstate(over="ignore", invalid="ignore"):  # a slope without end is NaN
        slope, information = (float(found[0]) for found in _climb(sets, counts[:1], values))
        samples, _ = _climb(sets, counts[1:], values, start=0.0 if math.isnan(slope) else slope)
    low, high = (slope + sign * Z / math.sqrt(information) for sign in (-1, 1))
    why = NO_LIMIT if math.isnan(slope) else ""
    return Metric(slope / scale, samples / scale, why, (low / scale, high / scale))


def restricted_mean_difference(evidence: Evidence, high: ArrayLike, *, tau: float) -> Metric:
    """Months of life until month tau by which the patients called low risk are ahead of those called high.

    Args:
        evidence: B test patients, all folds together.
        high: (B,) True = called high risk, by a cut that test patients had no part in.
        tau: months.

    Returns:
        A larger value means that the call tells more: 0 is nothing. ``theory`` is the interval by Greenwood's variance.
        NaN when a group is empty or nobody died; tau is cut to what both groups were watched for, and the note says so.
        In a resample that was not watched so long, a curve stays at its end.

    Raises:
        ConfigError: tau is not a number above 0.
        DataError: the lengths differ, or a call is NaN.

    Source:
        Royston and Parmar, BMC Medical Research Methodology 2013.
    """
    require_month("tau", tau)
    called = as_numbers("high", high, len(evidence.time)).astype(np.bool_)
    if called.all() or not called.any():
        return evidence.nothing(f"all {len(called)} test patients are called {'high' if called.all() else 'low'} risk")
    curves = [kaplan_meier(evidence.time[group], evidence.event[group]) for group in (~called, called)]
    until = min(tau, *(_known(curve) for curve in curves))
    if not (evidence.event & (evidence.time < until)).any():
        return evidence.nothing(f"no death among {len(called)} test patients before {until:g} months")
    error = math.sqrt(sum(_mean_variance(curve, until) for curve in curves))
    ahead = _restricted_means(evidence, ~called, until) - _restricted_means(evidence, called, until)
    value = float(ahead[0])
    note = f"tau is {until:g} months, not {tau:g}: one of the groups was watched no longer" if until < tau else ""
    return Metric(value, ahead[1:], note, (value - Z * error, value + Z * error))


def _centred(values: Floats, strata: tuple[Integers, ...]) -> Floats:
    """Values from the mean of their fold; 0 throughout a fold of one value, whatever the rounding."""
    centred = np.zeros(len(values))
    for inside in strata:
        if np.ptp(values[inside]) > TIED:
            centred[inside] = values[inside] - values[inside].mean()
    return centred


def per_deviation(risks: Floats, strata: tuple[Integers, ...]) -> Floats:
    """(B,) risks from the mean of their fold in its standard deviations; 0 throughout a fold of one value."""
    scaled = _centred(risks, strata)
    for inside in strata:
        if scaled[inside].any():
            scaled[inside] /= scaled[inside].std(ddof=1)
    return scaled


@dataclass(frozen=True, eq=False, slots=True)
class _RiskSets:
    """Who was at risk of the deaths of each moment, a time of a fold in which somebody died.

    Attributes:
        order: (B,) patients fold by fold, the latest first, so that a risk set is a run of them.
        first: (M,) where the run of each moment begins: at its fold.
        after: (M,) where it has ended.
        dead: (E,) positions in ``order`` of the deaths, moment by moment.
        starts: (M,) where the deaths of each moment begin in ``dead``.
    """

    order: Integers
    first: Integers
    after: Integers
    dead: Integers
    starts: Integers

    @classmethod
    def sort(cls, time: Floats, event: Bools, strata: tuple[Integers, ...]) -> Self:
        order = np.concatenate([inside[np.argsort(-time[inside], kind="stable")] for inside in strata])
        fold = np.repeat(np.arange(len(strata)), [len(inside) for inside in strata])
        later = np.flatnonzero((np.diff(time[order]) != 0) | (np.diff(fold) != 0)) + 1
        ends = np.append(later, len(order))  # of each run of one time
        dead = np.flatnonzero(event[order])
        run = np.searchsorted(ends, dead, side="right")
        moments, starts = np.unique(run, return_index=True)
        begins = np.searchsorted(fold, fold[ends[moments] - 1])
        return cls(order, begins, ends[moments], dead, starts)

    def sums(self, values: Floats) -> tuple[Floats, Floats]:
        """(R, M) sums of (R, B) ordered values over the risk set, and over the deaths, of each moment."""
        upto = np.zeros((len(values), values.shape[1] + 1))
        np.cumsum(values, axis=1, out=upto[:, 1:])
        dying = np.add.reduceat(values[:, self.dead], self.starts, axis=1)
        return upto[:, self.after] - upto[:, self.first], dying


def _climb(sets: _RiskSets, counts: Counts, values: Floats, *, start: float = 0.0) -> tuple[Floats, Floats]:
    """Maximise the partial likelihood of every resample by Newton steps.

    Args:
        sets: of the B patients.
        counts: (R, B) how often each was drawn, in order.
        values: (B,) in order, of standard deviation one.
        start: the slope to start from.

    Returns:
        (R,) slopes, and the information on them; both NaN where there is no maximum.
    """
    rows = max(1, CELLS // len(values))
    blocks = (counts[first : first + rows].astype(np.float64) for first in range(0, len(counts), rows))
    parts = [(np.empty(0), np.empty(0)), *(_climb_block(sets, block, values, start) for block in blocks)]
    slopes, information = (np.concatenate(part) for part in zip(*parts, strict=True))
    return slopes, information


def _climb_block(sets: _RiskSets, counts: Floats, values: Floats, start: float) -> tuple[Floats, Floats]:
    slopes, step, limit = np.full(len(counts), start), np.zeros(len(counts)), np.ones(len(counts))
    deaths = _Deaths.draw(sets, counts, values)
    for _ in range(ROUNDS):
        hazards = counts * np.exp(slopes[:, None] * values)  # (R, B)
        score, information = deaths.derivatives(sets, hazards, values)
        limit /= np.where(score * step < 0, 2, 1)  # the last step went too far
        step = np.clip(score / information, -limit, limit)
        slopes += step
        if not (np.abs(step) > PRECISE).any():
            break
    slopes[np.abs(step) > PRECISE] = np.nan
    return slopes, information


@dataclass(frozen=True, eq=False, slots=True)
class _Deaths:
    """The N deaths of all resamples of a block, each as often as its patient was drawn.

    Attributes:
        cell: (N,) resample and moment of each, as a position in a flat (R, M) table.
        resample: (N,) of each.
        share: (N,) k / d for the k-th of d deaths at one moment, from 0: what it leaves out of their hazard (Efron).
        seen: (R,) sum of the values of those who died.
    """

    cell: Integers
    resample: Integers
    share: Floats
    seen: Floats

    @classmethod
    def draw(cls, sets: _RiskSets, counts: Floats, values: Floats) -> Self:
        drawn = np.add.reduceat(counts[:, sets.dead], sets.starts, axis=1).astype(np.int64)  # (R, M)
        many = drawn.ravel()
        cell = np.repeat(np.arange(many.size), many)
        earlier = np.arange(len(cell)) - np.repeat(many.cumsum() - many, many)
        seen = counts[:, sets.dead] @ values[sets.dead]
        return cls(cell, cell // drawn.shape[1], earlier / many[cell], seen)

    def derivatives(self, sets: _RiskSets, hazards: Floats, values: Floats) -> tuple[Floats, Floats]:
        """(R,) first derivative of the log partial likelihood, and minus the second; NaN where that is nothing."""
        tables = [sets.sums(weighted) for weighted in (hazards, hazards * values, hazards * values**2)]
        total, first, second = (
            watched.ravel()[self.cell] - self.share * dying.ravel()[self.cell] for watched, dying in tables
        )
        mean = first / total
        spread = second / total - mean**2
        expected, information = (np.bincount(self.resample, each, len(self.seen)) for each in (mean, spread))
        return self.seen - expected, np.where(information > NOTHING, information, np.nan)


def _known(curve: KaplanMeier) -> float:
    """Until when a curve is known: for ever once all have died."""
    return math.inf if curve.survival[-1] == 0 else float(curve.time[-1])


def _mean_variance(curve: KaplanMeier, until: float) -> float:
    """Greenwood's variance of the area under a curve up to a month."""
    inside = curve.time < until
    time, survival = curve.time[inside], curve.survival[inside]
    area = (np.diff(np.append(time, until)) * survival)[::-1].cumsum()[::-1]  # (M,) from each time on
    events, at_risk = curve.events[inside], curve.at_risk[inside]
    alive = at_risk - events
    return float((area**2 * np.divide(events, at_risk * alive, out=np.zeros(len(alive)), where=alive > 0)).sum())


def _restricted_means(evidence: Evidence, group: Bools, until: float) -> Floats:
    """(1 + R,) areas under the Kaplan–Meier curves of a group up to a month; NaN where nobody of it was drawn."""
    members = np.flatnonzero(group)
    members = members[evidence.time[members].argsort()]
    time, counts = evidence.time[members], evidence.counts[:, members].astype(np.float64)
    moments, first = np.unique(time, return_index=True)
    deaths = np.add.reduceat(counts * evidence.event[members], first, axis=1)  # (1 + R, M)
    watched = counts[:, ::-1].cumsum(1)[:, ::-1][:, first]
    dying = np.divide(deaths, watched, out=np.zeros_like(deaths), where=watched > 0)
    survival = np.concatenate([np.ones((len(counts), 1)), (1 - dying).cumprod(1)], axis=1)  # (1 + R, M + 1)
    widths = np.diff(np.clip(np.concatenate([[0.0], moments, [until]]), 0, until))
    means: Floats = survival @ widths
    return np.where(counts.any(1), means, np.nan)
