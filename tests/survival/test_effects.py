"""Hazard ratios are those of lifelines, and restricted means are areas under Kaplan–Meier curves."""

import math

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from slidesurv.errors import ConfigError
from slidesurv.survival.effects import hazard_ratio, log_hazard_ratio, restricted_mean_difference
from slidesurv.survival.evidence import fit_reference, gather

TRAINING = fit_reference([50], [1])  # no part in what is asked here


def cohort(patients=200, seed=0, whole=False):
    draws = np.random.default_rng(seed)
    risk = draws.normal(size=patients)
    death, watched = draws.exponential(20 * np.exp(-0.5 * risk)), draws.uniform(4, 60, patients)
    time = np.minimum(death, watched)
    return np.ceil(time / 4) if whole else time, death <= watched, risk


def judged(time, event, strata=None, resamples=0):
    return gather(time, event, TRAINING, strata=strata, resamples=resamples)


def lifelines(time, event, value, strata):
    table = pd.DataFrame({"time": time, "event": event, "value": value, "strata": strata})
    fitter = CoxPHFitter().fit(table, "time", "event", strata="strata", fit_options={"precision": 1e-12})
    return float(fitter.params_["value"]), fitter.confidence_intervals_.to_numpy()[0]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("folds", [1, 3])
def test_the_ratio_and_its_interval_are_those_of_lifelines(whole, folds):
    time, event, value = cohort(whole=whole)
    strata = np.arange(len(time)) % folds
    found = log_hazard_ratio(judged(time, event, strata), 3 * value)
    ratio, interval = lifelines(time, event, 3 * value, strata)
    assert found.value == pytest.approx(ratio, rel=1e-8)
    assert found.theory == pytest.approx(interval, rel=1e-7)


def test_a_ratio_by_hand():
    found = log_hazard_ratio(judged([1, 2, 3], [1, 1, 1]), [1, 0, 1])  # u / (2u + 1) / (u + 1) is largest at u² = 1/2
    assert found.value == pytest.approx(-math.log(2) / 2)


def test_what_happened_later_is_not_looked_at():
    time, event, value = cohort()
    cut = log_hazard_ratio(judged(time, event), value, until=12)
    by_hand = log_hazard_ratio(judged(np.minimum(time, 12), event & (time <= 12)), value)
    assert cut.value == pytest.approx(by_hand.value, rel=1e-12)
    assert cut.value != pytest.approx(log_hazard_ratio(judged(time, event), value).value, rel=1e-3)


def test_the_ratio_is_that_of_one_standard_deviation_of_each_fold():
    time, event, risk = cohort()
    strata = np.arange(len(time)) % 2
    other_scales = np.where(strata == 1, 1000 * risk - 5, risk)  # as two models have
    found = hazard_ratio(judged(time, event, strata, 9), risk)
    scaled = hazard_ratio(judged(time, event, strata, 9), other_scales)
    assert scaled.value == pytest.approx(found.value, rel=1e-9)
    assert scaled.samples == pytest.approx(found.samples, rel=1e-9)
    deviation = np.array([risk[strata == k].std(ddof=1) for k in (0, 1)])[strata]
    ratio, interval = lifelines(time, event, risk / deviation, strata)
    assert found.value == pytest.approx(math.exp(ratio), rel=1e-8)
    assert found.theory == pytest.approx(np.exp(interval), rel=1e-7)


def test_a_risk_turned_around_has_the_inverse_ratio():
    time, event, risk = cohort()
    evidence = judged(time, event, resamples=9)
    assert hazard_ratio(evidence, -risk).samples == pytest.approx(1 / hazard_ratio(evidence, risk).samples, rel=1e-9)


def test_the_bootstrap_interval_and_the_theory_agree_where_both_hold():
    time, event, risk = cohort(600)
    found = hazard_ratio(judged(time, event, resamples=400), risk)
    assert found.interval == pytest.approx(found.theory, rel=0.05)
    assert found.theory[0] < math.exp(0.5 * risk.std(ddof=1)) < found.theory[1]


@pytest.mark.parametrize(("sign", "gap"), [(1, 1), (-1, 1), (1, 40)])
def test_deaths_that_follow_the_risk_without_exception_have_no_ratio(sign, gap):
    found = hazard_ratio(judged([1, 2, 3, 4], [1, 1, 1, 0], resamples=5), sign * np.array([9 + gap, 3, 2, 1]))
    assert math.isnan(found.value)
    assert found.undefined == 5
    assert found.note.startswith("the deaths follow the values without exception")


def test_an_outlier_does_not_stop_the_ratio():
    time, event, risk = cohort()
    risk[3] = 1e6
    found = hazard_ratio(judged(time, event), risk)
    ratio, _ = lifelines(time, event, risk / risk.std(ddof=1), np.zeros(len(time)))
    assert found.value == pytest.approx(math.exp(ratio), rel=1e-5)


@pytest.mark.parametrize(
    ("event", "risk", "why"),
    [
        ([0, 0, 0, 0], [1, 2, 3, 4], "no death among 4 test patients"),
        ([1, 1, 1, 0], [7, 7, 7, 7], "all patients of a fold have one value"),
        ([1, 1, 1, 0], [7, 7 + 1e-9, 7, 7], "all patients of a fold have one value"),
        ([0, 0, 0, 1], [1, 2, 3, 4], "the deaths follow the values without exception, or have nobody"),
        ([1, 1, 1, 0], [math.inf, 1, 2, math.inf], "2 of 4 risks are infinite"),
    ],
)
def test_a_ratio_that_does_not_exist_has_a_reason(event, risk, why):
    found = hazard_ratio(judged([1, 2, 3, 4], event, resamples=3), risk)
    assert math.isnan(found.value)
    assert np.isnan([*found.theory, *found.interval]).all()
    assert found.undefined == 3
    assert found.note.startswith(why)


def test_restricted_means_by_hand():
    found = restricted_mean_difference(judged([2, 4, 1, 3], [1, 1, 1, 1]), [False, False, True, True], tau=3)
    assert found.value == pytest.approx((2 + 0.5) - (1 + 2 * 0.5))
    error = math.sqrt(0.5**2 / 2 + 1 / 2)  # Greenwood: squared area to come, over at risk × alive
    assert found.theory == pytest.approx((0.5 - 1.959964 * error, 0.5 + 1.959964 * error), rel=1e-6)


@pytest.mark.parametrize("tau", [12, 40])
def test_restricted_means_are_those_of_lifelines(tau):
    time, event, risk = cohort(whole=False)
    high = risk > 0
    curves = [KaplanMeierFitter().fit(time[group], event[group]) for group in (~high, high)]
    theirs = [restricted_mean_survival_time(curve, tau) for curve in curves]
    assert restricted_mean_difference(judged(time, event), high, tau=tau).value == pytest.approx(theirs[0] - theirs[1])


def test_the_bootstrap_of_restricted_means_and_greenwood_agree():
    time, event, risk = cohort(600)
    found = restricted_mean_difference(judged(time, event, resamples=400), risk > 0, tau=30)
    assert found.interval == pytest.approx(found.theory, abs=0.4)


def test_tau_is_cut_to_what_both_groups_were_watched_for_and_that_is_said():
    evidence = judged([2, 4, 1, 30], [1, 0, 1, 0])
    high = [False, False, True, True]
    found = restricted_mean_difference(evidence, high, tau=12)
    assert found.value == restricted_mean_difference(evidence, high, tau=4).value
    assert found.note == "tau is 4 months, not 12: one of the groups was watched no longer"


def test_a_group_that_has_died_out_is_known_for_ever():
    found = restricted_mean_difference(judged([2, 40, 1, 3], [1, 0, 1, 1]), [False, False, True, True], tau=12)
    assert found.value == pytest.approx((2 + 10 * 0.5) - 2)
    assert found.note == ""


def test_a_resample_without_one_of_the_groups_is_not_defined():
    found = restricted_mean_difference(
        judged([2, 4, 6, 8], [1, 1, 1, 1], resamples=200), [True, False, False, False], tau=5
    )
    assert found.undefined == pytest.approx(200 * 0.75**4, abs=30)
    assert np.isfinite(found.interval).all()


@pytest.mark.parametrize("called", [True, False])
def test_one_group_has_nothing_to_be_compared_with(called):
    found = restricted_mean_difference(judged([2, 4], [1, 1]), [called, called], tau=3)
    assert math.isnan(found.value)
    assert found.note == f"all 2 test patients are called {'high' if called else 'low'} risk"


def test_without_a_death_there_is_no_difference_of_nothing():
    found = restricted_mean_difference(judged([2, 4], [0, 1]), [True, False], tau=30)
    assert math.isnan(found.value)
    assert found.note == "no death among 2 test patients before 2 months"


def test_a_month_is_a_number_above_nought():
    with pytest.raises(ConfigError, match="tau is 0"):
        restricted_mean_difference(judged([2, 4], [1, 1]), [True, False], tau=0)
