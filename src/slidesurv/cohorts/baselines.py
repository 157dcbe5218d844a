"""Baselines that catch shortcuts: what a table says, a mean says, or nothing says, of how long patients live.

A method that reads slides is worth its slides when it beats all of them. Each is a log hazard that is linear in some
columns, fitted through the view of a fold that ends with its training patients, with survival curves by Breslow.

==============  ====================================================================================================
``null``        nothing: everybody has one risk; the curve is that of the training patients
``site``        the site alone: deaths per month of its training patients; a model that recognises the laboratory
                gets as far
``clinical``    age, sex, stage, grade and subtype, as far as the table has them
``mean-tiles``  the mean of all tile features
``expression``  the expression
==============  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from slidesurv.cohorts.covariates import Covariates
from slidesurv.cohorts.dataset import Dataset, FoldView
from slidesurv.cohorts.splits import stratified
from slidesurv.errors import ConfigError, DataError, unknown
from slidesurv.genomics.views import Standardise
from slidesurv.seeds import seed_for
from slidesurv.survival.ridge import BaselineHazard, breslow, choose_penalty, fit_ridge
from slidesurv.types import Bag, Cohort, Patient, TimeBins

__all__ = ["BASELINES", "Baseline", "Combined", "fit_baseline", "fit_combined", "site_hazards"]

Row = NDArray[np.float64]

PRIOR = 2.0  # deaths at the hazard of all that each site is given, so that a small one is not extreme
PENALTIES = tuple(np.geomspace(1, 1e5, 11).tolist())
INNER = 5  # folds inside training, for the penalty
LIGHT = 1.0  # penalty of the two columns of `fit_combined`
FEW = 5  # deaths; by fewer nothing can be weighed


@dataclass(frozen=True, slots=True)
class Baseline:
    """A fitted baseline.

    Attributes:
        columns: what is read of a patient, (P,); None where there is nothing to read, and the patient is taken for an
            average one.
        scale: of the columns.
        coefficients: (P,) change of the log hazard with one unit of each scaled column.
        hazard: of a patient whose log hazard is 0.
        penalty: of the coefficients, chosen on inner folds; 0 where nothing was chosen.
    """

    columns: Callable[[Dataset, str], Row | None]
    scale: Standardise
    coefficients: Row
    hazard: BaselineHazard
    penalty: float = 0.0

    def log_hazard(self, dataset: Dataset, patients: Sequence[str]) -> Row:
        """(B,) log hazards of any patients; a larger value means an earlier death."""
        return np.array([self._judge(self.columns(dataset, patient)) for patient in patients])

    def survival(self, log_hazard: ArrayLike, bins: TimeBins) -> Row:
        """(B, T) probability of being alive at the end of each bin."""
        return self.hazard.survival(log_hazard, bins.edges[1:])

    def _judge(self, columns: Row | None) -> float:
        return 0.0 if columns is None else float(self.scale(columns) @ self.coefficients)


@dataclass(frozen=True, slots=True)
class Combined:
    """A method's risk and the clinical baseline, weighed against each other: what the slide adds to the chart.

    Attributes:
        clinical: fitted on the training patients.
        scale: of the two.
        coefficients: (2,) of the scaled risk, and of the scaled log hazard of ``clinical``.
        hazard: of a patient whose log hazard is 0.
    """

    clinical: Baseline
    scale: Standardise
    coefficients: Row
    hazard: BaselineHazard

    def log_hazard(self, dataset: Dataset, risks: Mapping[str, float]) -> Row:
        """(B,) log hazards of the patients of whom a method's risk is given, in their order."""
        return self.scale(_beside(self.clinical, dataset, risks)) @ self.coefficients

    def survival(self, log_hazard: ArrayLike, bins: TimeBins) -> Row:
        """(B, T) probability of being alive at the end of each bin."""
        return self.hazard.survival(log_hazard, bins.edges[1:])


def fit_baseline(name: str, view: FoldView, *, seed: int = 0) -> Baseline:
    """Fit a baseline on the training patients of a fold.

    Args:
        name: one of `BASELINES`.
        view: the training patients.
        seed: of the inner folds on which the penalty is chosen.

    Raises:
        ConfigError: the name is not known.
        DataError: too few died in training, or the data have nothing for this baseline to read.
    """
    if name not in BASELINES:
        raise ConfigError(unknown("baseline", name, BASELINES))
    return BASELINES[name](view, seed)


def fit_combined(clinical: Baseline, dataset: Dataset, risks: Mapping[str, float]) -> Combined:
    """Weigh a method's risk and the clinical baseline.

    Args:
        clinical: fitted on the training patients.
        dataset: where the clinical baseline reads.
        risks: of patients on whom neither was fitted and who judge nothing, as those of the tuning part are. A risk of
            a training patient would be too good to be true, and take all the weight.

    Raises:
        DataError: fewer than five of them died.
    """
    time, event = _follow_up(dataset.cohort[patient] for patient in risks)
    if event.sum() < FEW:
        raise DataError(
            f"{event.sum()} of {len(risks)} patients on whom the method was not fitted died; {FEW} deaths are needed "
            "to weigh it against clinical covariates. Keep a larger tuning part: [splits] tune."
        )
    both = _beside(clinical, dataset, risks)
    scale = Standardise.fit(both)
    coefficients = fit_ridge(scale(both), time, event, penalty=LIGHT)
    return Combined(clinical, scale, coefficients, breslow(scale(both) @ coefficients, time, event))


def site_hazards(cohort: Cohort) -> tuple[dict[str, float], float]:
    """Learn how fast the patients of each site die.

    Returns:
        Log of the deaths per month of each site, drawn towards that of all by two deaths; and that of all.

    Raises:
        DataError: nobody died, or no site is known.
    """
    time, event = _follow_up(cohort)
    if not event.any() or not any(patient.site for patient in cohort):
        raise DataError(
            f"{event.sum()} of {len(cohort)} training patients died, and they come from "
            f"{len({patient.site for patient in cohort} - {''})} known sites: nothing can be learnt of sites. "
            "Fill the column 'site', or leave this baseline out."
        )
    sites = np.array([patient.site for patient in cohort])
    months = PRIOR * time.sum() / event.sum()
    rates = {s: (PRIOR + event[sites == s].sum()) / (months + time[sites == s].sum()) for s in set(sites.tolist())}
    return {site: float(np.log(rate)) for site, rate in rates.items()}, float(np.log(event.sum() / time.sum()))


def _null(view: FoldView, seed: int) -> Baseline:
    return _fixed(view.cohort, lambda patient: 0.0)


def _site(view: FoldView, seed: int) -> Baseline:
    rates, middle = site_hazards(view.cohort)
    return _fixed(view.cohort, lambda patient: rates.get(patient.site, middle) - middle)


def _clinical(view: FoldView, seed: int) -> Baseline:
    covariates = Covariates.fit(view.cohort)
    values = np.stack([covariates(patient) for patient in view.cohort])
    return _fitted(view.cohort, values, lambda dataset, patient: covariates(dataset.cohort[patient]), seed)


def _mean_tiles(view: FoldView, seed: int) -> Baseline:
    values = np.stack([_mean(bag) for bag in view.bags()])
    if values.shape[1] == 0:
        raise DataError("There are no tiles to take the mean of. Set [cohort] features, or leave this baseline out.")
    return _fitted(view.cohort, values, lambda dataset, patient: _mean(dataset.bag(patient)), seed)


def _expression(view: FoldView, seed: int) -> Baseline:
    table = view.measured("expression")
    return _fitted(table.patients, table.values, lambda dataset, patient: dataset.expression_of(patient), seed)


BASELINES: Mapping[str, Callable[[FoldView, int], Baseline]] = MappingProxyType(
    {
        "null": _null,
        "site": _site,
        "clinical": _clinical,
        "mean-tiles": _mean_tiles,
        "expression": _expression,
    }
)


def _fixed(cohort: Cohort, judge: Callable[[Patient], float]) -> Baseline:
    """A baseline whose log hazard is known, so that the curve alone is fitted."""
    hazard = breslow([judge(patient) for patient in cohort], *_follow_up(cohort))
    as_it_is = Standardise(np.zeros(1), np.ones(1))
    return Baseline(lambda dataset, patient: np.array([judge(dataset.cohort[patient])]), as_it_is, np.ones(1), hazard)


def _fitted(cohort: Cohort, values: Row, columns: Callable[[Dataset, str], Row | None], seed: int) -> Baseline:
    """Fit coefficients to (B, P) columns of training patients, with the penalty that inner folds ask for."""
    (time, event), scale = _follow_up(cohort), Standardise.fit(values)
    scaled = scale(values)
    inner = np.empty(len(cohort), np.int64)
    inner[stratified(cohort, 4, seed_for("inner", seed))] = np.arange(len(cohort)) % INNER
    penalty = choose_penalty(scaled, time, event, inner, penalties=PENALTIES)
    coefficients = fit_ridge(scaled, time, event, penalty=penalty)
    return Baseline(columns, scale, coefficients, breslow(scaled @ coefficients, time, event), penalty)


def _follow_up(patients: Iterable[Patient]) -> tuple[Row, NDArray[np.bool_]]:
    told = [(patient.time, patient.event) for patient in patients]
    return np.array([time for time, _ in told], np.float64), np.array([event for _, event in told], np.bool_)


def _mean(bag: Bag) -> Row:
    """(D,) mean tile of a patient."""
    return bag.features.mean(0, dtype=torch.float64).numpy()


def _beside(clinical: Baseline, dataset: Dataset, risks: Mapping[str, float]) -> Row:
    """(B, 2) a method's risks beside the log hazards of the clinical baseline."""
    return np.column_stack([list(risks.values()), clinical.log_hazard(dataset, list(risks))])
