"""Correlations inside folds, joined; and what shuffled patients show."""

import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control, norm, spearmanr

from slidesurv.report.genome.agreement import Joined, agree
from slidesurv.report.genome.rebuilt import Columns


def columns(patients=30, genes=4, follows=0.7, seed=0) -> Columns:
    random = np.random.default_rng(seed)
    truth = random.normal(size=(patients, genes))
    rebuilt = follows * truth + math.sqrt(1 - follows**2) * random.normal(size=(patients, genes))
    return Columns(tuple(f"G{n}" for n in range(genes)), rebuilt, truth)


def own(patients: int) -> list:
    return [np.arange(patients)]


def test_one_fold_gives_spearmans_correlation_and_its_interval() -> None:
    one = columns()
    first = {row.name: row for row in Joined.of([agree([one], np.arange(30), own(30))]).follows()}["G2"]
    rho = spearmanr(one.rebuilt[:, 2], one.truth[:, 2]).statistic
    assert first.correlation.value == pytest.approx(rho, abs=1e-6)
    half = 1.96 * math.sqrt((1 + rho**2 / 2) / 27)
    assert first.correlation.low == pytest.approx(math.tanh(math.atanh(rho) - half), abs=1e-6)
    assert first.p == pytest.approx(norm.sf(math.atanh(rho) * math.sqrt(27)), rel=1e-4)
    assert (first.folds, first.patients) == (1, 30)


def test_the_scale_of_a_fold_does_not_matter_and_folds_weigh_as_their_patients_less_three() -> None:
    small, large = columns(13, seed=1), columns(43, seed=2)
    moved = Columns(large.names, 100 * large.rebuilt + 1000, large.truth)
    parts = [agree([part], np.arange(n), own(n)) for part, n in ((small, 13), (moved, 43))]
    rho = [spearmanr(part.rebuilt[:, 0], part.truth[:, 0]).statistic for part in (small, large)]
    row = next(row for row in Joined.of(parts).follows() if row.name == "G0")
    assert row.correlation.value == pytest.approx(math.tanh(np.average(np.arctanh(rho), weights=[10, 40])), abs=1e-6)
    assert (row.folds, row.patients) == (2, 56)


def test_of_seeds_the_mean_is_taken_and_they_narrow_nothing() -> None:
    one, other = columns(), columns()
    other.rebuilt[:] = columns(seed=5).rebuilt
    rows = [Joined.of([agree(seeds, np.arange(30), own(30))]) for seeds in ([one], [other], [one, other])]
    assert rows[2].z == pytest.approx((rows[0].z + rows[1].z) / 2)
    assert rows[2].weight.tolist() == rows[0].weight.tolist()


def test_a_column_of_one_value_is_left_out_of_its_fold_alone() -> None:
    one, other = columns(seed=1), columns(seed=2)
    one.rebuilt[:, 1] = 3.0
    joined = Joined.of([agree([part], np.arange(30), own(30)) for part in (one, other)])
    assert dict(zip(joined.names, joined.folds.tolist(), strict=True)) == {"G0": 2, "G1": 1, "G2": 2, "G3": 2}
    other.truth[:, 1] = 0.0
    assert "G1" not in Joined.of([agree([part], np.arange(30), own(30)) for part in (one, other)]).names


def test_folds_need_not_have_the_same_columns() -> None:
    one, other = columns(genes=2), columns(genes=2, seed=3)
    renamed = Columns(("G1", "new"), other.rebuilt, other.truth)
    joined = Joined.of([agree([part], np.arange(30), own(30)) for part in (one, renamed)])
    assert dict(zip(joined.names, joined.folds.tolist(), strict=True)) == {"G0": 1, "G1": 2, "new": 1}


def test_a_perfect_correlation_is_finite_and_the_rows_stand_by_falling_correlation() -> None:
    one = columns()
    one.rebuilt[:, 3], one.rebuilt[:, 0] = one.truth[:, 3], -one.truth[:, 0]
    rows = Joined.of([agree([one], np.arange(30), own(30))]).follows()
    assert (rows[0].name, rows[-1].name) == ("G3", "G0")
    assert rows[0].correlation.value == pytest.approx(1, abs=1e-5) and rows[-1].p > 0.999
    assert [row.adjusted for row in rows] == pytest.approx(false_discovery_control([row.p for row in rows]))


def test_shuffled_patients_follow_nobody_and_p_is_uniform() -> None:
    random = np.random.default_rng(0)
    one = columns(40, genes=50)
    orders = [np.arange(40), *(random.permutation(40) for _ in range(60))]
    joined = Joined.of([agree([one], np.arange(40), orders)])
    assert joined.p[0].max() < 0.05
    assert (joined.p[1:] < 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_no_columns_give_no_rows() -> None:
    nothing = Columns((), np.empty((30, 0)), np.empty((30, 0)))
    assert Joined.of([agree([nothing], np.arange(30), own(30))]).follows() == ()
