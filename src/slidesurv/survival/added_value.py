"""What a risk tells of death beyond what was known without it: the likelihood-ratio test of nested Cox models.

Both are risks that are already there, so that one coefficient each is fitted; where one of them was learnt, the
patients must be others. Checked against lifelines.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.survival.effects import per_deviation
from slidesurv.survival.follow_up import Bools, Floats, as_follow_up, as_numbers, members
from slidesurv.survival.ridge import fit_ridge, partial_likelihood

__all__ = ["LikelihoodRatio", "likelihood_ratio"]


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """Whether a risk adds to another.

    Attributes:
        statistic: χ² with one degree of freedom: twice the nats by which the deaths surprise less. A larger value
            means that the risk adds more; NaN when it is not defined.
        p: probability of a statistic at least as large when it adds nothing; NaN likewise.
        note: why there is no test, or what to know about it; "" when there is nothing to say.
    """

    statistic: float = math.nan
    p: float = math.nan
    note: str = ""


def likelihood_ratio(
    risk: ArrayLike, known: ArrayLike, time: ArrayLike, event: ArrayLike, *, strata: ArrayLike | None = None
) -> LikelihoodRatio:
    """Compare proportional hazards by two risks with those by one of them, each fold against its own baseline.

    Args:
        risk: (B,) what may add something; its scale may differ from fold to fold, it is taken in standard deviations.
        known: (B,) what it may add to, likewise.
        time: (B,) months.
        event: (B,) True = death seen.
        strata: (B,) the fold of each patient; each patient once.

    Returns:
        No test without a death, when all risks of a fold are one, or when one is infinite. A risk that adds with the
        wrong sign is found too: look at its hazard ratio.

    Raises:
        DataError: the lengths differ, a time is not finite, or a risk is NaN.

    Source:
        Cox, JRSS B 1972; Efron, JASA 1977, for ties.
    """
    times, events = as_follow_up(time, event)
    both = np.column_stack([as_numbers("risk", risk, len(times)), as_numbers("known", known, len(times))])  # (B, 2)
    if endless := np.count_nonzero(np.isinf(both)):
        return LikelihoodRatio(note=f"{endless} of {both.size} risks are infinite")
    inside = tuple(members(strata, len(times)))
    scaled = np.column_stack([per_deviation(column, inside) for column in both.T])
    if not events.any():
        return LikelihoodRatio(note=f"no death among {len(times)} test patients")
    if not scaled[:, 0].any():
        return LikelihoodRatio(note="all patients of a fold have one value")
    return _test(scaled, times, events, strata)


def _test(scaled: Floats, time: Floats, event: Bools, strata: ArrayLike | None) -> LikelihoodRatio:
    """Test the first of two columns beside the second."""
    from scipy.special import chdtrc

    without, beside = (_best(columns, time, event, strata) for columns in (scaled[:, 1:], scaled))
    statistic = max(0.0, 2 * (beside - without))  # the same risk twice: a rounding error below 0
    note = "" if scaled[:, 1].any() else "what it is added to is one value in every fold"
    return LikelihoodRatio(statistic, float(chdtrc(1, statistic)), note)


def _best(columns: Floats, time: Floats, event: Bools, strata: ArrayLike | None) -> float:
    """The largest log partial likelihood that (B, P) columns reach."""
    fitted = fit_ridge(columns, time, event, penalty=0, strata=strata)
    return partial_likelihood(columns @ fitted, time, event, strata=strata)
