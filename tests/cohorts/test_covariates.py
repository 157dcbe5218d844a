"""Covariates become numbers by what training patients show, and nobody's gap is filled by a guess of ours."""

import pytest

from slidesurv.cohorts.covariates import Covariates
from slidesurv.errors import DataError
from slidesurv.types import Cohort, Patient


def patient(name: str, **covariates) -> Patient:
    return Patient(name, (), 1.0, True, covariates=covariates)


TRAINING = Cohort(
    "made",
    (
        patient("a", age=50.0, stage="II", grade=1.0, sex="male", rna_id="a1"),
        patient("b", age=60.0, stage="I", grade="high", sex="male", rna_id="b1"),
        patient("c", age=90.0, stage="II", grade=1.0, sex="male", rna_id="c1"),
        patient("d", age=None, stage=None, grade=1.0, sex="male", rna_id="d1"),
    ),
)


def test_numbers_stay_words_become_columns_and_what_never_varies_is_left_out():
    fitted = Covariates.fit(TRAINING)
    assert fitted.names == ("age", "stage = II", "stage = I", "grade = 1.0", "grade = high")  # no sex, no rna_id
    assert fitted(TRAINING["b"]).tolist() == [60.0, 0.0, 1.0, 0.0, 1.0]


def test_a_missing_number_is_the_training_median_and_a_missing_or_new_word_is_nobody_in_particular():
    fitted = Covariates.fit(TRAINING)
    average = [2 / 3, 1 / 3, 0.75, 0.25]
    assert fitted(TRAINING["d"]).tolist() == [60.0, *average[:2], 1.0, 0.0]
    assert fitted(patient("x", age="unknown", stage="IV", grade=None)).tolist() == [60.0, *average]
    assert fitted(patient("y")).tolist() == [60.0, *average]


def test_a_covariate_that_is_a_number_here_and_a_word_there_is_words():
    assert "grade" not in Covariates.fit(TRAINING).medians


def test_a_table_without_covariates_is_refused():
    bare = Cohort("bare", (patient("a", age=50.0), patient("b", age=50.0)))
    with pytest.raises(DataError, match="2 training patients of cohort 'bare' differ in none of 'age', 'sex'"):
        Covariates.fit(bare)
