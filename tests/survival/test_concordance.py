"""Every pair is counted, once, by the rules of the field."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lifelines.utils import concordance_index
from sksurv.metrics import concordance_index_censored

from slidesurv.errors import DataError
from slidesurv.survival import concordance as module
from slidesurv.survival.concordance import Concordance, concordance

KNOWN = json.loads(Path(__file__).parents[1].joinpath("reference/survival.json").read_text(encoding="utf-8"))
PATIENT = st.tuples(st.booleans(), st.integers(0, 8), st.integers(-4, 4))


def pairs(event, time, risk, tied_tol=1e-8):
    """The definition, pair by pair."""
    counts = [0, 0, 0]
    for i in np.flatnonzero(event):
        for j in range(len(time)):
            if time[i] < time[j] or (time[i] == time[j] and not event[j]):
                difference = risk[i] - risk[j]
                counts[2 if abs(difference) <= tied_tol else 0 if difference > 0 else 1] += 1
    return Concordance(*counts, sum(counts))


def cohort(patients, seed=0, values=None):
    draw = np.random.default_rng(seed)
    time, event = draw.exponential(30, patients), draw.random(patients) < 0.4
    risk = draw.normal(size=patients) - time / 50
    return (event, time, risk) if values is None else (event, np.round(time), np.round(risk * values))


@pytest.fixture(params=["table", "tree"])
def counting(request, monkeypatch):
    monkeypatch.setattr(module, "FEW", {"table": 10**6, "tree": 0}[request.param])


def test_a_hand_made_cohort():
    known = KNOWN["concordance"]
    found = concordance(known["event"], known["time"], known["risk"])
    assert found == Concordance(known["concordant"], known["discordant"], known["tied"], 10)
    assert found.index == known["index"]


@given(st.lists(PATIENT, max_size=24), st.sampled_from([0, 10**6]))
def test_counts_are_those_of_the_definition(patients, few):
    event, time, risk = np.array(patients, dtype=float).reshape(-1, 3).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW", few)
        assert concordance(event, time, risk) == pairs(event, time, risk)


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("values", [None, 3])
def test_counts_are_those_of_scikit_survival(values):
    event, time, risk = cohort(700, values=values)
    found = concordance(event, time, risk)
    assert (found.index, found.concordant, found.discordant, found.tied) == concordance_index_censored(
        event, time, risk
    )[:4]


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("values", [None, 3])
def test_the_index_is_that_of_lifelines(values):
    event, time, risk = cohort(700, seed=1, values=values)
    assert concordance(event, time, risk, tied_tol=0).index == concordance_index(time, -risk, event)


def test_many_patients_are_counted_like_few(monkeypatch):
    event, time, risk = cohort(2500, values=100)
    tree = concordance(event, time, risk)
    monkeypatch.setattr(module, "FEW", 10**6)
    assert tree == concordance(event, time, risk)


@given(st.lists(PATIENT, min_size=2, max_size=30))
def test_turning_the_risk_around_turns_the_pairs_around(patients):
    event, time, risk = np.array(patients, dtype=float).T
    found, turned = concordance(event, time, risk), concordance(event, time, -risk)
    assert turned == Concordance(found.discordant, found.concordant, found.tied, found.comparable)


def test_risks_closer_than_the_tolerance_are_tied():
    assert concordance([1, 0], [1, 2], [5e-9, 0]).tied == 1
    assert concordance([1, 0], [1, 2], [5e-9, 0], tied_tol=0).concordant == 1
    assert concordance([1, 0], [1, 2], [2e-8, 0]).concordant == 1


def test_one_risk_for_all_is_one_half():
    found = concordance([1, 1, 0], [1, 2, 3], [7, 7, 7])
    assert found == Concordance(0, 0, 3, 3)
    assert found.index == 0.5


@pytest.mark.parametrize(
    ("event", "time"), [([0, 0, 0], [1, 2, 3]), ([1, 1, 1], [2, 2, 2]), ([1, 0, 0], [9, 2, 3]), ([], []), ([1], [1])]
)
def test_without_a_comparable_pair_there_is_no_index(event, time):
    found = concordance(event, time, np.arange(len(time)))
    assert found == Concordance(0, 0, 0, 0)
    assert np.isnan(found.index)


def test_one_death_is_compared_with_all_who_were_seen_later():
    assert concordance([0, 1, 0, 0], [1, 2, 2, 3], [0, 1, 0, 2]) == Concordance(1, 1, 0, 2)


def test_infinite_risks_are_the_highest():
    assert concordance([1, 1, 0], [1, 2, 3], [np.inf, np.inf, 0]) == Concordance(2, 0, 1, 3)


def test_a_missing_risk_is_an_error_and_not_left_out():
    with pytest.raises(DataError, match="'risk' is NaN for 2 of 3 patients, first at position 1"):
        concordance([1, 1, 0], [1, 2, 3], [0, np.nan, np.nan])


def test_counts_of_two_cohorts_add_up():
    both = Concordance(1, 2, 3, 6) + Concordance(10, 20, 30, 60)
    assert both == Concordance(11, 22, 33, 66)
