"""How rebuilt columns follow the true ones from patient to patient, fold by fold, and what shuffled patients show.

Spearman's correlation inside a fold, never over folds, whose models have other scales. Folds are joined by Fisher's z,
each weighted by its patients less 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import false_discovery_control, rankdata

from slidesurv.report.estimate import Estimate
from slidesurv.report.genome.rebuilt import Columns, Names
from slidesurv.report.run import Numbers

__all__ = ["Agreement", "Follows", "Joined", "agree"]

NEAR = 1 - 1e-6  # a perfect correlation has no finite arctanh
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Follows:
    """How one gene, pathway or dimension follows the true one.

    Attributes:
        correlation: Spearman's, joined over folds, with its interval. A larger value means a better reconstruction; 0
            is nothing, below 0 it is upside down.
        p: one-sided, that it is above 0.
        adjusted: the same after Benjamini and Hochberg, among the columns of its kind.
        folds: in which it varies from patient to patient.
        patients: in these.
    """

    name: str
    correlation: Estimate
    p: float
    adjusted: float
    folds: int
    patients: int


@dataclass(frozen=True, eq=False, slots=True)
class Agreement:
    """What B patients of one fold show of G columns.

    Attributes:
        names: of the columns.
        patients: B.
        z: (1 + R, G) Fisher's z, mean over seeds; first of the patients as they are, then of R shuffles. NaN for a
            column that is one value in all patients.
    """

    names: Names
    patients: int
    z: Numbers


def agree(seeds: Sequence[Columns], rows: Rows, orders: Sequence[Rows]) -> Agreement:
    """Correlate what each seed rebuilt with what is true.

    Args:
        seeds: of one fold; the truth is that of the first.
        rows: (B,) the patients that count.
        orders: (1 + R) of (B,) whose reconstruction is laid beside the truth of each, first their own.
    """
    truth = _ranks(seeds[0].truth[rows])  # (B, G)
    z = np.zeros((len(orders), truth.shape[1]))
    for columns in seeds:
        rebuilt = _ranks(columns.rebuilt[rows])  # (B, G)
        for number, order in enumerate(orders):
            rho = np.einsum("bg,bg->g", rebuilt[order], truth)
            z[number] += np.arctanh(rho.clip(-NEAR, NEAR)) / len(seeds)
    return Agreement(seeds[0].names, len(rows), z)


def _ranks(table: Numbers) -> NDArray[np.float32]:
    """(B, G) ranks from their mean, each column of length one: products are correlations. NaN for one value."""
    ranks = rankdata(table, axis=0) - (len(table) + 1) / 2
    length = np.sqrt((ranks**2).sum(0))
    scaled: NDArray[np.float32] = (ranks / np.where(length > 0, length, np.nan)).astype(np.float32)
    return scaled


@dataclass(frozen=True, eq=False, slots=True)
class Joined:
    """Folds together, of the G columns that vary in one at least.

    Attributes:
        names: of the columns.
        z: (1 + R, G) Fisher's z, as in `Agreement`.
        weight: (G,) patients less 3, of the folds in which the column varies.
        folds: (G,) how many these are.
        patients: (G,) how many they have.
    """

    names: Names
    z: Numbers
    weight: Numbers
    folds: Rows
    patients: Rows

    @classmethod
    def of(cls, parts: Sequence[Agreement]) -> Self:
        """Join one fold or more; a fold need not have all columns."""
        place = {name: column for column, name in enumerate(dict.fromkeys(n for part in parts for n in part.names))}
        z, counts = np.zeros((len(parts[0].z), len(place))), np.zeros((3, len(place)), np.int64)
        for part in parts:
            known = ~np.isnan(part.z).any(0)
            at = np.array([place[name] for name in part.names], np.int64)[known]
            z[:, at] += part.z[:, known] * (part.patients - 3)
            counts[:, at] += np.array([[part.patients - 3], [1], [part.patients]])
        kept = np.flatnonzero(counts[0])
        names, (weight, folds, patients) = list(place), counts[:, kept]
        return cls(tuple(names[g] for g in kept), z[:, kept] / weight, weight.astype(np.float64), folds, patients)

    @property
    def p(self) -> Numbers:
        """(1 + R, G) one-sided, that a column follows the true one."""
        values: Numbers = ndtr(-self.z * np.sqrt(self.weight))
        return values

    def follows(self) -> tuple[Follows, ...]:
        """Every column, by falling correlation.

        Source:
            The interval is Bonett and Wright's, Psychometrika 2000; Benjamini and Hochberg, JRSS B 1995.
        """
        if not self.names:
            return ()
        p = self.p[0]
        adjusted = false_discovery_control(p)
        rows = (
            Follows(name, self._estimate(g), float(p[g]), float(adjusted[g]), int(self.folds[g]), int(self.patients[g]))
            for g, name in enumerate(self.names)
        )
        return tuple(sorted(rows, key=lambda row: -row.correlation.value))

    def _estimate(self, column: int) -> Estimate:
        z = float(self.z[0, column])
        rho = math.tanh(z)
        half = 1.96 * math.sqrt((1 + rho**2 / 2) / self.weight[column])
        return Estimate(rho, math.tanh(z - half), math.tanh(z + half))
