"""Many covariates at once: the optimum is lifelines', the curve is Breslow's, and the ridge is chosen on others."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from torch import from_numpy, tensor

from slidesurv.errors import DataError
from slidesurv.survival.losses import cox
from slidesurv.survival.ridge import breslow, choose_penalty, fit_ridge, partial_likelihood
from slidesurv.types import SurvivalTarget

PENALTIES = (1.0, 10.0, 100.0, 1000.0)


def make(patients: int = 120, columns: int = 4, *, seed: int = 0, tied: bool = True, effect: float = 1.0):
    """Standardised covariates of which the first tells of death, and follow-up with many equal times."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(patients, columns))
    values = (values - values.mean(0)) / values.std(0, ddof=1)
    time = random.exponential(10 * np.exp(-effect * values[:, 0])) + 0.5
    return values, np.ceil(time) if tied else time, random.random(patients) < 0.6


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_coefficients_and_curves_are_those_of_lifelines(tied, penalty):
    values, time, event = make(tied=tied)
    table = pd.DataFrame(values).assign(time=time, event=event)
    theirs = CoxPHFitter(penalizer=penalty).fit(table, "time", "event", fit_options={"precision": 1e-10})
    ours = fit_ridge(values, time, event, penalty=penalty * len(time))  # theirs counts once a patient
    assert ours == pytest.approx(theirs.params_.to_numpy(), abs=1e-6)
    curve = breslow(values @ ours, time, event)
    base = theirs.baseline_cumulative_hazard_["baseline cumulative hazard"]
    assert curve.cumulative == pytest.approx(base.loc[curve.time].to_numpy(), abs=1e-6)
    alive = theirs.predict_survival_function(pd.DataFrame(values[:3]), times=curve.time).to_numpy().T
    assert curve.survival(values[:3] @ ours, curve.time) == pytest.approx(alive, abs=1e-6)
    assert (curve.survival([0.0], [curve.time[0] - 1e-9]) == 1).all()  # a step function; theirs is interpolated


def test_the_likelihood_is_that_of_the_loss():
    values, time, event = make()
    target = SurvivalTarget(from_numpy(time), from_numpy(event), tensor([0] * len(time)))
    mean = cox(from_numpy(values[:, 0].copy()), target).item()
    assert partial_likelihood(values[:, 0], time, event) == pytest.approx(
        -mean * event.sum(), abs=1e-6
    )  # in float32 where deaths are tied


@given(st.integers(0, 1000), st.floats(0.1, 1000))
def test_no_step_away_from_the_optimum_is_an_improvement(seed, penalty):
    values, time, event = make(30, 3, seed=seed)
    event[0] = True
    best = fit_ridge(values, time, event, penalty=penalty)

    def value(at):
        return partial_likelihood(values @ at, time, event) - penalty / 2 * at @ at

    random = np.random.default_rng(seed)
    assert all(value(best + 0.01 * random.normal(size=3)) <= value(best) + 1e-9 for _ in range(5))


def test_more_columns_than_patients_give_the_same_optimum_as_the_long_way():
    values, time, event = make(40, 200)
    ours = fit_ridge(values, time, event, penalty=20.0)
    nudges = 1e-5 * np.random.default_rng(0).normal(size=(5, 200))
    rise = [np.subtract(*(partial_likelihood(values @ (ours + d), time, event) for d in (n, -n))) / 2 for n in nudges]
    assert rise == pytest.approx((nudges @ ours * 20.0).tolist(), abs=1e-9)  # likelihood and ridge pull alike


def test_strata_have_a_baseline_each():
    values, time, event = make(80, 1)
    fold = np.arange(80) % 2
    shifted = np.where(fold == 1, time * 50, time)  # another hospital, another clock
    apart = fit_ridge(values, time, event, penalty=1.0, strata=fold)
    assert fit_ridge(values, shifted, event, penalty=1.0, strata=fold) == pytest.approx(apart, abs=1e-9)
    assert fit_ridge(values, shifted, event, penalty=1.0) != pytest.approx(apart, abs=1e-3)
    total = sum(partial_likelihood(values[fold == k, 0], time[fold == k], event[fold == k]) for k in (0, 1))
    assert partial_likelihood(values[:, 0], time, event, strata=fold) == pytest.approx(total)


def test_a_column_of_noise_is_held_back_and_a_signal_is_not():
    inner = np.arange(120) % 5
    signal, noise = (make(effect=effect, tied=False) for effect in (1.5, 0.0))
    assert choose_penalty(*signal, inner, penalties=PENALTIES) <= 10
    assert choose_penalty(*noise, inner, penalties=PENALTIES) >= 100


def test_the_chosen_penalty_predicts_the_left_out_best_by_the_plain_way():
    values, time, event = make(60, 80, tied=False)
    inner = np.arange(60) % 3

    def gain(penalty):
        total = 0.0
        for fold in range(3):
            kept = inner != fold
            found = fit_ridge(values[kept], time[kept], event[kept], penalty=penalty)
            total += partial_likelihood(values @ found, time, event)
            total -= partial_likelihood(values[kept] @ found, time[kept], event[kept])
        return total

    assert choose_penalty(values, time, event, inner, penalties=PENALTIES) == max(PENALTIES, key=gain)


def test_a_constant_column_and_a_log_hazard_of_one_value_are_no_trouble():
    values, time, event = make(30, 2)
    found = fit_ridge(np.column_stack([values, np.zeros(30)]), time, event, penalty=1.0)
    assert found[2] == 0 and np.isfinite(found).all()
    curve = breslow(np.zeros(30), time, event)  # Nelson–Aalen
    first = curve.time[0]
    assert curve.cumulative[0] == (event & (time == first)).sum() / (time >= first).sum()
    assert curve.survival(np.array([0.0, 800.0]), [1e9, 0.0])[1].tolist() == [0.0, 1.0]


def test_a_covariate_that_tells_all_gets_a_large_coefficient_and_the_likelihood_of_certainty():
    time = np.arange(1.0, 21)
    found = fit_ridge(-time[:, None], time, np.ones(20), penalty=0.0)
    assert np.isfinite(found).all() and partial_likelihood(-time * found[0], time, np.ones(20)) > -1e-6


def test_a_search_that_does_not_end_is_an_error(monkeypatch):
    monkeypatch.setattr("slidesurv.survival.ridge.ROUNDS", 1)
    with pytest.raises(DataError, match="have no maximum that 1 steps reach"):
        fit_ridge(*make(20, 2), penalty=1.0)


def test_what_cannot_be_fitted_is_said():
    values, time, event = make(20, 2)
    with pytest.raises(DataError, match="None of 20 patients died"):
        fit_ridge(values, time, np.zeros(20), penalty=1.0)
    with pytest.raises(DataError, match=r"shape \(19, 2\), 0 of them not finite, for 20 patients"):
        fit_ridge(values[:19], time, event, penalty=1.0)
    with pytest.raises(DataError, match="1 of them not finite"):
        fit_ridge(np.where(np.arange(40).reshape(20, 2) == 3, np.nan, values), time, event, penalty=1.0)
    with pytest.raises(DataError, match="All 2 deaths are in one inner fold"):
        choose_penalty(values, time, np.arange(20) < 2, np.arange(20) >= 2, penalties=PENALTIES)
