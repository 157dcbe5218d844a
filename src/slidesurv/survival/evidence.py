"""What a model is judged by: test patients, what their fold's training patients say of them, and how they are redrawn.

Weights against censoring and the Kaplan–Meier reference are learnt from training patients alone; only test patients
are drawn again. Every metric is a function of an `Evidence` and of what the model said, and gives a `Metric`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.survival.estimators import KaplanMeier, kaplan_meier
from slidesurv.survival.follow_up import Bools, Floats, Integers, as_follow_up, as_labels, require_patients
from slidesurv.survival.resampling import Counts, draw, interval, undefined

__all__ = ["Evidence", "Metric", "Reference", "fit_reference", "gather", "require_month"]


@dataclass(frozen=True, eq=False, slots=True)
class Metric:
    """A figure, and the same figure of every resample of the patients.

    Two metrics of one `Evidence` meet the same resamples, so that sample by sample their difference is paired.

    Attributes:
        value: NaN when it is not defined.
        samples: (R,) of the resamples; NaN where it is not defined.
        note: why the value is not defined, or what to know about it; "" when there is nothing to say.
        theory: ends of the 95 % interval by the normal distribution; NaN where there is no such theory.
    """

    value: float
    samples: Floats
    note: str = ""
    theory: tuple[float, float] = (math.nan, math.nan)

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % percentile interval of the defined resamples; NaN when there are none."""
        return interval(self.samples)

    @property
    def undefined(self) -> int:
        """How many resamples the interval leaves out."""
        return undefined(self.samples)


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """What the training patients of a fold say of a patient of whom nothing is known.

    Attributes:
        alive: their survival curve.
        watched: the share that would still be watched had nobody died; deaths at one time come before censorings.
    """

    alive: KaplanMeier
    watched: KaplanMeier

    @property
    def horizon(self) -> float:
        """The last month in which anybody was watched; nothing is known after it."""
        return float(self.alive.time[-1])

    def watched_before(self, months: ArrayLike) -> Floats:
        """Share still watched just before any (...) months; positive up to the horizon."""
        steps = np.concatenate([[1.0], self.watched.survival])
        return steps[np.searchsorted(self.watched.time, np.asarray(months, dtype=np.float64), side="left")]


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """Test patients, by fold, with their resamples.

    Attributes:
        time: (B,) months.
        event: (B,) True = death seen.
        strata: the positions of each fold's patients.
        references: of each fold, in the same order.
        counts: (1 + R, B) how often each patient is drawn; once each in the first row, which gives the value itself.
    """

    time: Floats
    event: Bools
    strata: tuple[Integers, ...]
    references: tuple[Reference, ...]
    counts: Counts

    @property
    def horizon(self) -> float:
        """The last month of which the training patients of every fold can tell."""
        return min(reference.horizon for reference in self.references)

    @property
    def known_until(self) -> float:
        """The month before which training patients of every fold, and a test patient, were still watched."""
        return min(self.horizon, float(self.time.max()))

    def expected(self, months: ArrayLike) -> Floats:
        """(B,) or (B, M) survival at () or (M,) months by Kaplan–Meier: what is known without a model."""
        return self._spread(lambda reference, _: reference.alive.at(months), np.shape(months))

    def watched_at(self, months: ArrayLike) -> Floats:
        """(B,) or (B, M) share still watched at () or (M,) months."""
        return self._spread(lambda reference, _: reference.watched.at(months), np.shape(months))

    def watched_before(self) -> Floats:
        """(B,) share still watched just before each patient's own time."""
        return self._spread(lambda reference, own: reference.watched_before(own))

    def judge(self, values: Floats, note: str) -> Metric:
        """A metric from (1 + R,) values, the first of all patients as they are."""
        return Metric(float(values[0]), values[1:], note)

    def nothing(self, why: str) -> Metric:
        """A metric that is not defined, in no resample either."""
        return Metric(math.nan, np.full(len(self.counts) - 1, np.nan), why)

    def _spread(self, read: Callable[[Reference, Floats], Floats], shape: tuple[int, ...] = ()) -> Floats:
        values = np.empty((len(self.time), *shape))
        for inside, reference in zip(self.strata, self.references, strict=True):
            values[inside] = read(reference, self.time[inside])
        return values


def fit_reference(time: ArrayLike, event: ArrayLike) -> Reference:
    """Learn survival and censoring from training patients.

    Args:
        time: (B,) months of the training patients of one fold.
        event: (B,) True = death seen.

    Returns:
        The curves of both.

    Raises:
        DataError: no patient, lengths that differ, or a time that is not finite.

    Source:
        Graf et al., Statistics in Medicine 1999.
    """
    times, events = as_follow_up(time, event)
    alive, leaving = kaplan_meier(times, events), kaplan_meier(times, ~events)
    staying = leaving.at_risk - alive.events  # who died can no longer be censored
    left = np.divide(leaving.events, staying, out=np.zeros(len(staying)), where=staying > 0)
    return Reference(alive, KaplanMeier(leaving.time, (1 - left).cumprod(), staying, leaving.events))


def gather(
    time: ArrayLike,
    event: ArrayLike,
    training: Reference | Mapping[Any, Reference],
    *,
    strata: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Evidence:
    """Gather the test patients of one fold or of many, and draw them again with replacement, inside their folds.

    Args:
        time: (B,) months.
        event: (B,) True = death seen.
        training: of the fold's training patients, from `fit_reference`; with strata, one for each of their labels.
        strata: (B,) the fold of each patient; patients are drawn and compared inside their own.
        resamples: R, how often to draw; 0 gives values without intervals.
        seed: of the draws, the same as those of `bootstrap_concordance`.

    Raises:
        ConfigError: resamples is negative.
        DataError: no patient, lengths that differ, a time that is not finite, or a fold without training patients.
    """
    times, events = as_follow_up(time, event)
    require_patients(len(times), "a metric")
    names, number = as_labels("strata", np.zeros(len(times)) if strata is None else strata, len(times))
    counts = np.ones((1, len(times)), dtype=np.float32)
    if resamples:
        counts = np.concatenate([counts, draw(len(times), resamples=resamples, seed=seed, strata=number)])
    inside = tuple(np.flatnonzero(number == fold) for fold in range(len(names)))
    return Evidence(times, events, inside, _references(training, names), counts)


def _references(training: Reference | Mapping[Any, Reference], names: Sequence[Any]) -> tuple[Reference, ...]:
    if isinstance(training, Reference):
        return (training,) * len(names)
    if missing := [name for name in names if name not in training]:
        raise DataError(
            f"The training patients of {len(missing)} of {len(names)} folds are not known: {listing(missing)}. "
            "Give a reference for the label of every fold; weights against censoring come from nobody else."
        )
    return tuple(training[name] for name in names)


def require_month(name: str, value: float) -> None:
    """Check that a horizon is a month.

    Raises:
        ConfigError: it is not a number above 0.
    """
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} is {value}: a number of months above 0 is needed, such as 36.")
