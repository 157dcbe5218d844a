"""Predictions that come true score well, and scores are those of scikit-survival and torchsurv."""

import math

import numpy as np
import pytest
from sksurv.metrics import brier_score, integrated_brier_score
from sksurv.util import Surv

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.accuracy import survival_at
from slidesurv.survival.calibration import (
    brier,
    calibration_slope,
    d_calibration,
    integrated_brier,
    own_survival,
    skill,
)
from slidesurv.survival.effects import log_hazard_ratio
from slidesurv.survival.evidence import Metric, fit_reference, gather

TRAINING = fit_reference([2, 4, 6, 8, 10], [1, 0, 1, 0, 1])  # still watched: 3/4 after month 4, 3/8 after month 8
MONTHS = np.arange(1.0, 31.0)


def cohort(patients=300, seed=0):
    """Follow-up, and the log hazard against 20 months that made it."""
    draws = np.random.default_rng(seed)
    risk = draws.normal(size=patients)
    death, watched = draws.exponential(20 * np.exp(-risk)), draws.uniform(4, 60, patients)
    return np.minimum(death, watched), death <= watched, risk


def curves(risk, months):
    return np.exp(-np.asarray(months) / 20 * np.exp(risk)[:, None])


def judged(time, event, training=TRAINING, **choices):
    return gather(time, event, training, resamples=choices.pop("resamples", 0), **choices)


def test_a_brier_score_by_hand():
    found = brier(judged([3, 5, 7, 4], [1, 1, 0, 0]), [0.2, 0.5, 0.8, 0.9], at=6)
    dead, alive = [0.2**2, 0.5**2 * 4 / 3], 0.2**2 * 4 / 3  # who was censored in month 4 tells nothing of month 6
    assert found.value == pytest.approx((sum(dead) + alive) / 4)


def test_a_death_is_weighed_by_who_was_watched_just_before_it():
    assert brier(judged([4, 9], [1, 0]), [1, 1], at=6).value == pytest.approx(1 / 2)


def test_an_integrated_score_is_a_trapezium():
    evidence, alive = judged([3, 5, 7, 9], [1, 1, 0, 1]), np.array([[0.8, 0.5, 0.4]] * 4)
    one, two, three = (brier(evidence, alive[:, k], at=at).value for k, at in enumerate([3, 4, 8]))
    found = integrated_brier(evidence, alive, [3, 4, 8])
    assert found.value == pytest.approx(((one + two) / 2 * 1 + (two + three) / 2 * 4) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_survival(seed):
    training, (time, event, risk) = cohort(seed=seed)[:2], cohort(seed=seed + 9)
    followed, evidence = (
        (Surv.from_arrays(*training[::-1]), Surv.from_arrays(event, time)),
        judged(time, event, fit_reference(*training)),
    )
    theirs = brier_score(*followed, curves(risk, MONTHS), MONTHS)[1]
    ours = [brier(evidence, curves(risk, [at])[:, 0], at=at).value for at in MONTHS]
    assert ours == pytest.approx(theirs, rel=1e-12)
    theirs = integrated_brier_score(*followed, curves(risk, MONTHS), MONTHS)
    assert integrated_brier(evidence, curves(risk, MONTHS), MONTHS).value == pytest.approx(theirs, rel=1e-12)


def test_scores_are_those_of_torchsurv():
    torch = pytest.importorskip("torch")
    scores = pytest.importorskip("torchsurv.metrics.brier_score")
    get_ipcw = pytest.importorskip("torchsurv.stats.ipcw").get_ipcw
    training, (time, event, risk) = cohort(), cohort(seed=9)
    watched, times, months, alive = (
        torch.tensor(each, dtype=torch.float32) for each in (training[0], time, MONTHS, curves(risk, MONTHS))
    )
    weights = [get_ipcw(torch.tensor(training[1]), watched, at) for at in (times, months)]
    theirs = scores.BrierScore()(
        alive, torch.tensor(event), times, new_time=months, weight=weights[0], weight_new_time=weights[1]
    )
    evidence = judged(time, event, fit_reference(*training[:2]))
    ours = [brier(evidence, curves(risk, [at])[:, 0], at=at).value for at in MONTHS]
    assert ours == pytest.approx(theirs.numpy(), rel=1e-4)


def test_the_truth_scores_better_than_kaplan_meier_and_better_than_an_exaggeration():
    time, event, risk = cohort(800)
    evidence = judged(time, event, fit_reference(*cohort(800, seed=1)[:2]), resamples=50)
    null = integrated_brier(evidence, evidence.expected(MONTHS), MONTHS)
    truth, exaggerated = (
        skill(integrated_brier(evidence, curves(log_hazard, MONTHS), MONTHS), null) for log_hazard in (risk, 3 * risk)
    )
    assert 0.1 < truth.interval[0] < truth.value < truth.interval[1]
    assert exaggerated.value < truth.value


def test_kaplan_meier_has_no_skill_over_itself():
    time, event, _ = cohort()
    evidence = judged(time, event, fit_reference(*cohort(seed=1)[:2]), resamples=9)
    null = integrated_brier(evidence, evidence.expected(MONTHS), MONTHS)
    assert null.note == ""
    assert set(skill(null, null).samples) == {0}


def test_skill_keeps_the_reason_of_what_it_was_made_of():
    fine, none = Metric(0.1, np.array([0.1])), Metric(math.nan, np.array([math.nan]), "nobody")
    perfect = Metric(0.0, np.array([0.0]))
    assert skill(fine, none).note == skill(none, fine).note == "nobody"
    assert skill(fine, perfect).note == "the reference makes no error"
    assert math.isnan(skill(fine, perfect).value)


@pytest.mark.parametrize(
    ("event", "at", "why"),
    [
        ([0, 0, 0], 6, "no death among 3 test patients by 6 months"),
        ([1, 0, 0], 9, "patients were watched for 9 months only"),  # by the test patients
        ([1, 0, 0], 12, "patients were watched for 9 months only"),
    ],
)
def test_a_score_that_cannot_be_had_has_a_reason(event, at, why):
    evidence = judged([3, 5, 9], event, resamples=4)
    for found in (brier(evidence, [0.5] * 3, at=at), brier(evidence, evidence.expected(at), at=at)):
        assert math.isnan(found.value)
        assert found.undefined == 4
        assert found.note == why


def test_a_month_beyond_the_training_patients_cannot_be_judged():
    found = brier(judged([3, 5, 90], [1, 1, 0]), [0.5] * 3, at=30)
    assert math.isnan(found.value)
    assert found.note == "patients were watched for 10 months only"


def test_an_integral_is_cut_to_what_was_watched_and_that_is_said():
    evidence = judged([3, 5, 90], [1, 1, 0])
    months = [2, 4, 8, 12, 24]
    found = integrated_brier(evidence, evidence.expected(months), months)  # of month 12 nothing is expected
    assert found.value == integrated_brier(evidence, evidence.expected(months[:3]), months[:3]).value
    assert found.note == "integrated up to month 8, not 24: nobody was watched longer"


@pytest.mark.parametrize("event", [[0, 0, 0], [1, 1, 0]])
def test_an_integral_of_nothing_has_a_reason(event):
    found = integrated_brier(judged([3, 5, 90], event), np.full((3, 2), 0.5), [4, 10] if any(event) else [4, 8])
    assert math.isnan(found.value)
    assert found.note == (
        "patients were watched for 10 months only" if any(event) else "no death among 3 test patients by 8 months"
    )


def test_true_predictions_have_a_slope_of_one_and_a_doubled_log_hazard_of_one_half():
    time, event, risk = cohort(4000)
    evidence = judged(time, event, resamples=60)
    truth = calibration_slope(evidence, curves(risk, [12])[:, 0], at=12)
    doubled = calibration_slope(evidence, curves(2 * risk, [12])[:, 0], at=12)
    upside_down = calibration_slope(evidence, curves(-risk, [12])[:, 0], at=12)
    assert truth.value == pytest.approx(1, abs=0.08)
    assert truth.theory[0] < 1 < truth.theory[1]
    assert truth.interval == pytest.approx(truth.theory, abs=0.05)
    assert doubled.value == pytest.approx(truth.value / 2)
    assert upside_down.value == pytest.approx(-truth.value)


def test_a_slope_is_that_of_the_log_hazard_until_the_month():
    time, event, risk = cohort()
    evidence = judged(time, event)
    found = calibration_slope(evidence, curves(risk, [12])[:, 0], at=12)
    assert found.value == pytest.approx(log_hazard_ratio(evidence, risk, until=12).value)


@pytest.mark.parametrize(
    ("alive", "why"),
    [
        ([0.5, 1.0, 0.3], "1 of 3 patients are predicted to live or to die for certain"),
        ([0.5, 0.5, 0.5], "all patients of a fold have one value"),
    ],
)
def test_certain_or_equal_predictions_have_no_slope(alive, why):
    found = calibration_slope(judged([3, 5, 9], [1, 1, 0]), alive, at=8)
    assert math.isnan(found.value)
    assert found.note == why


def test_deaths_spread_evenly_are_calibrated():
    alive = np.arange(0.05, 1, 0.1)
    found = d_calibration(judged(np.arange(1, 11), [1] * 10), alive)
    assert found.share == pytest.approx([0.1] * 10)
    assert (found.statistic, found.p) == pytest.approx((0, 1))
    assert found.note == "a group expects 1 patients only, so p is rough"


def test_a_death_on_an_edge_belongs_to_the_group_above():
    found = d_calibration(judged([1, 2, 3, 4], [1] * 4), [0, 0.25, 0.5, 1], groups=4)
    assert found.share.tolist() == [0.25, 0.25, 0.25, 0.25]


def test_a_censored_patient_counts_in_every_group_below_by_its_width():
    found = d_calibration(judged([1, 2], [0, 1]), [0.25, 0.95])
    assert 2 * found.share == pytest.approx([0.4, 0.4, 0.2, 0, 0, 0, 0, 0, 0, 1])


def test_a_patient_censored_where_survival_is_nought_counts_in_the_lowest_group():
    assert d_calibration(judged([1, 2], [0, 1]), [0, 0.95]).share[0] == 0.5


def test_the_statistic_is_chi_squared():
    found = d_calibration(judged(np.arange(1, 41), [1] * 40), [0.1] * 30 + [0.9] * 10, groups=2)
    assert found.share.tolist() == [0.75, 0.25]
    assert found.statistic == pytest.approx((30 - 20) ** 2 / 20 * 2)
    assert found.p == pytest.approx(math.erfc(math.sqrt(found.statistic / 2)))
    assert found.note == ""


def test_true_predictions_are_d_calibrated_and_hopeful_ones_are_not():
    time, event, risk = cohort(2000)
    evidence = judged(time, event, resamples=20)
    alive = np.exp(-time / 20 * np.exp(risk))
    assert d_calibration(evidence, alive).p > 0.05
    hopeful = d_calibration(evidence, alive**0.5)
    assert hopeful.p < 1e-6
    assert hopeful.low[0] < 0.1 < hopeful.low[-1]
    assert np.all(hopeful.low <= hopeful.share)
    assert np.all(hopeful.share <= hopeful.high)


def test_without_a_death_d_calibration_is_not_defined():
    found = d_calibration(judged([1, 2], [0, 0]), [0.2, 0.4], groups=3)
    assert np.isnan([*found.share, found.statistic, found.p]).all()
    assert found.note == "no death among 2 test patients"


def test_each_patient_is_read_at_their_own_time():
    edges, alive = (0.0, 10.0, 20.0, 60.0), [[0.9, 0.5, 0.1], [1.0, 0.8, 0.8]]
    found = own_survival(edges, alive, [15, 999])
    assert found.tolist() == np.diagonal(survival_at(edges, alive, [15, 999])).tolist()


@pytest.mark.parametrize("alive", [[0.5, 0.2], [[0.5], [0.2], [0.1]]])
def test_predictions_of_another_shape_are_refused(alive):
    evidence = judged([3, 5, 9], [1, 1, 0])
    for call in (lambda: brier(evidence, alive, at=4), lambda: d_calibration(evidence, alive)):
        with pytest.raises(DataError, match=r"'alive' has the shape \("):
            call()


@pytest.mark.parametrize("alive", [[0.5, 1.2, 0.3], [-0.1, 0.5, 0.4]])
def test_predictions_that_are_no_probabilities_are_refused(alive):
    evidence = judged([3, 5, 9], [1, 1, 0])
    with pytest.raises(DataError, match="'alive' runs from"):
        brier(evidence, alive, at=4)
    with pytest.raises(DataError, match="'alive' runs from"):
        integrated_brier(evidence, np.stack([alive, alive], 1), [3, 4])


@pytest.mark.parametrize("months", [[4], [4, 4], [5, 4], [[3, 4]]])
def test_months_must_rise(months):
    with pytest.raises(ConfigError, match="two or more rising months are needed"):
        integrated_brier(judged([3, 5, 9], [1, 1, 0]), np.full((3, len(months)), 0.5), months)


def test_a_month_is_a_number_above_nought():
    evidence = judged([3, 5, 9], [1, 1, 0])
    for score in (brier, calibration_slope):
        with pytest.raises(ConfigError, match="at is 0: a number of months above 0 is needed"):
            score(evidence, [0.5] * 3, at=0)


def test_one_group_cannot_be_compared():
    with pytest.raises(ConfigError, match="groups is 1"):
        d_calibration(judged([3], [1]), [0.5], groups=1)
