"""Differential genes: the tests agree with their references, and a planted difference is found."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from slidesurv.errors import DataError, MissingExtra
from slidesurv.genomics.screening import Screening, deseq2, divide, welch
from slidesurv.survival.bins import assign, fit_bins

PLANTED = 5


def follow_up(patients: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.exponential(30, patients), random.random(patients) < 0.6


def expression(time: np.ndarray, event: np.ndarray, genes: int = 200) -> np.ndarray:
    """Values whose first genes are raised in patients who died early; the last gene never varies."""
    early, _ = divide(time, event)
    values = np.random.default_rng(4).normal(0, 1, (len(time), genes))
    values[early, :PLANTED] += 3
    values[:, -1] = 0.1
    return values


def test_the_boundary_is_the_median_death_and_who_was_lost_before_it_is_unknown():
    time, event = [1, 2, 3, 4, 5, 2.5, 3.5], [1, 1, 1, 1, 1, 0, 0]
    early, late = divide(time, event)
    assert early.tolist() == [True, True, False, False, False, False, False]
    assert late.tolist() == [False, False, True, True, True, False, True]


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=12, max_size=40))
def test_it_is_the_boundary_between_the_second_and_the_third_of_four_bins(patients):
    time, event = np.array([t + 0.001 * n for n, (t, _) in enumerate(patients)]), np.array([e for _, e in patients])
    event[:8] = True
    bins = assign(fit_bins(time, event, n_bins=4), time)
    early, late = divide(time, event)
    assert (early == (event & (bins < 2))).all()
    assert (late == (bins >= 2)).all()


@pytest.mark.parametrize("event", [[0] * 6, [1, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]])
def test_too_few_patients_on_one_side_are_refused_with_counts(event):
    with pytest.raises(DataError, match=r"\d training patients died early and \d lived long: .* two of each"):
        divide([1, 2, 3, 4, 5, 6], event)


def test_welch_agrees_with_scipy():
    time, event = follow_up()
    early, late = divide(time, event)
    values = expression(time, event)[early | late]
    found = welch(values, early[early | late])
    expected = ttest_ind(values[early[early | late], :-1], values[~early[early | late], :-1], equal_var=False).pvalue
    assert found[:-1] == pytest.approx(expected, rel=1e-9)
    assert np.isnan(found[-1])  # the gene that never varies


def test_welch_does_not_depend_on_the_scale_of_a_gene():
    time, event = follow_up()
    early, _ = divide(time, event)
    values = expression(time, event)[:, :-1]
    assert welch(values * 1e4 - 7e5, early) == pytest.approx(welch(values, early), rel=1e-6)


def test_planted_genes_are_found_and_noise_passes_as_often_as_the_p_value_says():
    time, event = follow_up()
    found = Screening()(expression(time, event, genes=2000), time, event)
    assert found[:PLANTED].tolist() == list(range(PLANTED))
    assert 0.03 < (len(found) - PLANTED) / 2000 < 0.07
    strict = Screening(p_value=1e-6)(expression(time, event, genes=2000), time, event)
    assert strict.tolist() == list(range(PLANTED))


def test_a_gene_that_never_varies_is_never_kept():
    time, event = follow_up()
    values = expression(time, event)
    assert Screening(p_value=1.0)(values, time, event).tolist() == list(range(values.shape[1] - 1))


def test_patients_of_unknown_outcome_do_not_count():
    time, event = follow_up()
    values = expression(time, event)
    early, late = divide(time, event)
    poisoned = values.copy()
    poisoned[~(early | late)] = 1e9
    assert (~(early | late)).any()
    assert (Screening()(poisoned, time, event) == Screening()(values, time, event)).all()


def test_no_differential_gene_is_an_error_with_the_smallest_p():
    time, event = follow_up()
    with pytest.raises(DataError, match=r"No gene of 200 differs.*smallest p is .*e-\d+, not below 1e-300.*p_value"):
        Screening(p_value=1e-300)(expression(time, event), time, event)
    with pytest.raises(DataError, match="smallest p is inf"):
        Screening()(np.ones((60, 3)), time, event)


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_values_that_are_no_counts_are_refused(value):
    with pytest.raises(DataError, match=r"whole numbers from 0.*raw counts as \[genomics\] counts"):
        deseq2(np.array([[1.0, value]]), np.array([True]))


def test_without_pydeseq2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydeseq2", None)
    monkeypatch.setitem(sys.modules, "pydeseq2.dds", None)
    with pytest.raises(MissingExtra, match=r"slidesurv\[differential\].*screening"):
        deseq2(np.ones((4, 2)), np.array([True, True, False, False]))


def test_deseq2_finds_planted_counts_whatever_the_depth_of_a_sample():
    pytest.importorskip("pydeseq2", reason="pydeseq2 is not installed: pip install slidesurv[differential]")
    time, event = follow_up(40)
    early, _ = divide(time, event)
    random = np.random.default_rng(5)
    means = np.tile(random.lognormal(5, 1, 120), (40, 1))
    means[early, :PLANTED] *= 6
    means *= random.uniform(0.3, 3, (40, 1))  # reads of each sample
    counts = random.negative_binomial(4, 4 / (4 + means)).astype(float)
    counts[:, -1] = 0
    found = Screening("deseq2")(counts, time, event)
    assert found[:PLANTED].tolist() == list(range(PLANTED))
    assert len(found) <= PLANTED + 6
