"""Every site stands whole in one fold, folds are as alike as whole sites allow, and where they are not it is said."""

import logging
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidesurv.cohorts.imports import read_mcat
from slidesurv.cohorts.site_folds import carve_sites, leave_site_out, site_kfold
from slidesurv.cohorts.splits import carve_tune, rounds
from slidesurv.errors import ConfigError, DataError
from slidesurv.types import Cohort, Patient

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
COHORTS = ("blca", "brca", "gbmlgg", "luad", "ucec")


def make_cohort(sizes: list[int], *, share: float = 0.5, seed: int = 0) -> Cohort:
    """Sites S0, S1 … of these sizes, with this share of deaths, each site with its own."""
    random = np.random.default_rng(seed)
    patients = [
        Patient(
            f"S{site:02}-{n:03}", (), float(random.uniform(1, 100)), bool(random.random() < share), site=f"S{site:02}"
        )
        for site, size in enumerate(sizes)
        for n in range(size)
    ]
    return Cohort("made", tuple(patients[place] for place in random.permutation(len(patients))))


def sites(cohort: Cohort, ids) -> set[str]:
    return {cohort[patient].site for patient in ids}


def deaths(cohort: Cohort, ids) -> int:
    return sum(cohort[patient].event for patient in ids)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=8, max_size=14), st.integers(2, 4), st.integers(0, 99))
def test_no_site_is_split_and_every_patient_is_judged_once(sizes, folds, seed):
    cohort = make_cohort([*sizes, 6, 6], share=0.8, seed=seed)
    splits = site_kfold(cohort, folds=folds, seed=seed)
    assert Counter(patient for split in splits for patient in split.test) == Counter(cohort.ids)
    for split in splits:
        assert not sites(cohort, split.test) & sites(cohort, (*split.train, *split.tune))
        assert {*split.train, *split.tune, *split.test} == set(cohort.ids)
        assert deaths(cohort, split.test) >= 2


@pytest.mark.parametrize("seed", range(3))
def test_equal_sites_give_equal_folds(seed):
    cohort = make_cohort([6] * 15, share=1.0, seed=seed)
    assert [len(split.test) for split in site_kfold(cohort, seed=seed, tune=0)] == [18] * 5


def test_folds_are_as_alike_as_the_best_of_all_divisions():
    """Nine sites in three folds can be tried out: 3⁹ ways."""
    cohort = make_cohort([9, 8, 7, 5, 4, 4, 3, 2, 2], seed=3)
    names = sorted(sites(cohort, cohort.ids))
    size = np.array([sum(p.site == site for p in cohort) for site in names])
    died = np.array([sum(p.site == site and p.event for p in cohort) for site in names])
    ways = np.indices((3,) * 9).reshape(9, -1).T  # (3⁹, 9)
    loads = [np.stack([(ways == fold) @ amount for fold in range(3)], axis=1) for amount in (size, died)]
    ranges = sum(np.ptp(load, axis=1) / load.mean() for load in loads)
    splits = site_kfold(cohort, folds=3, tune=0)
    ours = [[len(split.test) for split in splits], [deaths(cohort, split.test) for split in splits]]
    assert sum(np.ptp(load) / np.mean(load) for load in ours) <= ranges.min() + 0.2  # time bins may ask for a little


def test_the_same_seed_gives_the_same_folds_and_another_seed_other_ones():
    cohort = make_cohort(list(range(2, 16)))
    first, again, other = (site_kfold(cohort, folds=3, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {split.test for split in first} != {split.test for split in other}


def test_the_order_of_the_table_does_not_matter():
    cohort = make_cohort([5, 6, 7, 8, 9])
    turned = Cohort("made", cohort.patients[::-1])
    assert [set(split.test) for split in site_kfold(cohort, folds=2, tune=0)] == [
        set(split.test) for split in site_kfold(turned, folds=2, tune=0)
    ]


def test_repeats_divide_anew():
    splits = site_kfold(make_cohort(list(range(2, 16))), folds=3, repeats=2)
    assert rounds(splits) == (0, 0, 0, 1, 1, 1)
    assert {split.test for split in splits[:3]} != {split.test for split in splits[3:]}


def test_tuning_parts_are_whole_sites_of_the_share_asked():
    cohort = make_cohort([4] * 25)
    for split in site_kfold(cohort, tune=0.2):
        assert not sites(cohort, split.tune) & sites(cohort, split.train)
        assert len(split.tune) == 16 and deaths(cohort, split.tune) > 0


def test_where_no_whole_sites_can_tune_patients_do_and_it_is_said(caplog):
    cohort = make_cohort([40, 41], share=0.6)
    with caplog.at_level(logging.WARNING):
        rest, taken = carve_sites(cohort, tune=0.2, seed=1)
    assert (rest, taken) == carve_tune(cohort, tune=0.2, seed=1)
    assert "No whole sites hold 20 % of 81 training patients" in caplog.text
    assert carve_sites(cohort, tune=0, seed=1) == (cohort.ids, ())


def test_a_site_larger_than_the_others_together_is_alone_and_named(caplog):
    cohort = make_cohort([66, 7, 7, 6, 6, 5, 3], share=1.0)
    with caplog.at_level(logging.WARNING):
        splits = site_kfold(cohort, folds=4, tune=0)
    small, *_, large = sorted(len(split.test) for split in splits)
    assert small >= 9 and large == 66
    said = "Site 'S00' of 'made' holds 66 of 100 patients, more than a fold's share: the folds have"
    assert f"{said} {small} to 66 patients" in caplog.text


def test_what_whole_sites_cannot_give_is_refused():
    with pytest.raises(
        ConfigError, match=r"folds is 4, but cohort 'made' has 3 sites, which stay whole. Set folds to 3"
    ):
        site_kfold(make_cohort([9, 9, 9], share=1.0), folds=4)
    lonely = make_cohort([30, 1, 1, 1], share=1.0)
    with pytest.raises(
        DataError, match="The 4 sites of cohort 'made' cannot be divided into 3 parts with 2 deaths each"
    ):
        site_kfold(lonely, folds=3)
    with pytest.raises(DataError, match="too few for 5 folds with 2 each"):
        site_kfold(make_cohort([5] * 6, share=0.1))
    unknown = Cohort("made", (*make_cohort([9, 9]).patients, Patient("X", (), 1.0, True)))
    for make in (site_kfold, leave_site_out):
        with pytest.raises(DataError, match="1 of 19 patients of cohort 'made' have no site: 'X'"):
            make(unknown) if make is leave_site_out else make(unknown, folds=2)


@pytest.mark.parametrize("seed", range(3))
def test_large_sites_are_judged_alone_and_small_ones_together(seed):
    cohort = make_cohort([30, 20, *[3] * 12], share=1.0, seed=seed)
    splits = leave_site_out(cohort, least=10, seed=seed)
    tested = [sites(cohort, split.test) for split in splits]
    assert tested[:2] == [{"S00"}, {"S01"}]
    assert all(deaths(cohort, split.test) >= 10 for split in splits)
    assert Counter(patient for split in splits for patient in split.test) == Counter(cohort.ids)
    for split in splits:
        assert not sites(cohort, split.test) & sites(cohort, (*split.train, *split.tune))


def test_sites_that_make_no_two_test_parts_are_refused():
    with pytest.raises(DataError, match="18 deaths at 2 sites, which make 1 test parts with 10 deaths each"):
        leave_site_out(make_cohort([9, 9], share=1.0))


def read_real(name: str) -> Cohort:
    folder = DATA / "tcga" / name
    if not folder.is_dir():
        pytest.skip(f"real data: '{DATA}' is not here; set SLIDESURV_DATA")
    return read_mcat(next(folder.glob("porpoise*_all_clean.csv.zip")), name=name, suffixes=())[0]


def check_real(cohort: Cohort, splits) -> None:
    sizes, died = [len(split.test) for split in splits], [deaths(cohort, split.test) for split in splits]
    for load in (sizes, died):
        share = sum(load) / 5
        largest = max(Counter(p.site for p in cohort if load is sizes or p.event).values())
        assert max(load) <= max(1.15 * share, largest + 1)
        assert min(load) >= 0.65 * share
    assert all(not sites(cohort, s.test) & sites(cohort, (*s.train, *s.tune)) for s in splits)
    assert all(not sites(cohort, s.tune) & sites(cohort, s.train) for s in splits)


def test_the_site_that_makes_equal_folds_of_brca_impossible_is_printed(caplog):
    cohort = read_real("brca")
    with caplog.at_level(logging.WARNING):
        check_real(cohort, site_kfold(cohort))
    assert "Site 'BH' of 'brca' holds 42 of 130 deaths, more than a fold's share" in caplog.text


@pytest.mark.slow
def test_five_real_cohorts_are_divided_in_seconds():
    cohorts = [read_real(name) for name in COHORTS]
    start = time.process_time()  # other processes may have the processor
    found = [site_kfold(cohort) for cohort in cohorts]
    assert time.process_time() - start < 30
    for cohort, splits in zip(cohorts, found, strict=True):
        check_real(cohort, splits)
