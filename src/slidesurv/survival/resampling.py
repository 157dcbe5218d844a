"""How far a concordance index would move with other patients: the bootstrap, paired over methods."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slidesurv.errors import ConfigError
from slidesurv.survival.concordance import TIED, Concordance, concordance
from slidesurv.survival.follow_up import Bools, Floats, Integers, as_follow_up, as_numbers, members

__all__ = ["bootstrap_concordance", "draw", "interval", "pooled_concordance", "undefined"]

BLOCK = 4_000_000  # pairs looked at together: 16 MB a table

Counts = NDArray[np.float32]  # whole numbers and halves below 2**23, which float32 holds exactly


def pooled_concordance(
    event: ArrayLike, time: ArrayLike, risk: ArrayLike, strata: ArrayLike, *, tied_tol: float = TIED
) -> Concordance:
    """Count the pairs inside each stratum, such as a fold, and add them up.

    Risks of different models have different scales, so patients of different folds are not compared.

    Args:
        event: (B,) True = death seen.
        time: (B,) months.
        risk: (B,) a larger value means an earlier death.
        strata: (B,) the stratum of each patient.
        tied_tol: as in `concordance`.

    Returns:
        The sum over the strata.

    Raises:
        DataError: the lengths differ, a time is not finite, or a risk is NaN.
    """
    times, events = as_follow_up(time, event)
    risks = as_numbers("risk", risk, len(times))
    parts = (concordance(events[m], times[m], risks[m], tied_tol=tied_tol) for m in members(strata, len(times)))
    return sum(parts, Concordance(0, 0, 0, 0))


def bootstrap_concordance(
    event: ArrayLike,
    time: ArrayLike,
    risk: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    strata: ArrayLike | None = None,
    tied_tol: float = TIED,
) -> Floats:
    """Concordance index of patients drawn again with replacement.

    With W the counts of `draw` and A the table of pairs, every index is a quotient of two sums of W A ∘ W: what a
    loop over the resamples gives, to the last bit. The same seed draws the same patients for every method, so the
    difference of two rows is a paired difference.

    Args:
        event: (B,) True = death seen.
        time: (B,) months.
        risk: (B,) of one method or (K, B) of K methods; a larger value means an earlier death.
        resamples: how often to draw.
        seed: of the draws.
        strata: (B,) folds; patients are drawn and compared inside their own, as in `pooled_concordance`.
        tied_tol: as in `concordance`.

    Returns:
        (resamples,) or (K, resamples) indices; NaN where a resample holds no comparable pair.

    Raises:
        DataError: the lengths differ, a time is not finite, or a risk is NaN.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    times, events = as_follow_up(time, event)
    risks = np.stack([as_numbers("risk", row, len(times)) for row in np.atleast_2d(np.asarray(risk))])  # (K, B)
    counts = draw(len(times), resamples=resamples, seed=seed, strata=strata)
    agreeing, comparable = np.zeros((len(risks), resamples)), np.zeros(resamples)
    for dead, others in _blocks(events, members(strata, len(times))):
        known = _outlived(times[dead], times[others], events[others])
        drawn, rivals = counts[:, dead], counts[:, others]
        comparable += _weigh(known.astype(np.float32), drawn, rivals)
        for method, values in enumerate(risks):
            agreeing[method] += _weigh(_credit(values[dead], values[others], tied_tol) * known, drawn, rivals)
    with np.errstate(invalid="ignore"):
        indices = agreeing / comparable
    return indices if np.ndim(risk) == 2 else indices[0]


def draw(patients: int, *, resamples: int, seed: int, strata: ArrayLike | None = None) -> Counts:
    """Draw patients with replacement, as many as there are, inside their strata.

    Returns:
        (resamples, B) how often each patient was drawn.

    Raises:
        ConfigError: resamples is below one.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}: at least one is needed.")
    rng = np.random.default_rng(seed)
    counts = np.zeros((resamples, patients), dtype=np.float32)
    for inside in members(strata, patients):
        size = len(inside)
        for row in counts:
            row[inside] = np.bincount(rng.integers(size, size=size), minlength=size)
    return counts


def interval(samples: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples, of those that are defined.

    Args:
        samples: (resamples,) values; report `undefined` beside the interval when it is not zero.
        level: share of the samples inside, in (0, 1).

    Returns:
        Its two ends; NaN when no sample is defined.

    Raises:
        ConfigError: level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}: a share between 0 and 1, such as 0.95, is needed.")
    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def undefined(samples: ArrayLike) -> int:
    """Count the samples that are NaN, which `interval` leaves out."""
    return int(np.count_nonzero(np.isnan(np.asarray(samples, dtype=np.float64))))


def _blocks(events: Bools, strata: list[Integers]) -> Iterator[tuple[Integers, Integers]]:
    """Part the table of pairs: some of a stratum's dead, against the whole stratum."""
    for inside in strata:
        dead = inside[events[inside]]
        step = max(1, BLOCK // max(1, len(inside)))
        for start in range(0, len(dead), step):
            yield dead[start : start + step], inside


def _outlived(death: Floats, times: Floats, events: Bools) -> Bools:
    """(E, B) whether patient j is known to have outlived death i; at one time the censored have."""
    return (times > death[:, None]) | ((times == death[:, None]) & ~events)


def _credit(risk: Floats, others: Floats, tied_tol: float) -> Counts:
    """(E, B) 1 where the death i had the higher risk, one half where it is tied."""
    lower = others < (risk - tied_tol)[:, None]
    upto = others <= (risk + tied_tol)[:, None]
    return (lower.astype(np.float32) + upto) / np.float32(2)


def _weigh(pairs: Counts, drawn: Counts, rivals: Counts) -> Floats:
    """(resamples,) sum over the pairs, each as often as its two patients were drawn together."""
    return ((drawn @ pairs) * rivals).sum(-1, dtype=np.float64)
