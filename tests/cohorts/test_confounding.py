"""A site that gives the outcome away is named; one that does not is left alone."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.cohorts.confounding import SMALL, site_effect
from slidesurv.cohorts.imports import read_mcat
from slidesurv.cohorts.site_folds import site_kfold
from slidesurv.cohorts.splits import kfold, read_mcat_splits
from slidesurv.types import Cohort, Patient

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")


def make_cohort(hazards: dict[str, float], *, each: int = 40, seed: int = 0) -> Cohort:
    """Patients of each site die with its hazard a month, or are last seen within three years."""
    random = np.random.default_rng(seed)
    patients = []
    for site, hazard in hazards.items():
        for number in range(each):
            death, seen = random.exponential(1 / hazard), random.uniform(6, 36)
            patients.append(Patient(f"{site}-{number}", (), min(death, seen) + 0.01, bool(death <= seen), site=site))
    return Cohort("made", tuple(patients))


FLAT = dict.fromkeys("ABCDEF", 0.03)


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_site_is_named_with_what_it_gives_away(seed):
    cohort = make_cohort(FLAT | {"B": 0.3}, seed=seed)
    effect = site_effect(cohort, kfold(cohort, seed=seed))
    assert max(effect.p) < 1e-4 and effect.low > 0.55
    assert effect.unlike[0][0] == "B" and effect.unlike[0][1] > 1.5 * effect.unlike[0][2]
    assert effect.misleads
    assert "depends on the site" in str(effect) and "'B' (" in str(effect)


def test_sites_that_are_alike_are_not_accused_more_often_than_chance():
    accused = 0
    for seed in range(20):
        cohort = make_cohort(FLAT, seed=seed)
        accused += site_effect(cohort, kfold(cohort, seed=seed), resamples=200).misleads
    assert accused <= 3


def test_permuted_outcomes_free_the_planted_site():
    cohort = make_cohort(FLAT | {"B": 0.3})
    told = [(patient.time, patient.event) for patient in cohort]
    order = np.random.default_rng(1).permutation(len(told))
    free = tuple(replace(p, time=told[k][0], event=told[k][1]) for p, k in zip(cohort, order, strict=True))
    effect = site_effect(replace(cohort, patients=free), kfold(cohort))
    assert not effect.tested and "is not shown to depend on the site" in str(effect)


def test_site_preserved_folds_leave_the_planted_site_nothing_to_give():
    cohort = make_cohort(FLAT | {"B": 0.3, "E": 0.3})
    effect = site_effect(cohort, site_kfold(cohort, folds=3))
    assert (effect.shared, effect.index) == (0, 0.5)
    assert effect.tested and not effect.misleads
    assert "share no site" in str(effect)


def test_test_outcomes_do_not_reach_the_test_of_training():
    cohort = make_cohort(FLAT | {"B": 0.3})
    split = kfold(cohort)[0]
    poisoned = tuple(replace(p, time=1e-3, event=True) if p.id in split.test else p for p in cohort)
    effects = [site_effect(each, [split], resamples=20) for each in (cohort, replace(cohort, patients=poisoned))]
    assert effects[0].p == effects[1].p and effects[0].unlike == effects[1].unlike


def test_small_sites_are_tested_together_and_never_named():
    cohort = make_cohort({"A": 0.03, **{f"s{n}": 0.3 for n in range(20)}}, each=4)
    large = make_cohort({"A": 0.03}, each=120)
    joined = Cohort("made", (*large.patients, *(p for p in cohort if p.site != "A")))
    effect = site_effect(joined, kfold(joined))
    assert max(effect.p) < 1e-3
    assert {site for site, _, _ in effect.unlike} == {"A"} and SMALL not in str(effect)


def test_nothing_is_said_where_nothing_can_be():
    one = make_cohort({"A": 0.1})
    assert site_effect(one, kfold(one)) is None
    nameless = replace(one, patients=tuple(replace(patient, site="") for patient in one))
    assert site_effect(nameless, kfold(nameless)) is None


@pytest.mark.parametrize(
    ("name", "mean"), [("blca", 0.564), ("brca", 0.553), ("gbmlgg", 0.772), ("luad", 0.578), ("ucec", 0.633)]
)
def test_the_interval_on_real_patients_holds_the_published_mean_over_folds(name, mean):
    folder = DATA / "tcga" / name
    if not folder.is_dir():
        pytest.skip(f"real data: '{DATA}' is not here; set SLIDESURV_DATA")
    cohort, _ = read_mcat(next(folder.glob("porpoise*_all_clean.csv.zip")), name=name, suffixes=())
    effect = site_effect(cohort, read_mcat_splits(folder / "splits_5foldcv", cohort, tune=0))
    assert effect.low < mean < effect.high and effect.shared > 0.9
    assert effect.tested == (name in ("brca", "gbmlgg"))
