"""Whether one method is better than another, or the noise larger than the difference.

Patients decide within a test set (paired bootstrap), splits over repeated cross-validation (Nadeau–Bengio), cohorts
over a table (Friedman, Nemenyi); Holm keeps many comparisons honest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.evidence import Metric
from slidesurv.survival.follow_up import Floats, Integers

__all__ = [
    "CorrectedTest",
    "Friedman",
    "average",
    "bootstrap_p",
    "corrected_t_test",
    "detectable",
    "difference",
    "friedman",
    "holm",
]


@dataclass(frozen=True, slots=True)
class CorrectedTest:
    """A mean difference over repeated cross-validation, and whether it may be nothing.

    Attributes:
        difference: mean over the folds of all repeats that have one.
        low: lower end of its 95 % interval.
        high: upper end.
        statistic: Student's t.
        p: two-sided probability of a statistic at least as large when the methods are equally good.
        folds: J, how many were counted.
        note: why there is no test, or what was left out.
    """

    difference: float
    low: float
    high: float
    statistic: float
    p: float
    folds: int
    note: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Friedman:
    """Whether K methods rank alike over cohorts, with all that a critical-difference plot shows.

    Attributes:
        ranks: (K,) mean rank of each method; 1 is the best.
        statistic: chi-squared on K - 1 degrees of freedom; a larger value means that the methods differ more.
        p: probability of a statistic at least as large when they do not.
        critical: the difference of two mean ranks above which Nemenyi's test tells two methods apart.
        alike: the longest runs of methods, best first, that it cannot tell apart: the bars of the plot.
        cohorts: positions of those counted.
        note: why there is no test, or what was left out.
    """

    ranks: Floats
    statistic: float
    p: float
    critical: float
    alike: tuple[tuple[int, ...], ...]
    cohorts: Integers
    note: str = ""


def difference(metric: Metric, reference: Metric) -> Metric:
    """A metric minus another's, on the same resamples of the same patients.

    Args:
        metric: of one method.
        reference: of another, on the same `Evidence`.

    Raises:
        DataError: they have not the same number of resamples.
    """
    if len(metric.samples) != len(reference.samples):
        raise DataError(
            f"The metrics have {len(metric.samples)} and {len(reference.samples)} resamples: they were not made of the "
            "same evidence, so their difference is not paired. Gather the patients both methods judged, once."
        )
    note = metric.note or reference.note
    return Metric(metric.value - reference.value, metric.samples - reference.samples, note)


def average(metrics: Sequence[Metric]) -> Metric:
    """Mean of one metric over seeds, resample by resample; not defined where it is not for every seed."""
    note = next((metric.note for metric in metrics if metric.note), "")
    samples = np.mean([metric.samples for metric in metrics], axis=0)
    return Metric(float(np.mean([metric.value for metric in metrics])), samples, note)


def bootstrap_p(samples: ArrayLike) -> float:
    """Two-sided p value of a paired difference: the level at which its percentile interval would just touch zero.

    Args:
        samples: (R,) differences; NaN are left out.

    Returns:
        Never below 2 / (R + 1), which is all that R resamples can tell; NaN when none is defined.

    Source:
        Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2.
    """
    values = _defined(samples)
    if not values.size:
        return math.nan
    side = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    return float(min(1, 2 * (side + 1) / (values.size + 1)))


def detectable(samples: ArrayLike, *, power: float = 0.8, level: float = 0.05) -> float:
    """The smallest difference that the patients at hand would show, as often as ``power``, in a two-sided test.

    Args:
        samples: (R,) bootstrap samples of a paired difference, or of an index that is compared with a constant; NaN are
            left out.
        power: in (0, 1).
        level: of the test, in (0, 1).

    Returns:
        A larger value means that the design sees less; NaN with fewer than two samples. Differences below it that are
        found significant are exaggerated.

    Raises:
        ConfigError: power or level is not in (0, 1).

    Source:
        (z(1 - level / 2) + z(power)) × standard error; Cohen, Statistical Power Analysis, 1988.
    """
    if not (0 < power < 1 and 0 < level < 1):
        raise ConfigError(
            f"power is {power} and level {level}: shares between 0 and 1, such as 0.8 and 0.05, are needed."
        )
    values = _defined(samples)
    if values.size < 2:
        return math.nan
    normal = NormalDist()
    return float((normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * values.std(ddof=1))


def corrected_t_test(differences: ArrayLike, *, train: float, test: float) -> CorrectedTest:
    """Test the mean difference of two methods over the folds of repeated cross-validation.

    Folds share training patients, so their differences are alike and a plain t-test finds what is not there; the
    variance is widened by the share of patients tested.

    Args:
        differences: (J,) one method minus the other in every fold of every repeat; NaN are left out and counted.
        train: training patients of a fold.
        test: test patients of a fold.

    Raises:
        ConfigError: train or test is not above 0.

    Source:
        Nadeau and Bengio, Machine Learning 2003; Bouckaert and Frank, PAKDD 2004, for repeats.
    """
    if not (train > 0 and test > 0):
        raise ConfigError(f"train is {train} and test {test}: a fold has patients in both.")
    from scipy.special import stdtr, stdtrit

    values, total = _defined(differences), np.size(differences)
    note = "" if values.size == total else f"{total - values.size} of {total} folds have no difference and are left out"
    mean = float(values.mean()) if values.size else math.nan
    if values.size < 2 or not (spread := values.var(ddof=1)):
        why = "all differences are one" if values.size > 1 else f"{values.size} of {total} folds have a difference"
        return CorrectedTest(mean, math.nan, math.nan, math.nan, math.nan, values.size, f"{why}: there is no test")
    error = math.sqrt((1 / values.size + test / train) * spread)
    freedom = values.size - 1
    reach = float(stdtrit(freedom, 0.975)) * error
    p = 2 * float(stdtr(freedom, -abs(mean / error)))
    return CorrectedTest(mean, mean - reach, mean + reach, mean / error, p, values.size, note)


def holm(p: ArrayLike) -> Floats:
    """Adjust (K,) p values for being many, so that the chance of any false finding stays below the level.

    Returns:
        (K,) adjusted values; NaN stays NaN and is not counted among the tests.

    Source:
        Holm, Scandinavian Journal of Statistics 1979.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted, order = np.full(len(values), np.nan), np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    left = len(order) - np.arange(len(order))  # tests not yet decided
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * left), 1)
    return adjusted


def friedman(scores: ArrayLike, *, level: float = 0.05) -> Friedman:
    """Test whether methods rank alike over cohorts, and by how much ranks must differ to tell two apart.

    Args:
        scores: (C, K) of K methods on C cohorts; a larger value is better, a tie shares its ranks. A cohort with a NaN
            is left out of every rank, and the note says so.
        level: of Nemenyi's test, in (0, 1).

    Raises:
        ConfigError: level is not in (0, 1).
        DataError: there are fewer than two methods.

    Source:
        Demšar, JMLR 2006, sections 3.2.2 and 3.2.4.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}: a share between 0 and 1, such as 0.05, is needed.")
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise DataError(
            f"The scores have the shape {table.shape}: give a row a cohort and a column a method, two or more."
        )
    cohorts = np.flatnonzero(~np.isnan(table).any(1))
    left_out = len(table) - len(cohorts)
    lack = f"{left_out} of {len(table)} cohorts lack a score of some method and are left out" if left_out else ""
    if len(cohorts) < 2:
        ranks, few = np.full(table.shape[1], np.nan), "ranks need two cohorts or more"
        return Friedman(ranks, math.nan, math.nan, math.nan, (), cohorts, "; ".join(filter(None, (lack, few))))
    ranks, equal = _rank(table[cohorts])
    statistic, p = _friedman_statistic(ranks, equal)
    critical = _nemenyi(len(cohorts), table.shape[1], level)
    tied = "all methods tie on every cohort" if math.isnan(statistic) else ""
    note = "; ".join(filter(None, (lack, tied)))
    return Friedman(ranks.mean(0), statistic, p, critical, _alike(ranks.mean(0), critical), cohorts, note)


def _rank(table: Floats) -> tuple[Floats, Integers]:
    """(C, K) ranks from 1, the best, with ties sharing theirs; and how many methods share each."""
    better = (table[:, None, :] > table[:, :, None]).sum(-1)
    equal = (table[:, None, :] == table[:, :, None]).sum(-1)
    return 1 + better + (equal - 1) / 2, equal


def _friedman_statistic(ranks: Floats, equal: Integers) -> tuple[float, float]:
    from scipy.special import chdtrc

    cohorts, methods = ranks.shape
    untied = 1 - (equal**2 - 1).sum() / (cohorts * methods * (methods**2 - 1))
    if untied == 0:
        return math.nan, math.nan
    spread = ((ranks.mean(0) - (methods + 1) / 2) ** 2).sum()
    statistic = 12 * cohorts / (methods * (methods + 1)) * spread / untied
    return float(statistic), float(chdtrc(methods - 1, statistic))


def _nemenyi(cohorts: int, methods: int, level: float) -> float:
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - level, methods, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(methods * (methods + 1) / (6 * cohorts))


def _alike(ranks: Floats, critical: float) -> tuple[tuple[int, ...], ...]:
    """Runs of two methods or more, by rank, that lie within the critical difference and in no longer run."""
    order = ranks.argsort(kind="stable")
    ends = [int(np.searchsorted(ranks[order], ranks[first] + critical, side="right")) for first in order]
    runs = [(first, end) for first, end in enumerate(ends) if end - first > 1 and (not first or end > ends[first - 1])]
    return tuple(tuple(int(method) for method in order[first:end]) for first, end in runs)


def _defined(samples: ArrayLike) -> Floats:
    values = np.asarray(samples, dtype=np.float64)
    return values[~np.isnan(values)]
