"""Pairs are weighted by training patients alone, and the shares are those of scikit-survival and torchsurv."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.util import Surv

from slidesurv.errors import ConfigError
from slidesurv.survival.concordance import concordance
from slidesurv.survival.discrimination import dynamic_auc, harrell_c, uno_c
from slidesurv.survival.evidence import fit_reference, gather
from slidesurv.survival.resampling import pooled_concordance

TRAINING = fit_reference([2, 4, 6, 8, 10], [1, 0, 1, 0, 1])  # still watched: 3/4 after month 4, 3/8 after month 8
PATIENT = st.tuples(st.booleans(), st.integers(1, 8), st.integers(-4, 4))


def cohort(patients=300, seed=0):
    draws = np.random.default_rng(seed)
    risk = draws.normal(size=patients)
    death, watched = draws.exponential(20 * np.exp(-risk)), draws.uniform(4, 60, patients)
    return np.minimum(death, watched), death <= watched, risk + draws.normal(size=patients)


def judged(time, event, training=TRAINING, **choices):
    return gather(time, event, training, resamples=choices.pop("resamples", 0), **choices)


def test_a_pair_counts_once_over_the_square_of_being_watched_until_its_death():
    found = uno_c(judged([3, 5, 7], [1, 1, 0]), [2, 3, 1], tau=9)
    assert found.value == pytest.approx((1 + 16 / 9) / (2 + 16 / 9))  # the first death was given less than the second


def test_a_death_is_weighed_by_who_was_watched_just_before_it():
    found = uno_c(judged([4, 5, 7], [1, 1, 0]), [2, 3, 1], tau=9)
    assert found.value == pytest.approx((1 + 16 / 9) / (2 + 16 / 9))  # a training patient was censored in month 4


def test_deaths_from_tau_on_are_survival():
    assert uno_c(judged([3, 5, 7], [1, 1, 0]), [2, 3, 1], tau=5).value == 0.5
    assert uno_c(judged([3, 5, 7], [1, 1, 0]), [2, 3, 1], tau=5.1).value != 0.5


def test_tau_is_cut_to_what_the_training_patients_tell_of_and_that_is_said():
    evidence = judged([3, 5, 11, 12], [1, 1, 1, 0])
    found, cut = uno_c(evidence, [2, 3, 0, 1], tau=60), uno_c(evidence, [2, 3, 0, 1], tau=10)
    assert found.value == cut.value
    assert found.note == "tau is 10 months, not 60: training patients of some fold were watched no longer"
    assert cut.note == ""


def test_the_auc_compares_the_dead_with_those_alive_after_a_month():
    found = dynamic_auc(judged([3, 5, 7, 9], [1, 1, 0, 1]), [1, 3, 2, 0], at=6)
    assert found.value == pytest.approx((1 + 2 * 4 / 3) / (2 + 2 * 4 / 3))


def test_who_was_last_seen_in_the_month_itself_is_not_known_to_be_alive_after_it():
    found = dynamic_auc(judged([3, 6, 7], [1, 0, 0]), [1, 9, 0], at=6)
    assert found.value == 1


@pytest.mark.parametrize("seed", range(3))
def test_unos_c_is_that_of_scikit_survival(seed):
    training, (time, event, risk) = cohort(seed=seed)[:2], cohort(seed=seed + 9)
    followed = Surv.from_arrays(*training[::-1]), Surv.from_arrays(event, time)
    for tau in (10.0, 30.0):
        ours = uno_c(judged(time, event, fit_reference(*training)), np.round(risk), tau=tau).value
        assert ours == pytest.approx(concordance_index_ipcw(*followed, np.round(risk), tau=tau)[0], rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_auc_is_that_of_scikit_survival(seed):
    training, (time, event, risk) = cohort(seed=seed)[:2], cohort(seed=seed + 9)
    followed = Surv.from_arrays(*training[::-1]), Surv.from_arrays(event, time)
    theirs = cumulative_dynamic_auc(*followed, np.round(risk), [6.0, 12.0, 36.0])[0]
    evidence = judged(time, event, fit_reference(*training))
    ours = [dynamic_auc(evidence, np.round(risk), at=at).value for at in (6, 12, 36)]
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_unos_c_and_the_auc_are_those_of_torchsurv():
    torch = pytest.importorskip("torch")
    c_index, auc = pytest.importorskip("torchsurv.metrics.cindex"), pytest.importorskip("torchsurv.metrics.auc")
    get_ipcw = pytest.importorskip("torchsurv.stats.ipcw").get_ipcw
    training, followed = (cohort(seed=seed) for seed in (0, 9))
    known, event = (torch.tensor(each[1]) for each in (training, followed))
    watched, time, risk, month = (  # it takes no float64
        torch.tensor(each, dtype=torch.float32) for each in (training[0], followed[0], followed[2], [12.0])
    )
    weight, weight_then = get_ipcw(known, watched, time), get_ipcw(known, watched, month)
    evidence = judged(*followed[:2], fit_reference(*training[:2]))
    theirs = c_index.ConcordanceIndex()(risk, event, time, weight=weight, tmax=torch.tensor(30.0))
    assert uno_c(evidence, followed[2], tau=30).value == pytest.approx(float(theirs), rel=1e-5)
    theirs = auc.Auc()(risk, event, time, weight=weight, new_time=month, weight_new_time=weight_then)
    assert dynamic_auc(evidence, followed[2], at=12).value == pytest.approx(float(theirs), rel=1e-5)


@given(st.lists(PATIENT, min_size=1, max_size=24))
def test_harrells_c_is_the_concordance(patients):
    event, time, risk = np.array(patients, dtype=float).T
    found = harrell_c(judged(time, event), risk).value
    assert found == pytest.approx(concordance(event, time, risk).index, rel=1e-14, nan_ok=True)


@given(st.lists(PATIENT, min_size=2, max_size=24))
def test_without_censored_training_patients_uno_is_harrell(patients):
    event, time, risk = np.array(patients, dtype=float).T
    evidence = judged(time, event, fit_reference([5, 50], [1, 1]))
    assert uno_c(evidence, risk, tau=50).value == pytest.approx(harrell_c(evidence, risk).value, nan_ok=True)


def test_pairs_are_counted_inside_folds():
    time, event, risk = cohort(90)
    strata = np.arange(90) % 3
    evidence = judged(time, event, strata=strata)
    assert harrell_c(evidence, risk).value == pooled_concordance(event, time, risk, strata).index
    shifted = risk + 100 * strata
    for score in (harrell_c, lambda *these: uno_c(*these, tau=9), lambda *these: dynamic_auc(*these, at=9)):
        assert score(evidence, shifted).value == score(evidence, risk).value


def test_a_rising_transform_of_the_risk_changes_nothing():
    time, event, risk = cohort(90)
    evidence = judged(time, event, resamples=20)
    for score in (harrell_c, lambda *these: uno_c(*these, tau=9), lambda *these: dynamic_auc(*these, at=9)):
        assert score(evidence, np.exp(3 * risk)).samples.tolist() == score(evidence, risk).samples.tolist()


def test_turning_the_risk_around_turns_the_share_around():
    time, event, risk = cohort(90)
    evidence = judged(time, event)
    for score in (harrell_c, lambda *these: uno_c(*these, tau=9), lambda *these: dynamic_auc(*these, at=9)):
        assert score(evidence, -risk).value == pytest.approx(1 - score(evidence, risk).value)


def test_one_risk_for_all_is_one_half_and_that_is_said():
    time, event, _ = cohort(90)
    evidence = judged(time, event, strata=np.arange(90) % 2, resamples=3)
    for score in (harrell_c, lambda *these: uno_c(*these, tau=9), lambda *these: dynamic_auc(*these, at=9)):
        found = score(evidence, np.arange(90) % 2)
        assert {found.value, *found.samples} == {0.5}
        assert found.note == "all patients have one risk in 2 of 2 folds"


def test_infinite_risks_are_the_highest():
    evidence = judged([3, 5, 7], [1, 1, 0])
    assert harrell_c(evidence, [math.inf, 3, -math.inf]).value == 1


def test_many_pairs_are_counted_like_few(monkeypatch):
    time, event, risk = cohort(90)
    evidence = judged(time, event, resamples=9)
    whole = uno_c(evidence, risk, tau=9)
    monkeypatch.setattr("slidesurv.survival.discrimination.BLOCK", 500)
    assert uno_c(evidence, risk, tau=9).samples == pytest.approx(whole.samples, rel=1e-12)


@pytest.mark.parametrize(
    ("event", "at", "why"),
    [
        ([0, 0, 0, 1], 6, r"no pair can be compared: 0 deaths by 6 months and 2 of 4 test patients watched longer"),
        ([1, 1, 1, 1], 9, r"no pair can be compared: 4 deaths by 9 months and 0 of 4"),
        ([1, 1, 0, 1], 10, r"training patients of some fold were watched for 10 months only"),
    ],
)
def test_without_a_pair_the_auc_is_not_defined(event, at, why):
    found = dynamic_auc(judged([3, 5, 7, 9], event, resamples=4), [1, 3, 2, 0], at=at)
    assert math.isnan(found.value)
    assert found.undefined == 4
    assert found.note.startswith(why)


def test_without_a_death_before_tau_unos_c_is_not_defined():
    found = uno_c(judged([3, 5, 7], [0, 0, 1]), [1, 2, 3], tau=7)
    assert math.isnan(found.value)
    assert found.note == "no pair can be compared: 0 deaths before 7 months among 3 test patients"


@pytest.mark.parametrize("month", [0, -1, math.nan, math.inf])
def test_a_month_is_a_number_above_nought(month):
    evidence = judged([3, 5, 7], [0, 0, 1])
    with pytest.raises(ConfigError, match=f"tau is {month}"):
        uno_c(evidence, [1, 2, 3], tau=month)
    with pytest.raises(ConfigError, match=f"at is {month}"):
        dynamic_auc(evidence, [1, 2, 3], at=month)
