"""Curves and tests are those of lifelines and scikit-survival."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from scipy.stats import chi2
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from slidesurv.errors import DataError
from slidesurv.survival.estimators import at_risk, kaplan_meier, log_rank, median_follow_up


def cohort(patients=120, seed=0, groups=2):
    draw = np.random.default_rng(seed)
    group = draw.integers(0, groups, patients)
    time = np.ceil(draw.exponential(20 + 10 * group, patients))
    return time, draw.random(patients) < 0.6, group


@pytest.mark.parametrize("seed", range(4))
def test_curve_and_band_are_those_of_scikit_survival(seed):
    time, event, _ = cohort(seed=seed)
    curve = kaplan_meier(time, event)
    theirs = kaplan_meier_estimator(event, time, conf_type="log-log")
    np.testing.assert_array_equal(curve.time, theirs[0])
    np.testing.assert_allclose(curve.survival, theirs[1], atol=1e-12)
    np.testing.assert_allclose([curve.low, curve.high], theirs[2], atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_curve_band_and_counts_are_those_of_lifelines(seed):
    time, event, _ = cohort(seed=seed)
    curve = kaplan_meier(time, event)
    theirs = KaplanMeierFitter().fit(time, event)
    np.testing.assert_allclose(curve.survival, theirs.survival_function_["KM_estimate"].iloc[1:], atol=1e-12)
    np.testing.assert_allclose(np.stack([curve.low, curve.high], 1), theirs.confidence_interval_.iloc[1:], atol=1e-10)
    assert curve.at_risk.tolist() == theirs.event_table["at_risk"].iloc[1:].tolist()
    assert curve.events.tolist() == theirs.event_table["observed"].iloc[1:].tolist()
    assert curve.median == theirs.median_survival_time_


def test_a_curve_by_hand():
    curve = kaplan_meier([1, 2, 2, 3, 4], [0, 1, 0, 1, 1])
    assert curve.survival == pytest.approx([1, 0.75, 0.375, 0])
    assert curve.at_risk.tolist() == [5, 4, 2, 1]
    assert curve.events.tolist() == [0, 1, 1, 1]
    assert curve.median == 3


def test_a_curve_is_read_from_the_right_between_its_steps():
    curve = kaplan_meier([1, 2, 2, 3, 4], [0, 1, 0, 1, 1])
    assert curve.at([[0, 1.9], [2, 2.9]]).tolist() == [[1, 1], [0.75, 0.75]]
    assert curve.at(99) == 0
    low, high = curve.band_at([0, 2])
    assert low.tolist() == [1, curve.low[1]]
    assert high.tolist() == [1, curve.high[1]]


def test_nobody_knows_the_curve_after_the_last_patient_was_seen_alive():
    curve = kaplan_meier([1, 2], [1, 0])
    assert curve.at(2) == 0.5
    assert np.isnan(curve.at(2.1))


@pytest.mark.parametrize(
    ("event", "survival", "median"), [([0, 0, 0], [1], math.inf), ([1, 1, 1], [0], 5), ([1, 0, 0], [2 / 3], math.inf)]
)
def test_a_curve_with_one_time(event, survival, median):
    curve = kaplan_meier([5, 5, 5], event)
    assert curve.survival == pytest.approx(survival)
    assert curve.median == median


def test_a_median_of_exactly_one_half_is_reached():
    curve = kaplan_meier(range(1, 25), [1] * 24)
    assert curve.survival[11] > 0.5  # computed
    assert curve.median == 12


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30))
def test_curves_fall_inside_their_band(patients):
    time, event = np.array(patients).T
    curve = kaplan_meier(time, event)
    assert np.all(np.diff(curve.survival, prepend=1) <= 0)
    assert np.all((curve.low >= 0) & (curve.low <= curve.survival + 1e-12))
    assert np.all((curve.survival - 1e-12 <= curve.high) & (curve.high <= 1))


def test_median_follow_up_is_the_median_of_the_censored():
    time, event, _ = cohort()
    assert median_follow_up(time, event) == KaplanMeierFitter().fit(time, ~event).median_survival_time_
    assert median_follow_up([1, 2], [1, 1]) == math.inf


def test_at_risk_counts_those_not_yet_gone():
    assert at_risk([5, 1, 3, 3], [0, 1, 1.5, 3, 5, 6]).tolist() == [4, 4, 3, 3, 1, 0]


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_log_rank_is_that_of_lifelines_and_scikit_survival(groups):
    time, event, group = cohort(groups=groups, seed=groups)
    found = log_rank(time, event, group)
    ours = (found.statistic, found.p)
    theirs = multivariate_logrank_test(time, group, event)
    assert ours == pytest.approx((theirs.test_statistic, theirs.p_value), rel=1e-10)
    assert ours == pytest.approx(compare_survival(Surv.from_arrays(event, time), group), rel=1e-10)


def test_deaths_observed_and_expected_are_those_of_scikit_survival():
    time, event, group = cohort()
    found = log_rank(time, event, np.array(["low", "high"])[group])
    table = compare_survival(Surv.from_arrays(event, time), group, return_stats=True)[2]
    assert found.groups == ("high", "low")
    assert found.observed.tolist() == table["observed"].tolist()[::-1]
    assert found.expected == pytest.approx(table["expected"].to_numpy()[::-1], rel=1e-10)


def test_strata_are_compared_inside_themselves():
    time, event, group = cohort()
    once = log_rank(time, event, group)
    twice = log_rank([*time, *(time * 7)], [*event, *event], [*group, *group], strata=np.repeat([0, 1], len(time)))
    assert twice.statistic == pytest.approx(2 * once.statistic)
    assert twice.p == pytest.approx(chi2.sf(2 * once.statistic, 1))


def test_a_group_gone_before_the_first_death_takes_no_degree_of_freedom():
    time, event, group = cohort()
    found = log_rank([*time, 0, 0], [*event, 0, 0], [*group, 2, 2])
    assert (found.statistic, found.p) == pytest.approx(
        (log_rank(time, event, group).statistic, log_rank(time, event, group).p)
    )


@pytest.mark.parametrize("group", [[0, 0, 1, 1], [0, 1, 2, 3]])
@pytest.mark.parametrize(("time", "event"), [([1, 2, 3, 4], [0, 0, 0, 0]), ([5, 5, 5, 5], [1, 1, 1, 1])])
def test_without_a_death_that_can_tell_there_is_no_statistic(time, event, group):
    found = log_rank(time, event, group)
    assert np.isnan([found.statistic, found.p]).all()


def test_deaths_after_the_other_groups_are_gone_tell_nothing():
    time = np.arange(1.0, 41)
    found = log_rank(time, time > 9, time < 9)
    assert np.isnan([found.statistic, found.p]).all()


def test_one_death_can_tell():
    found = log_rank([1, 2, 3, 4], [1, 0, 0, 0], [0, 0, 1, 1])
    assert found.statistic == pytest.approx(1)
    assert found.p == pytest.approx(chi2.sf(1, 1))


def test_one_group_has_nothing_to_be_compared_with():
    with pytest.raises(DataError, match="given 1 group"):
        log_rank([1, 2], [1, 1], ["high", "high"])


@pytest.mark.parametrize("call", [kaplan_meier, median_follow_up])
def test_nobody_has_no_curve(call):
    with pytest.raises(DataError, match="No patient to estimate a survival curve from"):
        call([], [])


def test_groups_of_another_length_are_refused():
    with pytest.raises(DataError, match="'group' has 3 values for 2 patients"):
        log_rank([1, 2], [1, 1], [0, 1, 1])
