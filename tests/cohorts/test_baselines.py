"""Each baseline finds what it reads, and nothing else; none is fitted on a test patient."""

import math
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from slidesurv.cohorts.baselines import BASELINES, fit_baseline, fit_combined, site_hazards
from slidesurv.cohorts.dataset import Dataset, FoldView
from slidesurv.cohorts.imports import read_mcat
from slidesurv.cohorts.splits import kfold, read_mcat_splits
from slidesurv.errors import ConfigError, DataError
from slidesurv.genomics.expression import Expression
from slidesurv.slides.store import FeatureStore
from slidesurv.survival.bins import fit_bins
from slidesurv.survival.concordance import concordance
from slidesurv.survival.estimators import kaplan_meier
from slidesurv.types import Cohort, Patient

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
GENES = tuple(f"G{n}" for n in range(40))
PUBLISHED = {  # spec/evaluation.md: mean and standard deviation over the published folds
    "blca": (0.564, 0.009), "brca": (0.553, 0.057), "gbmlgg": (0.772, 0.017), "luad": (0.578, 0.087),
    "ucec": (0.633, 0.067),
}  # fmt: skip


def make(folder: Path, *, patients: int = 90, truth: str = "", seed: int = 0, poison: dict[str, float] | None = None):
    """A cohort in which the log hazard is one of site, age, the mean of the tiles, or a gene; or nothing."""
    random = np.random.default_rng(seed)
    ids = [f"P{n:03}" for n in range(patients)]
    age, signal = random.normal(60, 10, patients), random.normal(size=patients)
    site = random.integers(0, 5, patients)
    values = random.normal(size=(patients, len(GENES)))
    tiles = random.normal(size=(patients, 6))
    log_hazard = np.zeros(patients)
    if truth == "site":
        log_hazard = np.where(site == 3, 2.5, 0.0)
    elif truth == "clinical":
        log_hazard = 0.15 * (age - 60)
    elif truth in ("mean-tiles", "expression"):
        log_hazard = 1.5 * signal
        target = tiles if truth == "mean-tiles" else values
        target[:, 1] = signal
    death, seen = random.exponential(20 * np.exp(-log_hazard)), random.uniform(10, 60, patients)
    spoilt = poison or {}
    cohort = Cohort(
        "made",
        tuple(
            Patient(
                name, (f"{name}-a",), spoilt.get(name, float(min(death[n], seen[n]) + 0.1)), bool(death[n] <= seen[n]),
                f"S{site[n]}", {"age": spoilt.get(name, float(age[n])), "stage": "I" if n % 2 else "II"},
            )
            for n, name in enumerate(ids)
        ),
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    for n, name in enumerate(ids):
        with h5py.File(folder / f"{name}-a.h5", "w") as file:
            noise = random.normal(0, 0.1, (4, 6))
            file.update(features=tiles[n] + noise - noise.mean(0) + spoilt.get(name, 0.0), coords=np.zeros((4, 2), int))
            file["features"].attrs["encoder"] = "uni"
    table = values + np.array([[spoilt.get(name, 0.0)] for name in ids])
    return Dataset(cohort, store=FeatureStore(folder), expression=Expression(tuple(ids), GENES, table))


def judge(dataset: Dataset, name: str) -> float:
    """C-index on the test part of the first of three folds."""
    cohort, split = dataset.cohort, kfold(dataset.cohort, folds=2, tune=0)[0]
    risk = fit_baseline(name, FoldView(dataset, split)).log_hazard(dataset, split.test)
    return concordance([cohort[i].event for i in split.test], [cohort[i].time for i in split.test], risk).index


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "null"])
def test_each_finds_what_it_reads_and_the_others_do_not(tmp_path, name):
    dataset = make(tmp_path, truth=name, patients=160)
    found = {other: judge(dataset, other) for other in BASELINES}
    assert found.pop(name) > 0.62
    assert found.pop("null") == 0.5
    assert max(found.values()) < 0.62


@pytest.mark.parametrize("name", BASELINES)
def test_a_poisoned_test_part_leaves_every_fitted_number_as_it_was(tmp_path, name):
    clean = make(tmp_path / "a", truth="site")
    split = kfold(clean.cohort, folds=3)[0]
    poisoned = make(tmp_path / "b", truth="site", poison=dict.fromkeys((*split.test, *split.tune), 777.0))
    fits = [fit_baseline(name, FoldView(dataset, split)) for dataset in (clean, poisoned)]
    states = [
        (fit.coefficients.tobytes(), fit.scale.mean.tobytes(), fit.scale.scale.tobytes(), fit.penalty,
         fit.hazard.time.tobytes(), fit.hazard.cumulative.tobytes())
        for fit in fits
    ]  # fmt: skip
    assert states[0] == states[1]
    risks = [fit.log_hazard(clean, split.test) for fit in fits]
    assert np.array_equal(*risks)


def test_curves_fall_from_one_and_the_null_curve_is_that_of_the_training_patients(tmp_path):
    dataset = make(tmp_path)
    split = kfold(dataset.cohort, folds=3)[0]
    view = FoldView(dataset, split)
    time, event = [p.time for p in view.cohort], [p.event for p in view.cohort]
    bins = fit_bins(time, event)
    null = fit_baseline("null", view)
    curve = null.survival(null.log_hazard(dataset, split.test), bins)
    theirs = kaplan_meier(time, event).at(np.array(bins.edges[1:-1]))
    assert curve[:, :-1] == pytest.approx(np.tile(theirs, (len(curve), 1)), abs=0.02)  # exp(−H) against ∏(1 − h)
    other = fit_baseline("clinical", view)
    risk = other.log_hazard(dataset, split.test)
    curves = other.survival(risk, bins)
    assert ((curves >= 0) & (curves <= 1)).all() and (np.diff(curves, axis=1) <= 0).all()
    assert (curves[risk.argmax()] <= curves[risk.argmin()]).all()


def test_a_patient_without_expression_and_one_of_a_new_site_are_average(tmp_path):
    dataset = make(tmp_path, truth="expression")
    kept = dataset.cohort.ids[:-1]
    table = dataset.expression
    dataset.expression = Expression(kept, GENES, table.rows(kept))
    last = dataset.cohort.ids[-1]
    split = kfold(dataset.cohort, folds=3)[0]
    assert fit_baseline("expression", FoldView(dataset, split)).log_hazard(dataset, [last]).tolist() == [0.0]
    view = FoldView(dataset, split)
    view.cohort = view.cohort.subset(p.id for p in view.cohort if p.site != dataset.cohort[last].site)
    assert fit_baseline("site", view).log_hazard(dataset, [last]).tolist() == [0.0]


def test_the_hazard_of_a_site_is_drawn_towards_that_of_all_by_two_deaths():
    told = [("A", 10.0, True), ("A", 20.0, True), ("B", 70.0, False)]
    cohort = Cohort("c", tuple(Patient(f"P{n}", (), t, e, s) for n, (s, t, e) in enumerate(told)))
    rates, middle = site_hazards(cohort)
    assert middle == pytest.approx(math.log(2 / 100))
    assert rates == pytest.approx({"A": math.log((2 + 2) / (100 + 30)), "B": math.log((2 + 0) / (100 + 70))})


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_the_site_only_figures_of_the_specification_are_reproduced(name, published):
    folder = DATA / "tcga" / name
    if not folder.is_dir():
        pytest.skip(f"real data: '{DATA}' is not here; set SLIDESURV_DATA")
    cohort, _ = read_mcat(next(folder.glob("porpoise*_all_clean.csv.zip")), name=name, suffixes=())
    dataset, found = Dataset(cohort), []
    for split in read_mcat_splits(folder / "splits_5foldcv", cohort, tune=0):
        risk = fit_baseline("site", FoldView(dataset, split)).log_hazard(dataset, split.test)
        event, time = ([getattr(cohort[i], what) for i in split.test] for what in ("event", "time"))
        found.append(concordance(event, time, risk).index)
    mean, deviation = published
    assert np.mean(found) == pytest.approx(mean, abs=0.002)
    assert np.std(found) == pytest.approx(deviation, abs=0.002)


def test_what_the_slide_adds_is_weighed_on_patients_nobody_was_fitted_on(tmp_path):
    dataset = make(tmp_path, truth="mean-tiles", patients=160)
    split = kfold(dataset.cohort, folds=2, tune=0.4)[0]
    view = FoldView(dataset, split)
    clinical, method = fit_baseline("clinical", view), fit_baseline("mean-tiles", view)
    honest = dict(zip(split.tune, method.log_hazard(dataset, split.tune), strict=True))
    both = fit_combined(clinical, dataset, honest)
    assert both.coefficients[0] > 3 * abs(both.coefficients[1])  # age says nothing here
    risks = dict(zip(split.test, method.log_hazard(dataset, split.test), strict=True))
    event, time = ([getattr(dataset.cohort[i], what) for i in split.test] for what in ("event", "time"))
    assert concordance(event, time, both.log_hazard(dataset, risks)).index > 0.62
    noise = dict(zip(split.tune, np.random.default_rng(0).normal(size=len(split.tune)), strict=True))
    assert abs(fit_combined(clinical, dataset, noise).coefficients[0]) < both.coefficients[0] / 2
    turned = {patient: -risk for patient, risk in honest.items()}
    assert fit_combined(clinical, dataset, turned).coefficients == pytest.approx(both.coefficients * [-1, 1])


def test_what_cannot_be_fitted_is_said(tmp_path):
    dataset = make(tmp_path)
    split = kfold(dataset.cohort, folds=3)[0]
    with pytest.raises(ConfigError, match=r"Unknown baseline 'sites'\. Did you mean 'site'"):
        fit_baseline("sites", FoldView(dataset, split))
    bare = Dataset(Cohort("bare", tuple(replace(p, covariates={}, site="") for p in dataset.cohort)))
    for name, reason in {
        "site": "they come from 0 known sites",
        "clinical": "differ in none of",
        "mean-tiles": "There are no tiles",
        "expression": "There is no table of expression",
    }.items():
        with pytest.raises(DataError, match=reason):
            fit_baseline(name, FoldView(bare, split))
    alive = {p.id: 0.0 for p in dataset.cohort if not p.event}
    with pytest.raises(
        DataError, match=r"0 of .* patients on whom the method was not fitted died; 5 deaths are needed"
    ):
        fit_combined(fit_baseline("clinical", FoldView(dataset, split)), dataset, alive)
