"""One group teaches and the others judge; the past teaches and what came later judges."""

import logging
import os
from pathlib import Path

import pytest

from slidesurv.cohorts.group_folds import column_of, group_fold, temporal_fold
from slidesurv.cohorts.imports import read_mcat
from slidesurv.cohorts.study import read_folds
from slidesurv.config.data import SplitSection
from slidesurv.errors import ConfigError, DataError
from slidesurv.types import Cohort, Patient

DATA = Path(os.environ.get("SLIDESURV_DATA") or Path(__file__).parents[2].parent / "shared/data")
RACES = {f"P{n:02}": ("WHITE", "White", "white", "ASIAN", "BLACK")[n % 5] for n in range(40)}
YEARS = {f"P{n:02}": str(2000 + n // 4) for n in range(40)}


def make_cohort(covariates=None) -> Cohort:
    own = covariates or {}
    return Cohort(
        "made", tuple(Patient(i, (), 1.0 + n, n % 2 == 0, covariates=own.get(i, {})) for n, i in enumerate(RACES))
    )


def test_the_largest_group_teaches_and_every_other_judges():
    split = group_fold(make_cohort(), RACES)
    assert {RACES[patient].lower() for patient in (*split.train, *split.tune)} == {"white"}
    assert {RACES[patient] for patient in split.test} == {"ASIAN", "BLACK"}
    assert len(split.test) == 16 and len(split.tune) == round(0.2 * 24)


def test_several_groups_teach_together_when_they_are_named():
    split = group_fold(make_cohort(), RACES, teach=["White", "Asian"], tune=0)
    assert len(split.train) == 32 and {RACES[patient] for patient in split.test} == {"BLACK"}


def test_patients_of_no_known_group_stand_nowhere_or_judge(caplog):
    known = {patient: race for patient, race in RACES.items() if patient > "P04"}
    with caplog.at_level(logging.WARNING):
        split = group_fold(make_cohort(), known, tune=0)
    assert "5 of 40 patients are in no known group and stand in no part" in caplog.text
    assert not {"P00", "P01"} & {*split.train, *split.test}
    judged = group_fold(make_cohort(), known, tune=0, unknown_judge=True)
    assert {"P00", "P01", "P02", "P03", "P04"} <= set(judged.test) and judged.train == split.train


def test_groups_that_are_not_there_or_too_small_are_refused_with_what_is_there():
    with pytest.raises(
        ConfigError, match=r"is in the group 'green'. Groups and patients: 'white' 24, 'asian' 8, 'black' 8"
    ):
        group_fold(make_cohort(), RACES, teach=["Green"])
    with pytest.raises(DataError, match="0 patients with 0 deaths would judge"):
        group_fold(make_cohort(), dict.fromkeys(RACES, "white"))
    with pytest.raises(DataError, match="1 patients with 1 deaths would judge"):
        group_fold(make_cohort(), dict.fromkeys(RACES, "white") | {"P00": "black"})


def test_the_past_teaches_up_to_a_year_or_a_day():
    split = temporal_fold(make_cohort(), YEARS, until="2005", tune=0)
    assert {YEARS[patient] for patient in split.test} == {"2006", "2007", "2008", "2009"}
    assert {YEARS[patient] for patient in split.train} == {str(year) for year in range(2000, 2006)}
    days = {patient: f"{year}-06-15" for patient, year in YEARS.items()}
    assert temporal_fold(make_cohort(), days, until="2005", tune=0) == split
    assert temporal_fold(make_cohort(), days, until="2006-06-14", tune=0) == split
    assert len(temporal_fold(make_cohort(), days, until="2006-06-15", tune=0).test) == 12


@pytest.mark.parametrize(("share", "judged"), [(0.2, 8), (0.28, 12), (0.5, 20)])
def test_by_default_the_latest_share_judges_in_whole_years(share, judged):
    split = temporal_fold(make_cohort(), YEARS, share=share, tune=0)
    assert len(split.test) == judged
    assert max(YEARS[patient] for patient in split.train) < min(YEARS[patient] for patient in split.test)


def test_patients_without_a_date_stand_nowhere_and_what_is_no_date_is_refused(caplog):
    known = {patient: year for patient, year in YEARS.items() if patient != "P39"}
    with caplog.at_level(logging.WARNING):
        assert "P39" not in temporal_fold(make_cohort(), known, tune=0).test
    assert "1 of 40 patients have no date" in caplog.text
    with pytest.raises(DataError, match="'spring' is neither a year"):
        temporal_fold(make_cohort(), YEARS | {"P00": "spring"})
    with pytest.raises(DataError, match="0 patients with 0 deaths would judge"):
        temporal_fold(make_cohort(), YEARS, until="2020")
    with pytest.raises(DataError, match="would teach"):
        temporal_fold(make_cohort(), {})


def test_a_column_is_read_from_the_cohort_or_from_a_table_of_slides(tmp_path):
    cohort = make_cohort({"P00": {"race": "White", "year": 2010.0}, "P01": {"race": None, "year": None}})
    assert column_of(cohort, "race") == {"P00": "White"}
    assert column_of(cohort, "year") == {"P00": "2010"}
    path = tmp_path / "race.csv"
    path.write_text("case_id,race\nP00,white\nP00,white\nP01,[Not Available]\nP02,not reported\nP03,Asian\nX,white\n")
    assert column_of(cohort, "race", path) == {"P00": "white", "P03": "Asian"}
    path.write_text("case_id,race\nP00,white\nP00,black\n")
    with pytest.raises(DataError, match=r"Row 3 of .* says 'black' of patient 'P00' in column 'race', but .* 'white'"):
        column_of(cohort, "race", path)
    with pytest.raises(DataError, match=r"Unknown column 'rase'. Did you mean 'race'"):
        column_of(cohort, "rase", path)
    with pytest.raises(ConfigError, match=r"no covariate 'ancestry', only 'race', 'year'. Set .splits. path"):
        column_of(cohort, "ancestry")


def test_an_experiment_asks_for_either(tmp_path):
    path = tmp_path / "more.csv"
    path.write_text("\n".join(["patient_id,race,year", *(f"{i},{RACES[i]},{YEARS[i]}" for i in RACES)]))
    group = SplitSection(kind="group", column="race", path=path, teach=("white",), tune=0)
    assert read_folds(group, make_cohort()) == (group_fold(make_cohort(), RACES, tune=0),)
    temporal = SplitSection(kind="temporal", column="year", path=path, folds=4)
    assert read_folds(temporal, make_cohort()) == (temporal_fold(make_cohort(), YEARS, share=0.25),)
    merged = SplitSection(kind="group", column="race", path=path, tune=0.2)
    assert read_folds(merged, make_cohort(), two_parts=True)[0].tune == ()


def test_real_patients_of_reported_races_judge_models_of_white_patients():
    folder, common = DATA / "tcga/brca", DATA / "tcga/common/gdc_clinical_all_projects.csv.gz"
    if not (folder.is_dir() and common.is_file()):
        pytest.skip(f"real data: '{DATA}' is not here; set SLIDESURV_DATA")
    cohort, _ = read_mcat(folder / "porpoise_mutsig_tcga_brca_all_clean.csv.zip", name="brca", suffixes=())
    (split,) = read_folds(SplitSection(kind="group", column="race", path=common), cohort)
    assert 600 < len({*split.train, *split.tune}) < 720 and 150 < len(split.test) < 260
