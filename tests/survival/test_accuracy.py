"""A calibrated model is found calibrated, and curves are read at any month."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.accuracy import calibration, survival_at
from slidesurv.survival.estimators import kaplan_meier

EDGES = (0.0, 10.0, 20.0, 60.0)
CURVES = [[0.9, 0.5, 0.1], [1.0, 0.8, 0.8]]


def cohort(patients):
    draw = np.random.default_rng(0)
    predicted = draw.uniform(0.1, 0.9, patients)
    death = draw.exponential(-12 / np.log(predicted))
    watched = draw.uniform(6, 60, patients)
    return np.minimum(death, watched), death <= watched, predicted


def test_true_predictions_come_true():
    time, event, predicted = cohort(40_000)
    found = calibration(time, event, predicted, at=12, groups=4)
    assert found.patients.tolist() == [10_000] * 4
    assert found.observed == pytest.approx(found.predicted, abs=0.015)


def test_predictions_that_are_too_hopeful_lie_above_the_band():
    time, event, predicted = cohort(4000)
    found = calibration(time, event, predicted**0.5, at=12, groups=4)
    assert np.all(found.predicted > found.high)


def test_a_group_is_observed_by_its_own_curve():
    time, event, predicted = cohort(50)
    found = calibration(time, event, predicted, at=12, groups=2)
    low = predicted <= np.median(predicted)
    assert found.observed.tolist() == [kaplan_meier(time[m], event[m]).at(12) for m in (low, ~low)]
    assert found.predicted.tolist() == [predicted[m].mean() for m in (low, ~low)]


@pytest.mark.parametrize(
    ("predicted", "patients"),
    [([0.5, 0.5, 0.5, 0.9], [3, 1]), ([0.1, 0.5, 0.5, 0.5], [1, 3]), ([0.5] * 4, [4]), ([0.4, 0.3, 0.2, 0.1], [2, 2])],
)
def test_equal_predictions_stay_in_one_group(predicted, patients):
    found = calibration([1, 2, 3, 4], [1, 1, 1, 1], predicted, at=2, groups=2)
    assert found.patients.tolist() == patients
    assert np.all(np.diff(found.predicted) > 0)


def test_a_group_not_watched_so_long_is_unknown():
    found = calibration([1, 2], [1, 0], [0.5, 0.5], at=12)
    assert found.patients.tolist() == [2]
    assert np.isnan([found.observed, found.low, found.high]).all()


def test_predictions_that_are_no_probabilities_are_refused():
    with pytest.raises(DataError, match=r"runs from -3\.5 to 0\.5"):
        calibration([1, 2], [1, 1], [-3.5, 0.5], at=1)


def test_no_groups_are_refused():
    with pytest.raises(ConfigError, match="groups is 0"):
        calibration([1], [1], [0.5], at=1, groups=0)


def test_nobody_has_no_calibration():
    with pytest.raises(DataError, match="No patient to estimate a calibration from"):
        calibration([], [], [], at=1)


def test_curves_at_the_edges_are_the_models():
    assert survival_at(EDGES, CURVES, EDGES).tolist() == [[1, 0.9, 0.5, 0.1], [1, 1, 0.8, 0.8]]


def test_curves_between_the_edges_are_straight_and_stay_outside():
    assert survival_at(EDGES, CURVES, [-5, 5, 15, 30, 999]) == pytest.approx(
        np.array([[1, 0.95, 0.7, 0.4, 0.1], [1, 1, 0.9, 0.8, 0.8]])
    )


def test_one_month_gives_one_number_a_patient():
    assert survival_at(EDGES, CURVES, 15) == pytest.approx([0.7, 0.9])


@given(st.lists(st.floats(-10, 100), min_size=1, max_size=5))
def test_curves_are_those_of_numpy(months):
    expected = [np.interp(months, EDGES, [1, *curve]) for curve in CURVES]
    np.testing.assert_allclose(survival_at(EDGES, CURVES, months), expected, atol=1e-12)


def test_curves_of_other_bins_are_refused():
    with pytest.raises(DataError, match=r"shape \(1, 2\), but 4 edges make 3 bins"):
        survival_at(EDGES, [[0.5, 0.2]], 1)
