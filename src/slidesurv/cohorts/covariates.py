"""What a physician knows of the outlook, as numbers: age and the like as they are, stage and the like by words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidesurv.cohorts.rows import CLINICAL
from slidesurv.errors import DataError, listing
from slidesurv.types import Cohort, Patient

__all__ = ["Covariates"]

Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Covariates:
    """Clinical covariates of training patients, and how to write them down for anyone.

    Attributes:
        medians: of each covariate whose values are all numbers; it stands for a missing value.
        words: the words of each other covariate, most frequent first, and the share of patients with each.
    """

    medians: dict[str, float]
    words: dict[str, dict[str, float]]

    @classmethod
    def fit(cls, cohort: Cohort, names: Sequence[str] = CLINICAL) -> Covariates:
        """Look at the covariates of training patients; one that says the same of all, or nothing, is left out.

        Raises:
            DataError: none is left.
        """
        medians, words = {}, {}
        for name in names:
            values = [value for patient in cohort if (value := patient.covariates.get(name)) is not None]
            if len(set(values)) < 2:
                continue
            numbers = [value for value in values if isinstance(value, float)]
            if len(numbers) == len(values):
                medians[name] = float(np.median(numbers))
            else:
                words[name] = _shares([str(value) for value in values])
        if not medians and not words:
            raise DataError(
                f"{len(cohort)} training patients of cohort '{cohort.name}' differ in none of "
                f"{listing(names, most=12)}. Add such a column to the table, or leave the clinical baseline out."
            )
        return cls(medians, words)

    def __call__(self, patient: Patient) -> Row:
        """(P,) numbers of one patient.

        A missing number is the training median. A word is one of P columns, 1 in its own and 0 in those of the other
        words; who has none, or one that training did not have, gets the shares of the training patients.
        """
        numbers = [_number(patient.covariates.get(name), median) for name, median in self.medians.items()]
        for name, shares in self.words.items():
            word = patient.covariates.get(name)
            known = word is not None and str(word) in shares
            numbers += [float(str(word) == each) for each in shares] if known else list(shares.values())
        return np.array(numbers)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each column."""
        return (*self.medians, *(f"{name} = {word}" for name, shares in self.words.items() for word in shares))


def _number(value: float | str | None, median: float) -> float:
    return value if isinstance(value, float) else median


def _shares(words: Sequence[str]) -> dict[str, float]:
    counts = {word: words.count(word) for word in sorted(set(words))}
    falling = sorted(counts, key=lambda word: -counts[word])
    return {word: counts[word] / len(words) for word in falling}
