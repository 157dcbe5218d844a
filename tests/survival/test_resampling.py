"""The bootstrap by products of matrices is the bootstrap by a loop."""

import numpy as np
import pytest

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival import resampling as module
from slidesurv.survival.concordance import Concordance, concordance
from slidesurv.survival.resampling import bootstrap_concordance, draw, interval, pooled_concordance, undefined


def cohort(patients=60, seed=0):
    draws = np.random.default_rng(seed)
    time = draws.integers(1, 20, patients).astype(float)
    return draws.random(patients) < 0.5, time, draws.integers(0, 9, patients) - time / 9, draws.integers(0, 3, patients)


def loop(event, time, risk, counts, strata, tied_tol):
    """Write every resample out and count its pairs."""
    resamples = (np.repeat(np.arange(len(time)), row.astype(int)) for row in counts)
    return [pooled_concordance(event[i], time[i], risk[i], strata[i], tied_tol=tied_tol).index for i in resamples]


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("block", [100, 4_000_000])
@pytest.mark.parametrize("tied_tol", [1e-8, 0, 1])
def test_every_resample_has_the_index_of_its_patients(folds, block, tied_tol, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    event, time, risk, strata = cohort()
    strata, risk = strata if folds else np.zeros(60), np.round(risk)
    found = bootstrap_concordance(event, time, risk, resamples=40, seed=3, strata=strata, tied_tol=tied_tol)
    assert found.tolist() == loop(event, time, risk, draw(60, resamples=40, seed=3, strata=strata), strata, tied_tol)


def test_without_strata_all_patients_are_one_stratum():
    event, time, risk, _ = cohort()
    alone = bootstrap_concordance(event, time, risk, resamples=20)
    assert alone.tolist() == bootstrap_concordance(event, time, risk, resamples=20, strata=["all"] * 60).tolist()


def test_methods_are_judged_on_the_same_resamples():
    event, time, risk, _ = cohort()
    both = bootstrap_concordance(event, time, [risk, -time], resamples=30)
    assert both[0].tolist() == bootstrap_concordance(event, time, risk, resamples=30).tolist()
    assert both[1].tolist() == bootstrap_concordance(event, time, -time, resamples=30).tolist()


def test_the_seed_decides_the_resamples():
    event, time, risk, _ = cohort()
    first, again, other = (bootstrap_concordance(event, time, risk, resamples=9, seed=s) for s in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


def test_resamples_have_as_many_patients_in_every_stratum():
    strata = np.array(["a"] * 5 + ["b"] * 7)
    counts = draw(12, resamples=50, seed=0, strata=strata)
    assert np.all(counts[:, :5].sum(1) == 5)
    assert np.all(counts[:, 5:].sum(1) == 7)
    assert counts.max() > 1


def test_every_patient_is_drawn_once_on_average():
    assert draw(10, resamples=4000, seed=0).mean(0) == pytest.approx(np.ones(10), abs=0.08)


def test_resamples_without_a_pair_are_undefined_and_counted():
    found = bootstrap_concordance([1, 0], [1, 2], [1, 0], resamples=400)
    assert set(found[~np.isnan(found)]) == {1.0}
    assert undefined(found) == pytest.approx(200, abs=50)  # one patient twice, half of the time
    assert interval(found) == (1, 1)


@pytest.mark.parametrize(("event", "time"), [([0, 0, 0], [1, 2, 3]), ([1, 1, 1], [5, 5, 5]), ([], [])])
def test_without_a_comparable_pair_every_resample_is_undefined(event, time):
    found = bootstrap_concordance(event, time, np.arange(len(time)), resamples=5)
    assert undefined(found) == 5
    assert np.isnan(interval(found)).all()


def test_one_risk_for_all_is_one_half_in_every_resample():
    event, time, _, _ = cohort()
    assert set(bootstrap_concordance(event, time, np.zeros(60), resamples=10)) == {0.5}


def test_pairs_of_different_strata_are_not_counted():
    event, time, risk, strata = cohort()
    shifted = pooled_concordance(event, time, risk + 100 * strata, strata)
    parts = [concordance(event[strata == k], time[strata == k], risk[strata == k]) for k in range(3)]
    assert shifted == parts[0] + parts[1] + parts[2]
    assert shifted.comparable < concordance(event, time, risk).comparable


def test_pooling_nobody_counts_nothing():
    assert pooled_concordance([], [], [], []) == Concordance(0, 0, 0, 0)


def test_the_interval_holds_its_share_of_the_samples():
    samples = np.random.default_rng(0).permutation(1001) / 1000
    assert interval(samples) == pytest.approx((0.025, 0.975))
    assert interval([*samples, np.nan, np.nan], level=0.5) == pytest.approx((0.25, 0.75))


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(level):
    with pytest.raises(ConfigError, match=f"level is {level}"):
        interval([1.0], level=level)


def test_no_resamples_are_refused():
    with pytest.raises(ConfigError, match="resamples is 0"):
        bootstrap_concordance([1, 0], [1, 2], [1, 0], resamples=0)


def test_one_method_of_another_length_is_refused():
    with pytest.raises(DataError, match="'risk' has 3 values for 2 patients"):
        bootstrap_concordance([1, 0], [1, 2], [[1, 0, 2], [1, 0, 2]])


def test_strata_of_another_length_are_refused():
    with pytest.raises(DataError, match="'strata' has 1 values for 2 patients"):
        bootstrap_concordance([1, 0], [1, 2], [1, 0], strata=[0])
