"""Whether those who die sooner were given the higher risk: Harrell's C, Uno's C, the AUC at a month.

All three are shares of weighted pairs of a death and a rival who outlived it, so one function counts them. Written in
numpy because 2,000 resamples then are a product of matrices; checked against scikit-survival and torchsurv.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.survival.concordance import TIED
from slidesurv.survival.evidence import Evidence, Metric, require_month
from slidesurv.survival.follow_up import Bools, Floats, Integers, as_numbers
from slidesurv.survival.resampling import Counts

__all__ = ["dynamic_auc", "harrell_c", "uno_c"]

BLOCK = 4_000_000  # pairs looked at together: 16 MB a table


def harrell_c(evidence: Evidence, risk: ArrayLike) -> Metric:
    """Share of comparable pairs in the right order: `concordance` with resamples, pairs inside one fold only.

    Args:
        evidence: B test patients.
        risk: (B,) a larger value means an earlier death; risks closer than 1e-8 are tied and count one half.

    Returns:
        A larger value means a better order: 1 is perfect, one half is chance. NaN without a comparable pair.

    Raises:
        DataError: the lengths differ, or a risk is NaN.

    Source:
        Harrell et al., JAMA 1982.
    """
    risks = as_numbers("risk", risk, len(evidence.time))
    values = _share(evidence, risks, evidence.event.astype(np.float64), evidence.time, ~evidence.event)
    seen = f"{_deaths(evidence.event)} among {len(risks)} test patients"
    return evidence.judge(values, _note(evidence, risks, values, seen))


def uno_c(evidence: Evidence, risk: ArrayLike, *, tau: float) -> Metric:
    """Share of pairs in the right order, as it would be had nobody been censored before month tau.

    A pair counts once over the square of the chance of being watched until its death, by the training patients.

    Args:
        evidence: B test patients.
        risk: (B,) a larger value means an earlier death; risks closer than 1e-8 are tied and count one half.
        tau: months; deaths from then on count as survival. Say it wherever the figure stands.

    Returns:
        A larger value means a better order: 1 is perfect, one half is chance. NaN without a comparable pair; tau is
        cut to what training patients of every fold tell of, and the note says so.

    Raises:
        ConfigError: tau is not a number above 0.
        DataError: the lengths differ, or a risk is NaN.

    Source:
        Uno et al., Statistics in Medicine 2011, eq. (6).
    Differs:
        The chance is that of being watched just before the death, as the weight of a death should be; scikit-survival
        takes it just after. They differ only where a training patient was censored at that very time.
    """
    require_month("tau", tau)
    risks = as_numbers("risk", risk, len(evidence.time))
    until = min(tau, evidence.horizon)
    counted = evidence.event & (evidence.time < until)
    values = _share(evidence, risks, _weigh(evidence, counted) ** 2, evidence.time, ~evidence.event)
    cut = f"tau is {until:g} months, not {tau:g}: training patients of some fold were watched no longer"
    seen = f"{_deaths(counted)} before {until:g} months among {len(risks)} test patients"
    return evidence.judge(values, _note(evidence, risks, values, seen, cut * (until < tau)))


def dynamic_auc(evidence: Evidence, risk: ArrayLike, *, at: float) -> Metric:
    """Chance that, of one dead by a month and one alive after it, the dead had the higher risk.

    A death counts once over the chance of being watched until then, by the training patients.

    Args:
        evidence: B test patients.
        risk: (B,) a larger value means an earlier death; risks closer than 1e-8 are tied and count one half.
        at: months.

    Returns:
        A larger value means a better order: 1 is perfect, one half is chance. NaN where nobody had died by the month,
        or nobody was watched after it.

    Raises:
        ConfigError: at is not a number above 0.
        DataError: the lengths differ, or a risk is NaN.

    Source:
        Cumulative/dynamic AUC, Uno et al., JASA 2007; Hung and Chiang, Canadian Journal of Statistics 2010.
    """
    require_month("at", at)
    risks = as_numbers("risk", risk, len(evidence.time))
    if at >= evidence.horizon:
        return evidence.nothing(f"training patients of some fold were watched for {evidence.horizon:g} months only")
    died = evidence.event & (evidence.time <= at)
    nobody = np.zeros_like(died)
    values = _share(evidence, risks, _weigh(evidence, died), np.full(len(risks), float(at)), nobody)
    watched = np.count_nonzero(evidence.time > at)
    seen = f"{_deaths(died)} by {at:g} months and {watched} of {len(risks)} test patients watched longer"
    return evidence.judge(values, _note(evidence, risks, values, seen))


def _share(evidence: Evidence, risks: Floats, weight: Floats, since: Floats, level: Bools) -> Floats:
    """Share of weighted pairs in the right order, a tie for one half, in every resample.

    Args:
        evidence: B test patients.
        risks: (B,).
        weight: (B,) of each death's pairs; 0 for who is not counted as one.
        since: (B,) the month that a rival of this death must have outlived.
        level: (B,) who outlived a month when last seen in it.

    Returns:
        (1 + R,) NaN where there is no pair.
    """
    agreeing, comparable = np.zeros(len(evidence.counts)), np.zeros(len(evidence.counts))
    for dead, others in _blocks(evidence, weight > 0, level):
        times, month = evidence.time[others], since[dead][:, None]
        known = (times > month) | ((times == month) & level[others])  # (E, B), a run from the first
        credit = known * _credit(risks[dead], risks[others])
        drawn, rivals = evidence.counts[:, dead], evidence.counts[:, others]
        comparable += (drawn * _firsts(rivals, np.count_nonzero(known, axis=1))) @ weight[dead]
        agreeing += (drawn * (rivals @ credit.T)) @ weight[dead]
    with np.errstate(invalid="ignore"):
        return agreeing / comparable


def _blocks(evidence: Evidence, dead: Bools, level: Bools) -> Iterator[tuple[Integers, Integers]]:
    """Part the table of pairs: some of a fold's deaths, against the whole fold, those who outlived most first."""
    for inside in evidence.strata:
        others = inside[np.lexsort((~level[inside], -evidence.time[inside]))]
        counted = others[dead[others]]
        step = max(1, BLOCK // len(inside))
        for start in range(0, len(counted), step):
            yield counted[start : start + step], others


def _credit(risk: Floats, others: Floats) -> Counts:
    """(E, B) 1 where the death had the higher risk, one half where it is tied."""
    lower = others < (risk - TIED)[:, None]
    upto = others <= (risk + TIED)[:, None]
    return (lower.astype(np.float32) + upto) / np.float32(2)


def _firsts(counts: Counts, upto: Integers) -> Counts:
    """(1 + R, E) how many of the first ``upto`` patients were drawn."""
    sums = np.zeros((len(counts), counts.shape[1] + 1), dtype=np.float32)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums[:, upto]


def _weigh(evidence: Evidence, deaths: Bools) -> Floats:
    """(B,) one over the chance of being watched until a death; 0 for all others."""
    return np.divide(1, evidence.watched_before(), out=np.zeros(len(deaths)), where=deaths)


def _deaths(who: Bools) -> str:
    return f"{np.count_nonzero(who)} deaths"


def _note(evidence: Evidence, risks: Floats, values: Floats, seen: str, cut: str = "") -> str:
    """Why there is no share; or, when there is one, what to know about it."""
    if np.isnan(values[0]):
        return f"no pair can be compared: {seen}"
    flat = sum(risks[inside].max() - TIED <= risks[inside].min() for inside in evidence.strata)
    one = f"all patients have one risk in {flat} of {len(evidence.strata)} folds" if flat else ""
    return "; ".join(filter(None, (cut, one)))
