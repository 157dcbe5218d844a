"""The pooled C-index: pairs of patients of one fold only, all folds together, mean over seeds."""

import math

import numpy as np
from numpy.typing import NDArray

from slidesurv.report.estimate import Estimate
from slidesurv.report.run import Numbers
from slidesurv.survival.resampling import bootstrap_concordance, interval, pooled_concordance, undefined

__all__ = ["FollowUp", "pooled_difference", "pooled_index"]

FollowUp = tuple[Numbers, NDArray[np.bool_], NDArray[np.int64]]


def pooled_index(follow_up: FollowUp, risk: Numbers, *, resamples: int, seed: int) -> Estimate:
    """Estimate how well a risk orders patients. A larger value is better; 0.5 is chance.

    Args:
        follow_up: time, event and fold, each (B,), as `Method.follow_up` gives them.
        risk: (S, B) of S seeds.
        resamples: bootstrap resamples of patients, drawn inside each fold.
        seed: of the resampling.
    """
    time, event, fold = follow_up
    value = _mean_index(follow_up, risk)
    if math.isnan(value):
        return Estimate(note=f"no pair can be compared: {int(event.sum())} deaths among {len(event)} test patients")
    samples = bootstrap_concordance(event, time, risk, resamples=resamples, seed=seed, strata=fold).mean(0)
    return Estimate(value, *interval(samples), note=_left_out(samples))


def pooled_difference(follow_up: FollowUp, risk: Numbers, other: Numbers, *, resamples: int, seed: int) -> Estimate:
    """Estimate the C-index of one risk minus another's, on the same resamples of the same patients.

    Args:
        follow_up: as in `pooled_index`.
        risk: (S, B).
        other: (S', B).
        resamples: as in `pooled_index`.
        seed: as in `pooled_index`.
    """
    time, event, fold = follow_up
    value = _mean_index(follow_up, risk) - _mean_index(follow_up, other)
    if math.isnan(value):
        return Estimate(note="no pair can be compared on the folds that both finished")
    both = np.concatenate([risk, other])
    samples = bootstrap_concordance(event, time, both, resamples=resamples, seed=seed, strata=fold)
    return Estimate(value, *interval(samples[: len(risk)].mean(0) - samples[len(risk) :].mean(0)))


def _mean_index(follow_up: FollowUp, risk: Numbers) -> float:
    time, event, fold = follow_up
    return float(np.mean([pooled_concordance(event, time, each, fold).index for each in risk]))


def _left_out(samples: Numbers) -> str:
    missing = undefined(samples)
    return f"{missing} of {len(samples)} resamples hold no pair to compare and are left out" if missing else ""
