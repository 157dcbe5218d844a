"""Reconstruction skill and retrieval rank, against sums made by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.report.genome.reconstruction import ablate, judge
from slidesurv.report.jury import Jury
from slidesurv.report.read import read_run
from slidesurv.report.run import Method
from slidesurv.report.table import compare


@pytest.fixture(scope="module")
def method(clean_run: Path) -> Method:
    return read_run(clean_run).methods[0]


def rebuilt(method: Method, kl: Callable[[int], np.ndarray], **columns: np.ndarray) -> Method:
    """The method with other KL values; ``kl`` is given the fold."""
    results = {
        (seed, fold): replace(r, reconstruction={**r.reconstruction, "kl": kl(fold), **columns})
        for (seed, fold), r in method.results.items()
    }
    return replace(method, results=results)


def test_skill_is_one_minus_the_quotient_of_the_sums(method: Method) -> None:
    uneven = rebuilt(method, lambda fold: np.arange(20.0) / 10 + fold)
    judged = judge(uneven, 3)
    total = sum((np.arange(20) / 10 + fold).sum() for fold in range(3))
    assert judged.skill.value == pytest.approx(1 - total / (60 * 2.0))
    assert [fold.value for fold in judged.folds] == pytest.approx([1 - (0.95 + fold) / 2 for fold in range(3)])
    assert judged.skill.low < judged.skill.value < judged.skill.high
    assert judged.patients == 60


def test_a_reconstruction_no_better_than_the_mean_has_no_skill_and_a_worse_one_less(method: Method) -> None:
    assert judge(rebuilt(method, lambda fold: np.full(20, 2.0)), 3).skill.value == 0
    assert judge(rebuilt(method, lambda fold: np.full(20, 3.0)), 3).skill.value == pytest.approx(-0.5)


def test_patients_in_order_of_their_candidates_have_the_rank_of_chance(method: Method) -> None:
    ranks = np.arange(1.0, 21.0)
    assert judge(rebuilt(method, lambda fold: ranks, rank=ranks), 3).rank.value == pytest.approx(0.5)
    best = judge(rebuilt(method, lambda fold: ranks, rank=np.ones(20)), 3).rank
    assert (best.value, best.low, best.high) == (0.025, 0.025, 0.025)


def test_a_mean_that_equals_every_profile_leaves_no_skill_to_speak_of(method: Method) -> None:
    judged = judge(rebuilt(method, lambda fold: np.ones(20), kl_mean=np.zeros(20)), 3)
    assert str(judged.skill) == str(judged.folds[0]) == "—"
    assert judged.skill.note == "the training mean equals every profile"


def test_folds_that_did_not_finish_are_left_out_and_named(method: Method) -> None:
    judged = judge(replace(method, complete=(0, 2)), 3)
    assert judged.patients == 40
    assert judged.folds[1].note == "not finished"
    nothing = judge(replace(method, complete=()), 3)
    assert nothing.skill.note == "no finished fold has a profile"


def test_a_method_that_reconstructs_nothing_is_not_judged(clean_run: Path) -> None:
    assert judge(read_run(clean_run).methods[1], 3) is None


def test_what_is_lost_without_the_reconstruction_is_the_difference_of_the_two_c_indices(clean_run: Path) -> None:
    run = read_run(clean_run)
    jury = Jury(run, resamples=200)
    own = compare(jury)[0].pooled
    zeroed, shuffled = ablate(jury, run.methods[0])
    assert (zeroed.reconstruction, shuffled.reconstruction) == ("zeroed", "shuffled")
    assert zeroed.lost.value == pytest.approx(own.value - zeroed.index.value)
    assert own.value > zeroed.index.value and zeroed.lost.low > 0
    assert (shuffled.lost.value, shuffled.lost.low, shuffled.lost.high) == (0, 0, 0)
    assert (shuffled.index.value, shuffled.index.low) == (own.value, own.low)


def test_only_a_method_that_was_asked_without_its_reconstruction_in_every_fold_is_compared(
    clean_run: Path, method: Method
) -> None:
    jury = Jury(read_run(clean_run), resamples=10)
    results = dict(method.results)
    results[0, 1] = replace(results[0, 1], risk_without={"zeroed": results[0, 1].risk})
    assert [a.reconstruction for a in ablate(jury, replace(method, results=results))] == ["zeroed"]
    assert ablate(jury, replace(method, complete=())) == []


def test_the_entropy_of_profiles_is_averaged_over_patients_of_complete_folds(method: Method) -> None:
    assert judge(method, 3).entropy_share.value == pytest.approx(0.6)
    assert judge(replace(method, complete=(0,)), 3).entropy_share.value == pytest.approx(0.5)
    table = {name: values for name, values in method.results[0, 0].reconstruction.items() if name != "entropy_share"}
    old = replace(method, results={key: replace(r, reconstruction=table) for key, r in method.results.items()})
    assert str(judge(old, 3).entropy_share) == "—"
