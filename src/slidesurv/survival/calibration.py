"""Whether predicted survival is right as a number: Brier scores, their skill, the calibration slope, D-calibration."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.accuracy import survival_at
from slidesurv.survival.effects import log_hazard_ratio
from slidesurv.survival.evidence import Evidence, Metric, require_month
from slidesurv.survival.follow_up import Bools, Floats, as_numbers
from slidesurv.survival.resampling import interval

__all__ = ["DCalibration", "brier", "calibration_slope", "d_calibration", "integrated_brier", "own_survival", "skill"]


@dataclass(frozen=True, eq=False, slots=True)
class DCalibration:
    """How predicted survival at the patients' own deaths is spread, which should be evenly.

    Attributes:
        share: (K,) of the patients in each of K equal groups of predicted survival, from 0 to 1; 1 / K when calibrated.
        low: (K,) lower end of the 95 % bootstrap interval of ``share``.
        high: (K,) upper end.
        statistic: chi-squared on K - 1 degrees of freedom; a larger value means worse calibrated.
        p: probability of a statistic at least as large when the model is calibrated.
        samples: (R, K) ``share`` of every resample.
        note: why there is none, or what to know about it.
    """

    share: Floats
    low: Floats
    high: Floats
    statistic: float
    p: float
    samples: Floats
    note: str = ""


def brier(evidence: Evidence, alive: ArrayLike, *, at: float) -> Metric:
    """Mean squared distance of predicted survival at a month from what came, weighted against censoring.

    Args:
        evidence: B test patients; ``evidence.expected(at)`` are the predictions of Kaplan–Meier, to compare with.
        alive: (B,) predicted probability of being alive at the month.
        at: months.

    Returns:
        A larger value means worse: 0 is perfect, one half said of all is 0.25. NaN without a death by then, or when
        nobody was watched longer.

    Raises:
        ConfigError: at is not a number above 0.
        DataError: the lengths differ, a NaN, or a prediction that is no probability.

    Source:
        Graf et al., Statistics in Medicine 1999.
    Differs:
        A death weighs one over the chance of being watched just before it, as in `uno_c`.
    """
    require_month("at", at)
    if why := _unseen(evidence, at):
        return evidence.nothing(why)
    predicted = _as_probabilities(_shaped(alive, (len(evidence.time),)))
    return evidence.judge(_mean(evidence, _losses(evidence, predicted[:, None], np.array([at]))[:, 0]), "")


def integrated_brier(evidence: Evidence, alive: ArrayLike, months: ArrayLike) -> Metric:
    """Mean of the Brier score over a span of months, by the trapezium rule.

    Args:
        evidence: B test patients; ``evidence.expected(months)`` are the predictions of Kaplan–Meier.
        alive: (B, M) predicted probability of being alive at each month.
        months: (M,) rising, two at least.

    Returns:
        As `brier`. Months to which no training patient of some fold, or no test patient, was watched are left out, and
        the note says so.

    Raises:
        ConfigError: months do not rise, or are fewer than two.
        DataError: the shapes differ, a NaN, or a prediction that is no probability.

    Source:
        Graf et al., Statistics in Medicine 1999.
    """
    asked = np.asarray(months, dtype=np.float64)
    if asked.ndim != 1 or len(asked) < 2 or not np.all(np.diff(asked) > 0):
        raise ConfigError(f"months are {asked.tolist()}: two or more rising months are needed.")
    table = _shaped(alive, (len(evidence.time), len(asked)))
    seen = asked[asked < evidence.known_until]
    if len(seen) < 2:
        return evidence.nothing(f"patients were watched for {evidence.known_until:g} months only")
    if why := _unseen(evidence, seen[-1]):
        return evidence.nothing(why)
    losses = _losses(evidence, _as_probabilities(table[:, : len(seen)]), seen)  # (B, M)
    widths = np.diff(seen)
    weights = (np.append(widths, 0) + np.append(0, widths)) / 2 / (seen[-1] - seen[0])
    values = _mean(evidence, losses @ weights)
    cut = f"integrated up to month {seen[-1]:g}, not {asked[-1]:g}: nobody was watched longer"
    return evidence.judge(values, cut * (len(seen) < len(asked)))


def skill(score: Metric, reference: Metric) -> Metric:
    """Share of a reference's Brier score that a model takes away, resample by resample (the scaled Brier score).

    Args:
        score: of the model, from `brier` or `integrated_brier`.
        reference: of Kaplan–Meier, or whatever is to be beaten, on the same evidence.

    Returns:
        A larger value means better: 1 is perfect, 0 no better than the reference, below 0 worse.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        values = 1 - np.append(score.value, score.samples) / np.append(reference.value, reference.samples)
    values[~np.isfinite(values)] = np.nan
    perfect = "the reference makes no error" if reference.value == 0 else ""
    return Metric(float(values[0]), values[1:], score.note or reference.note or perfect)


def calibration_slope(evidence: Evidence, alive: ArrayLike, *, at: float) -> Metric:
    """Slope of the observed log hazard on the predicted one, log(-log S), in the follow-up until a month.

    Args:
        evidence: B test patients; each fold has its own baseline.
        alive: (B,) predicted probability of being alive at the month.
        at: months.

    Returns:
        1 when differences between patients are predicted as large as they are; below 1 they are exaggerated, above 1
        timid, below 0 upside down. ``theory`` is the Wald interval. NaN when a prediction is certain, or all are one.

    Raises:
        ConfigError: at is not a number above 0.
        DataError: the lengths differ, a NaN, or a prediction that is no probability.

    Source:
        Royston and Altman, BMC Medical Research Methodology 2013.
    """
    require_month("at", at)
    predicted = _as_probabilities(_shaped(alive, (len(evidence.time),)))
    certain = np.count_nonzero((predicted == 0) | (predicted == 1))
    if certain:
        return evidence.nothing(f"{certain} of {len(predicted)} patients are predicted to live or to die for certain")
    return log_hazard_ratio(evidence, np.log(-np.log(predicted)), until=at)


def own_survival(edges: ArrayLike, survival: ArrayLike, time: ArrayLike) -> Floats:
    """Read each patient's discrete curve at their own time, by the rules of `survival_at`.

    Args:
        edges: (T+1,) rising months.
        survival: (B, T) probability of being alive at the end of each bin.
        time: (B,) months.

    Returns:
        (B,) probabilities, as `d_calibration` wants them.

    Raises:
        DataError: the curves do not have one value for each bin, or the times not one for each curve.
    """
    curves = np.asarray(survival, dtype=np.float64)
    times = as_numbers("time", time, len(curves))
    return np.array([survival_at(edges, curve[None], month)[0] for curve, month in zip(curves, times, strict=True)])


def d_calibration(evidence: Evidence, alive: ArrayLike, *, groups: int = 10) -> DCalibration:
    """Test whether predicted survival at the patients' own deaths is spread evenly from 0 to 1.

    A censored patient, whose death would have come at a lower survival, counts in all groups below, each by its width.

    Args:
        evidence: B test patients.
        alive: (B,) predicted probability of being alive at each patient's own time, from `own_survival`.
        groups: K, how many.

    Raises:
        ConfigError: groups is below two.
        DataError: the lengths differ, a NaN, or a prediction that is no probability.

    Source:
        Haider et al., JMLR 2020, section 3.4.
    """
    if groups < 2:
        raise ConfigError(f"groups is {groups}: at least two are needed.")
    predicted = _as_probabilities(_shaped(alive, (len(evidence.time),)))
    if not evidence.event.any():
        nothing = np.full(groups, np.nan)
        samples = np.full((len(evidence.counts) - 1, groups), np.nan)
        return DCalibration(nothing, nothing, nothing, math.nan, math.nan, samples, _no_death(len(predicted)))
    from scipy.special import chdtrc

    patients = len(predicted)
    shares = evidence.counts @ _spread(predicted, evidence.event, groups) / patients  # (1 + R, K)
    statistic = float(patients * groups * ((shares[0] - 1 / groups) ** 2).sum())
    low, high = np.array([interval(share) for share in shares[1:].T]).T
    rough = f"a group expects {patients / groups:.3g} patients only, so p is rough" if patients < 5 * groups else ""
    return DCalibration(shares[0], low, high, statistic, float(chdtrc(groups - 1, statistic)), shares[1:], rough)


def _spread(predicted: Floats, event: Bools, groups: int) -> Floats:
    """(B, K) how much of each patient falls into each group; a group holds its lower end."""
    lower = np.arange(groups) / groups
    passed = np.clip(predicted[:, None] - lower, 0, 1 / groups)  # (B, K) what of a group lies below the prediction
    group = np.minimum(np.floor(predicted * groups), groups - 1)
    own = (group[:, None] == np.arange(groups)).astype(np.float64)
    return np.divide(passed, predicted[:, None], out=own, where=~event[:, None] & (predicted[:, None] > 0))


def _losses(evidence: Evidence, predicted: Floats, months: Floats) -> Floats:
    """(B, M) squared error of each patient at each month, weighted; 0 of those censored before it."""
    time, event = evidence.time[:, None], evidence.event[:, None]
    died, lived = (time <= months) & event, time > months  # (B, M)
    before = np.broadcast_to(evidence.watched_before()[:, None], died.shape)
    losses = np.divide(predicted**2, before, out=np.zeros(died.shape), where=died)
    return np.divide((1 - predicted) ** 2, evidence.watched_at(months), out=losses, where=lived)


def _mean(evidence: Evidence, losses: Floats) -> Floats:
    means: Floats = evidence.counts @ losses / len(losses)  # (1 + R,)
    return means


def _unseen(evidence: Evidence, at: float) -> str:
    """Why survival at a month cannot be judged; "" when it can."""
    if at >= evidence.known_until:
        return f"patients were watched for {evidence.known_until:g} months only"
    if not (evidence.event & (evidence.time <= at)).any():
        return f"{_no_death(len(evidence.time))} by {at:g} months"
    return ""


def _no_death(patients: int) -> str:
    return f"no death among {patients} test patients"


def _shaped(alive: ArrayLike, shape: tuple[int, ...]) -> Floats:
    values = np.asarray(alive, dtype=np.float64)
    if values.shape != shape:
        raise DataError(f"'alive' has the shape {values.shape}, not {shape}: a row a patient, a column a month.")
    return values


def _as_probabilities(values: Floats) -> Floats:
    as_numbers("alive", values.reshape(len(values), -1).sum(1), len(values))
    if values.min() < 0 or values.max() > 1:
        raise DataError(f"'alive' runs from {values.min():g} to {values.max():g}: survival lies between 0 and 1.")
    return values
