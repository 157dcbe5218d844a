"""Tests find what is there, and no more often than they say what is not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import friedmanchisquare, rankdata, ttest_1samp

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.comparison import (
    average,
    bootstrap_p,
    corrected_t_test,
    detectable,
    difference,
    friedman,
    holm,
)
from slidesurv.survival.discrimination import harrell_c
from slidesurv.survival.evidence import Metric, fit_reference, gather
from slidesurv.survival.resampling import bootstrap_concordance

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_a_difference_is_paired_resample_by_resample():
    draws = np.random.default_rng(0)
    time, event, risks = draws.exponential(20, 60), draws.random(60) < 0.5, draws.normal(size=(2, 60))
    evidence = gather(time, event, fit_reference(time, event), resamples=30)
    found = difference(*(harrell_c(evidence, risk) for risk in risks))
    ours, theirs = bootstrap_concordance(event, time, risks, resamples=30)
    assert found.samples.tolist() == (ours - theirs).tolist()
    assert found.value == harrell_c(evidence, risks[0]).value - harrell_c(evidence, risks[1]).value


def test_a_difference_keeps_the_reason_why_there_is_none():
    fine, none = Metric(0.5, np.array([0.5])), Metric(math.nan, np.array([math.nan]), "nobody died")
    for found in (difference(fine, none), difference(none, fine)):
        assert math.isnan(found.value)
        assert (found.undefined, found.note) == (1, "nobody died")


def test_metrics_of_other_resamples_are_not_compared():
    with pytest.raises(DataError, match="3 and 2 resamples: they were not made of the same evidence"):
        difference(Metric(0, np.zeros(3)), Metric(0, np.zeros(2)))


def test_seeds_are_averaged_resample_by_resample_and_none_is_left_out():
    seeds = [Metric(0.6, np.array([0.5, 0.7])), Metric(0.8, np.array([0.7, math.nan]), "one fold is flat")]
    found = average(seeds)
    assert (found.value, found.note) == (pytest.approx(0.7), "one fold is flat")
    assert found.samples[0] == pytest.approx(0.6)
    assert found.undefined == 1


def test_p_is_the_level_at_which_the_interval_touches_zero():
    assert bootstrap_p(np.arange(-24, 975)) == pytest.approx(2 * 26 / 1000)  # 25 of 999 are not above zero
    assert bootstrap_p(-np.arange(-24.0, 975)) == pytest.approx(2 * 26 / 1000)


def test_p_is_never_nought_and_never_above_one():
    assert bootstrap_p(np.ones(1999)) == pytest.approx(2 / 2000)
    assert bootstrap_p(np.zeros(1999)) == 1
    assert math.isnan(bootstrap_p([math.nan, math.nan]))


def test_what_can_be_detected_is_2_8_standard_errors():
    samples = np.random.default_rng(0).normal(0.1, 0.02, 100_000)
    assert detectable([*samples, math.nan]) == pytest.approx(2.8016 * 0.02, rel=0.01)
    assert detectable(samples, power=0.5) == pytest.approx(1.96 * 0.02, rel=0.01)


def test_a_difference_as_large_is_detected_as_often_as_was_said():
    draws = np.random.default_rng(0)
    error = 0.02
    least = detectable(draws.normal(0, error, 4000))
    found = draws.normal(least, error, 20_000)
    assert np.mean(np.abs(found) > 1.96 * error) == pytest.approx(0.8, abs=0.02)


def test_from_one_sample_nothing_is_known():
    assert math.isnan(detectable([0.1, math.nan]))


@pytest.mark.parametrize("choices", [{"power": 1}, {"level": 0}, {"power": 80}])
def test_power_and_level_are_shares(choices):
    with pytest.raises(ConfigError, match="shares between 0 and 1"):
        detectable([0.1, 0.2], **choices)


def test_the_corrected_test_by_hand():
    differences = [0.01, 0.03, 0.02, 0.04]
    found = corrected_t_test(differences, train=80, test=20)
    statistic = 0.025 / math.sqrt((1 / 4 + 20 / 80) * np.var(differences, ddof=1))
    assert found.difference == pytest.approx(0.025)
    assert found.statistic == pytest.approx(statistic)
    assert (found.low, found.high) == pytest.approx(
        (0.025 - 3.182446 * 0.025 / statistic, 0.025 + 3.182446 * 0.025 / statistic)
    )
    assert (found.folds, found.note) == (4, "")


def test_without_shared_training_patients_it_is_students_test():
    differences = np.random.default_rng(0).normal(0.01, 0.02, 25)
    found, theirs = corrected_t_test(differences, train=1e12, test=1), ttest_1samp(differences, 0)
    assert (found.statistic, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_the_correction_keeps_what_it_promises_where_students_test_does_not():
    draws = np.random.default_rng(0)
    shared = draws.normal(0, 0.02 / 2, (400, 1))  # folds share their training patients, so are alike
    differences = shared + draws.normal(0, 0.02, (400, 25))
    false = np.mean([corrected_t_test(row, train=80, test=20).p < 0.05 for row in differences])
    assert false < 0.05 < np.mean(ttest_1samp(differences, 0, axis=1).pvalue < 0.05)


def test_folds_without_a_difference_are_left_out_and_counted():
    found = corrected_t_test([0.01, math.nan, 0.03, 0.02], train=80, test=20)
    note = "1 of 4 folds have no difference and are left out"
    assert found == replace(corrected_t_test([0.01, 0.03, 0.02], train=80, test=20), note=note)
    assert found.difference == pytest.approx(0.02)
    assert found.folds == 3


@pytest.mark.parametrize(
    ("differences", "why"),
    [
        ([], "0 of 0 folds have a difference: there is no test"),
        ([0.1, math.nan], "1 of 2 folds have a difference: there is no test"),
        ([0.1, 0.1], "all differences are one: there is no test"),
    ],
)
def test_too_few_differences_are_no_test(differences, why):
    found = corrected_t_test(differences, train=80, test=20)
    assert np.isnan([found.low, found.high, found.statistic, found.p]).all()
    assert found.note == why


def test_a_fold_has_patients_in_both():
    with pytest.raises(ConfigError, match="train is 0 and test 20"):
        corrected_t_test([0.1, 0.2], train=0, test=20)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_test_that_was_not_made_is_not_counted():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert holm([]).tolist() == []


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_plain_and_bonferroni(values):
    p, adjusted = np.array(values), holm(values)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= np.minimum(1, p * len(p)))
    assert np.all(np.diff(adjusted[p.argsort(kind="stable")]) >= 0)


@pytest.mark.parametrize("decimals", [9, 1])
def test_ranks_and_statistic_are_those_of_scipy(decimals):
    scores = np.round(np.random.default_rng(0).random((6, 5)), decimals)
    found = friedman(scores)
    theirs = friedmanchisquare(*scores.T)
    assert (found.statistic, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.ranks == pytest.approx(rankdata(-scores, axis=1).mean(0))


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_demsars_table(methods, quantile):
    found = friedman(np.random.default_rng(0).random((12, methods)))
    assert found.critical == pytest.approx(quantile * math.sqrt(methods * (methods + 1) / (6 * 12)), rel=1e-3)


def test_the_best_method_has_rank_one_and_bars_join_what_cannot_be_told_apart():
    scores = np.array([[0.5, 0.9, 0.6, 0.8]] * 6)
    found = friedman(scores)  # the critical difference is 1.91
    assert found.ranks.tolist() == [4, 1, 3, 2]
    assert found.alike == ((1, 3), (3, 2), (2, 0))
    assert friedman(np.tile(scores, (9, 1))).alike == ()


def test_methods_that_always_tie_cannot_be_told_apart():
    found = friedman(np.full((5, 3), 0.5))
    assert math.isnan(found.statistic)
    assert found.ranks.tolist() == [2, 2, 2]
    assert found.alike == ((0, 1, 2),)
    assert found.note == "all methods tie on every cohort"


def test_a_cohort_that_lacks_a_score_is_left_out_and_that_is_said():
    scores = np.random.default_rng(0).random((6, 4))
    scores[2, 1] = math.nan
    found, without = friedman(scores), friedman(np.delete(scores, 2, axis=0))
    assert (found.statistic, found.critical) == (without.statistic, without.critical)
    assert found.cohorts.tolist() == [0, 1, 3, 4, 5]
    assert found.note == "1 of 6 cohorts lack a score of some method and are left out"


@pytest.mark.parametrize("scores", [[[0.5, 0.6]], [[0.5, math.nan], [0.5, 0.6]]])
def test_one_cohort_ranks_nothing(scores):
    found = friedman(scores)
    assert np.isnan([*found.ranks, found.statistic, found.p, found.critical]).all()
    assert found.note.endswith("ranks need two cohorts or more")


def test_one_method_has_no_rank():
    with pytest.raises(DataError, match=r"shape \(2, 1\)"):
        friedman([[0.5], [0.6]])


def test_a_level_is_a_share():
    with pytest.raises(ConfigError, match="level is 5"):
        friedman([[0.5, 0.6]], level=5)
