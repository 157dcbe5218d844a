"""Whether predicted survival comes true."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.estimators import kaplan_meier
from slidesurv.survival.follow_up import Bools, Floats, Integers, as_follow_up, as_numbers, require_patients

__all__ = ["Calibration", "calibration", "survival_at"]


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """Predicted against observed survival at one month, for groups of like prediction.

    Attributes:
        predicted: (M,) mean predicted survival of each group, rising.
        observed: (M,) Kaplan–Meier survival of each group; equal to ``predicted`` when the model is calibrated, NaN
            where nobody of the group was watched so long.
        low: (M,) lower end of the 95 % band of ``observed``.
        high: (M,) upper end.
        patients: (M,) in each group.
    """

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    patients: Integers


def calibration(time: ArrayLike, event: ArrayLike, predicted: ArrayLike, *, at: float, groups: int = 5) -> Calibration:
    """Compare predicted with observed survival in groups of patients of like prediction.

    Args:
        time: (B,) months.
        event: (B,) True = death seen.
        predicted: (B,) probability of being alive at month ``at``.
        at: months.
        groups: how many, of like size; equal predictions stay together, so there may be fewer.

    Returns:
        M ≤ ``groups`` groups, by rising prediction.

    Raises:
        ConfigError: groups is below one.
        DataError: no patient, lengths that differ, a NaN, or a prediction that is no probability.

    Source:
        Harrell, Regression Modeling Strategies, 2015, ch. 20.
    """
    if groups < 1:
        raise ConfigError(f"groups is {groups}: at least one is needed.")
    times, events = as_follow_up(time, event)
    require_patients(len(times), "a calibration")
    values = as_numbers("predicted", predicted, len(times))
    if values.min() < 0 or values.max() > 1:
        raise DataError(f"'predicted' runs from {values.min():g} to {values.max():g}: survival lies between 0 and 1.")
    group = np.floor(_middle_ranks(values) * groups / len(values))
    rows = [_look(times[m], events[m], values[m], at) for m in (group == g for g in np.unique(group))]
    mean, observed, low, high, patients = zip(*rows, strict=True)
    return Calibration(np.array(mean), np.array(observed), np.array(low), np.array(high), np.array(patients))


def _middle_ranks(values: Floats) -> Floats:
    """Rank from one half to B - one half; equal values share the middle of their ranks."""
    rising = np.sort(values)
    return (rising.searchsorted(values, side="left") + rising.searchsorted(values, side="right")) / 2


def _look(times: Floats, events: Bools, values: Floats, at: float) -> tuple[float, float, float, float, int]:
    curve = kaplan_meier(times, events)
    low, high = curve.band_at(at)
    return float(values.mean()), float(curve.at(at)), float(low), float(high), len(times)


def survival_at(edges: ArrayLike, survival: ArrayLike, months: ArrayLike) -> Floats:
    """Read discrete survival curves at any month, linearly between the edges of the bins.

    A curve is 1 up to the first edge, ``survival[:, k]`` at edge k+1, and stays at its end after the last edge.

    Args:
        edges: (T+1,) rising months, as in `TimeBins`.
        survival: (B, T) probability of being alive at the end of each bin.
        months: () or (M,).

    Returns:
        (B,) or (B, M) probability of being alive.

    Raises:
        DataError: the curves do not have one value for each bin.
    """
    knots, curves, asked = (np.asarray(values, dtype=np.float64) for values in (edges, survival, months))
    if curves.ndim != 2 or curves.shape[1] != len(knots) - 1:
        raise DataError(
            f"The survival curves have the shape {curves.shape}, but {len(knots)} edges make {len(knots) - 1} bins: "
            "give one row a patient and one column a bin."
        )
    curves = np.concatenate([np.ones((len(curves), 1)), curves], axis=1)  # (B, T+1) at the edges
    bins = np.clip(np.searchsorted(knots, asked, side="right") - 1, 0, len(knots) - 2)  # () or (M,)
    share = np.clip((asked - knots[bins]) / np.diff(knots)[bins], 0, 1)  # of its bin that has passed
    return curves[:, bins] * (1 - share) + curves[:, bins + 1] * share
