"""For every metric: a resample is its patients, training patients alone give the weights, and NaN has a reason."""

import math

import numpy as np
import pytest
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.calibration import brier, calibration_slope, d_calibration, integrated_brier, skill
from slidesurv.survival.discrimination import dynamic_auc, harrell_c, uno_c
from slidesurv.survival.effects import hazard_ratio, log_hazard_ratio, restricted_mean_difference
from slidesurv.survival.estimators import kaplan_meier
from slidesurv.survival.evidence import Metric, fit_reference, gather
from slidesurv.survival.resampling import bootstrap_concordance, draw

MONTHS = np.arange(2.0, 13.0)


def cohort(patients=80, seed=0, whole=False):
    draws = np.random.default_rng(seed)
    risk = draws.normal(size=patients)
    death, watched = draws.exponential(20 * np.exp(-risk)), draws.uniform(4, 60, patients)
    time = np.minimum(death, watched)
    return np.ceil(time) if whole else time, death <= watched, risk


def curves(risk, months):
    return np.exp(-np.asarray(months) / 20 * np.exp(risk)[:, None])


def skill_of(evidence, risk):
    null = integrated_brier(evidence, evidence.expected(MONTHS), MONTHS)
    return skill(integrated_brier(evidence, curves(risk, MONTHS), MONTHS), null)


METRICS = {
    "harrell_c": harrell_c,
    "uno_c": lambda evidence, risk: uno_c(evidence, risk, tau=12),
    "dynamic_auc": lambda evidence, risk: dynamic_auc(evidence, risk, at=12),
    "brier": lambda evidence, risk: brier(evidence, curves(risk, [12])[:, 0], at=12),
    "integrated_brier": lambda evidence, risk: integrated_brier(evidence, curves(risk, MONTHS), MONTHS),
    "skill": skill_of,
    "calibration_slope": lambda evidence, risk: calibration_slope(evidence, curves(risk, [12])[:, 0], at=12),
    "log_hazard_ratio": log_hazard_ratio,
    "restricted_mean_difference": lambda evidence, risk: restricted_mean_difference(evidence, risk > 0, tau=8),
}
EVERY = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


def folds(whole=False):
    """Three folds, each with training patients of its own."""
    time, event, risk = cohort(whole=whole)
    strata = np.arange(len(time)) % 3
    training = {fold: fit_reference(*cohort(100, seed=fold + 1, whole=whole)[:2]) for fold in range(3)}
    return time, event, risk, strata, training


@EVERY
@pytest.mark.parametrize("whole", [False, True])
def test_every_resample_has_the_value_of_its_patients(metric, whole):
    time, event, risk, strata, training = folds(whole)
    found = metric(gather(time, event, training, strata=strata, resamples=12, seed=3), risk)
    assert not math.isnan(found.value)
    for row, sample in zip(draw(len(time), resamples=12, seed=3, strata=strata), found.samples, strict=True):
        drawn = np.repeat(np.arange(len(time)), row.astype(int))
        written_out = gather(time[drawn], event[drawn], training, strata=strata[drawn], resamples=0)
        assert metric(written_out, risk[drawn]).value == pytest.approx(sample, rel=1e-9)


@EVERY
def test_the_order_of_patients_does_not_matter(metric):
    time, event, risk, strata, training = folds(whole=True)
    other = np.random.default_rng(0).permutation(len(time))
    there = metric(gather(time, event, training, strata=strata, resamples=0), risk)
    back = metric(gather(time[other], event[other], training, strata=strata[other], resamples=0), risk[other])
    assert back.value == pytest.approx(there.value, rel=1e-12)
    assert back.theory == pytest.approx(there.theory, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in {"calibration_slope", "log_hazard_ratio"}])
def test_patients_who_come_twice_change_nothing(name):  # where no likelihood sees a tie
    time, event, risk, strata, training = folds(whole=True)
    once = METRICS[name](gather(time, event, training, strata=strata, resamples=0), risk)
    follow_up = np.tile(time, 2), np.tile(event, 2)
    twice = METRICS[name](gather(*follow_up, training, strata=np.tile(strata, 2), resamples=0), np.tile(risk, 2))
    assert twice.value == pytest.approx(once.value, rel=1e-12)


@EVERY
def test_nobody_died_is_no_number_but_a_reason(metric):
    time, event, risk, strata, training = folds()
    found = metric(gather(time, np.zeros_like(event), training, strata=strata, resamples=5), risk)
    assert math.isnan(found.value)
    assert found.undefined == 5
    assert np.isnan(found.interval).all()
    assert "no death among 80" in found.note or "0 deaths" in found.note


@EVERY
def test_a_fold_without_deaths_takes_no_part_in_pairs_and_does_not_undo_the_rest(metric):
    time, event, risk, strata, training = folds()
    found = metric(gather(time, event & (strata != 0), training, strata=strata, resamples=5), risk)
    assert np.isfinite([found.value, *found.samples]).all()


@EVERY
def test_one_death_is_enough_for_a_number_and_resamples_without_it_are_counted(metric):
    time, _, risk, _, training = folds()
    one = np.arange(len(time)) == np.argsort(risk)[len(risk) // 2]
    found = metric(gather(np.where(one, 5, time + 4), one, training[0], resamples=60), risk)
    assert not math.isnan(found.value)
    assert found.undefined == np.isnan(found.samples).sum() < 60
    assert np.isfinite(found.interval).all()


@EVERY
def test_everybody_at_one_time_is_a_reason_or_a_number_but_never_a_warning(metric):
    _, _, risk, _, training = folds()
    event = np.arange(len(risk)) % 2 == 0
    found = metric(gather(np.full(len(risk), 9.0), event, training[0], resamples=5), risk)
    assert math.isnan(found.value) == bool(found.note)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "restricted_mean_difference"])  # is given calls
def test_a_missing_risk_is_an_error_and_not_left_out(name):
    time, event, risk, strata, training = folds()
    risk[7] = np.nan
    with pytest.raises(DataError, match="is NaN for 1 of 80 patients, first at position 7"):
        METRICS[name](gather(time, event, training, strata=strata, resamples=0), risk)


def test_the_share_still_watched_is_that_of_scikit_survival():
    time, event, _ = cohort(whole=True)
    months = np.arange(1, 59) + 0.5  # between the times, where before and after are one
    theirs = CensoringDistributionEstimator().fit(Surv.from_arrays(event, time))
    ours = fit_reference(time, event)
    assert ours.watched_before(months) == pytest.approx(theirs.predict_proba(months), rel=1e-12)
    assert ours.watched.at(months) == pytest.approx(theirs.predict_proba(months), rel=1e-12)


def test_who_died_can_no_longer_be_censored_at_that_time():
    reference = fit_reference([1, 1, 2], [1, 0, 1])
    assert reference.watched.at([0.5, 1, 2]).tolist() == [1, 0.5, 0.5]  # one of the two who did not die
    assert reference.watched_before([0.5, 1, 1.5, 2]).tolist() == [1, 1, 0.5, 0.5]
    assert reference.horizon == 2


def test_each_fold_is_told_of_by_its_own_training_patients():
    training = {"a": fit_reference([1, 2, 9], [1, 0, 1]), "b": fit_reference([1, 2, 7], [0, 1, 0])}
    evidence = gather([5, 5, 1], [1, 1, 1], training, strata=["b", "a", "a"], resamples=0)
    assert evidence.watched_before() == pytest.approx([2 / 3, 1 / 2, 1])
    assert evidence.watched_at(5) == pytest.approx([2 / 3, 1 / 2, 1 / 2])
    assert evidence.expected([0, 5]) == pytest.approx(np.array([[1, 1 / 2], [1, 2 / 3], [1, 2 / 3]]))
    assert (evidence.horizon, evidence.known_until) == (7, 5)


def test_expected_survival_is_kaplan_meiers():
    time, event, _ = cohort()
    evidence = gather([1, 2], [1, 0], fit_reference(time, event), resamples=0)
    assert evidence.expected(MONTHS)[1].tolist() == kaplan_meier(time, event).at(MONTHS).tolist()


def test_the_draws_are_those_of_the_concordance():
    time, event, risk, strata, training = folds(whole=True)
    found = harrell_c(gather(time, event, training, strata=strata, resamples=40, seed=5), risk)
    theirs = bootstrap_concordance(event, time, risk, resamples=40, seed=5, strata=strata)
    assert found.samples.tolist() == theirs.tolist()


def test_without_resamples_there_is_a_value_and_no_interval():
    time, event, risk, strata, training = folds()
    found = hazard_ratio(gather(time, event, training, strata=strata, resamples=0), risk)
    assert found.value > 1
    assert found.samples.shape == (0,)
    assert np.isnan(found.interval).all()


def test_the_interval_is_that_of_the_defined_samples():
    metric = Metric(0.5, np.array([*np.linspace(0, 1, 1001), np.nan]))
    assert metric.interval == pytest.approx((0.025, 0.975))
    assert metric.undefined == 1


def test_d_calibration_is_resampled_too():
    time, event, risk, strata, training = folds()
    evidence = gather(time, event, training, strata=strata, resamples=30, seed=3)
    alive = curves(risk, [1])[:, 0] ** time
    found = d_calibration(evidence, alive, groups=4)
    rows = [np.repeat(np.arange(80), row.astype(int)) for row in evidence.counts[1:]]
    alone = [gather(time[i], event[i], training, strata=strata[i], resamples=0) for i in rows]
    shares = [d_calibration(each, alive[i], groups=4).share for each, i in zip(alone, rows, strict=True)]
    assert np.stack([found.low, found.high]) == pytest.approx(np.quantile(shares, [0.025, 0.975], axis=0))


def test_a_fold_without_training_patients_is_named():
    with pytest.raises(DataError, match=r"of 1 of 2 folds are not known: '1'\. Give a reference"):
        gather([1, 2], [1, 1], {0: fit_reference([1], [1])}, strata=[0, 1])


def test_nobody_to_judge_by_is_an_error():
    with pytest.raises(DataError, match="No patient to estimate a metric from"):
        gather([], [], fit_reference([1], [1]))


def test_fewer_than_no_resamples_are_refused():
    with pytest.raises(ConfigError, match="resamples is -1"):
        gather([1], [1], fit_reference([1], [1]), resamples=-1)
