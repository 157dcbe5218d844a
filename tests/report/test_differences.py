"""Differences and their noise."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.report.differences import Difference, by_folds, judge_differences, verdict
from slidesurv.report.jury import Jury
from slidesurv.report.read import read_run
from slidesurv.report.run import Method, Run
from slidesurv.report.table import compare
from slidesurv.survival.comparison import CorrectedTest, bootstrap_p, corrected_t_test, detectable, holm


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


def noisy(method: Method, slug: str, spread: float) -> Method:
    """The method under another name, with noise on its risks."""
    draws = np.random.default_rng(len(slug))
    noised = {key: replace(r, risk=r.risk + spread * draws.normal(size=20)) for key, r in method.results.items()}
    return replace(method, slug=slug, label=slug, results=noised)


def test_p_values_of_several_methods_are_adjusted_together(run: Run) -> None:
    good, poor = run.methods
    jury = Jury(replace(run, methods=(good, poor, noisy(good, "near", 0.3), noisy(good, "far", 2.0))), resamples=300)
    found = judge_differences(jury, compare(jury))
    samples = [jury.gap(method, good).samples for method in jury.run.methods[1:]]
    assert [each.slug for each in found] == ["poor", "near", "far"]
    assert [each.p for each in found] == holm([bootstrap_p(each) for each in samples]).tolist()
    assert [each.detectable for each in found] == [detectable(each) for each in samples]
    assert found[0].p < 0.05 < found[1].p


def test_the_test_over_folds_uses_the_folds_means_over_seeds_and_their_sizes(run: Run) -> None:
    jury = Jury(run, resamples=20)
    first, second = compare(jury)
    gaps = [ours.value - theirs.value for ours, theirs in zip(second.folds, first.folds, strict=True)]
    (found,) = judge_differences(jury, [first, second])
    assert found.over_folds == corrected_t_test(gaps, train=40, test=20)


def test_the_reference_and_a_method_without_a_shared_fold_are_not_tested(run: Run) -> None:
    good, poor = run.methods
    apart = replace(poor, complete=(2,))
    jury = Jury(replace(run, methods=(replace(good, complete=(0, 1)), apart)), resamples=20)
    comparison = compare(jury)
    assert judge_differences(jury, comparison) == []
    assert verdict([], "Taught") == []


def test_a_copy_of_the_reference_differs_from_it_by_nothing(run: Run) -> None:
    twin = replace(run.methods[0], slug="twin", label="Twin")
    jury = Jury(replace(run, methods=(run.methods[0], twin)), resamples=50)
    (found,) = judge_differences(jury, compare(jury))
    assert (found.p, found.detectable) == (1, 0)
    assert math.isnan(found.over_folds.p) and "there is no test" in found.over_folds.note


def row(label: str, p: float, least: float) -> Difference:
    return Difference(label, label, p, least, CorrectedTest(0, 0, 0, 0, p, 5))


def test_the_verdict_names_what_remains_and_how_small_a_difference_could_have_been_found() -> None:
    told = verdict([row("B", 0.012, 0.03), row("C", 0.4, 0.07), row("D", math.nan, math.nan)], "A")
    assert told[0] == "Different from A at the level of 0.05, adjusted by Holm for 2 comparisons: B (p = 0.012)."
    assert told[1].startswith(
        "With these patients, a test of one difference finds a true one of 0.030 to 0.070, depending"
    )
    assert verdict([row("C", 0.4, 0.07)], "A")[0].endswith("for 1 comparison: none.")


def test_the_folds_tell_a_difference_with_its_interval_or_why_there_is_none() -> None:
    tested = Difference("B", "b", 0.1, 0.05, CorrectedTest(-0.02, -0.05, 0.01, -1.5, 0.2, 5))
    alike = Difference("C", "c", 1, 0, corrected_t_test([0, 0, 0], train=40, test=20))
    (told,) = by_folds([tested, alike], "A")
    assert told.startswith("Difference to A by folds, with the t-test corrected for shared training patients (Nadeau")
    assert "B −0.020 (−0.050 to +0.010), p = 0.200; C +0.000 — all differences are one: there is no test." in told
    assert by_folds([], "A") == []
