"""The likelihood-ratio test is that of lifelines, and says why there is none."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.stats import chi2

from slidesurv.errors import DataError
from slidesurv.survival.added_value import likelihood_ratio


def cohort(patients=150, seed=0, adds=0.6, whole=False):
    """A known risk, a risk that follows it and adds a little, and follow-up by both."""
    draws = np.random.default_rng(seed)
    known = draws.normal(size=patients)
    own = draws.normal(size=patients)
    death = draws.exponential(20 * np.exp(-0.5 * known - adds * own))
    watched = draws.uniform(4, 60, patients)
    time = np.minimum(death, watched)
    return own + 0.5 * known, known, np.ceil(time / 4) if whole else time, death <= watched


def lifelines(columns, time, event, strata):
    table = pd.DataFrame({f"x{n}": column for n, column in enumerate(columns)})
    table = table.assign(time=time, event=event, strata=strata)
    fitter = CoxPHFitter().fit(table, "time", "event", strata="strata", fit_options={"precision": 1e-12})
    return fitter.log_likelihood_


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("folds", [1, 3])
def test_the_statistic_is_that_of_lifelines(whole, folds):
    risk, known, time, event = cohort(whole=whole)
    strata = np.arange(len(time)) % folds
    found = likelihood_ratio(risk, known, time, event, strata=strata)
    scaled = [
        np.concatenate([column[strata == k] / column[strata == k].std(ddof=1) for k in range(folds)])
        for column in (risk, known)
    ]
    order = np.argsort(strata, kind="stable")
    followed = time[order], event[order], strata[order]
    theirs = 2 * (lifelines(scaled, *followed) - lifelines(scaled[1:], *followed))
    assert found.statistic == pytest.approx(theirs, abs=1e-6)
    assert found.p == pytest.approx(chi2.sf(theirs, 1), rel=1e-5)
    assert found.note == ""


def test_the_scale_of_a_fold_does_not_matter():
    risk, known, time, event = cohort()
    strata = np.arange(len(time)) % 2
    other = np.where(strata == 1, 1000 * risk - 5, risk)
    same = [likelihood_ratio(each, known, time, event, strata=strata).statistic for each in (risk, other)]
    assert same[0] == pytest.approx(same[1], rel=1e-9)


def test_a_risk_that_tells_what_is_known_adds_nothing_and_one_that_tells_more_does():
    risk, known, time, event = cohort()
    again = likelihood_ratio(2 * known + 1, known, time, event)
    assert again.statistic == pytest.approx(0, abs=1e-9) and again.p == pytest.approx(1, abs=1e-4)
    assert likelihood_ratio(risk, known, time, event).p < 0.001


def test_chance_is_found_as_often_as_the_level_says():
    found = []
    for seed in range(200):
        _, known, time, event = cohort(80, seed, adds=0)
        nothing = np.random.default_rng(seed + 1000).normal(size=80)
        found.append(likelihood_ratio(nothing, known, time, event, strata=np.arange(80) % 4).p)
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.1
    assert 0.4 < np.mean(found) < 0.6


def test_deaths_that_follow_the_risk_without_exception_have_a_finite_statistic():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = likelihood_ratio([5.0, 4, 3, 2, 1], [1.0, 3, 2, 5, 4], [1, 2, 3, 4, 5], [1, 1, 1, 1, 0])
    assert 0 < found.statistic < math.inf


@pytest.mark.parametrize(
    ("event", "risk", "why"),
    [
        ([0, 0, 0, 0], [1, 2, 3, 4], "no death among 4 test patients"),
        ([1, 1, 1, 0], [7, 7, 7, 7], "all patients of a fold have one value"),
        ([1, 1, 1, 0], [math.inf, 1, 2, 3], "1 of 8 risks are infinite"),
    ],
)
def test_a_test_that_does_not_exist_has_a_reason(event, risk, why):
    found = likelihood_ratio(risk, [1, 3, 2, 4], [1, 2, 3, 4], event)
    assert math.isnan(found.statistic) and math.isnan(found.p)
    assert found.note == why


def test_beside_what_is_one_value_the_risk_is_tested_alone():
    risk, _, time, event = cohort()
    found = likelihood_ratio(risk, np.zeros(len(time)), time, event)
    null = np.log(np.cumsum(np.ones(len(time)))[::-1])[event[np.argsort(time)]].sum()
    theirs = 2 * (lifelines([risk], time, event, np.zeros(len(time))) + null)
    assert found.statistic == pytest.approx(theirs, abs=1e-6)
    assert found.note == "what it is added to is one value in every fold"


def test_a_missing_risk_is_an_error():
    with pytest.raises(DataError, match="'risk' is NaN for 1 of 3 patients"):
        likelihood_ratio([math.nan, 1, 2], [1, 2, 3], [1, 2, 3], [1, 1, 0])
