"""What the choice of the epoch on the test fold gave, against sums made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.report.optimism import judge_optimism
from slidesurv.report.page import write_report
from slidesurv.report.read import read_run
from slidesurv.report.run import Run


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


def chosen_on_test(run: Run, *courses: list[float]) -> Run:
    """The run with one method, whose folds went through these C-indices."""
    method = run.methods[0]
    places = list(method.results)[: len(courses)]
    results = {
        place: replace(method.results[place], history={"test_c_index": np.array(course)})
        for place, course in zip(places, courses, strict=True)
    }
    return replace(run, protocol="paper", methods=(replace(method, results=results),))


def test_the_gain_is_the_best_epoch_minus_the_last(run: Run):
    (entry,) = judge_optimism(chosen_on_test(run, [0.5, 0.7, 0.6], [0.6, 0.5, 0.4]))
    assert (entry.kept, entry.last) == pytest.approx((0.65, 0.5))
    assert (entry.gained, entry.sd, entry.epochs) == pytest.approx((0.15, 0.05 * 2**0.5, 3))
    assert entry.typical == pytest.approx(0.55)


def test_a_model_that_only_rises_gains_nothing(run: Run):
    (entry,) = judge_optimism(chosen_on_test(run, [0.5, 0.6, 0.7]))
    assert entry.gained == 0
    assert np.isnan(entry.sd)  # of one fold


def test_a_course_with_an_undefined_c_index_is_left_out_and_counted(run: Run):
    (entry,) = judge_optimism(chosen_on_test(run, [0.5, 0.7, 0.6], [np.nan, np.nan, np.nan]))
    assert entry.gained == pytest.approx(0.1)
    assert (entry.folds, entry.finished) == (1, 2)


def test_leak_free_runs_have_none(run: Run):
    assert judge_optimism(run) == []


def test_the_page_of_a_published_protocol_tells_it(ill_run: Path):
    page = write_report(ill_run, output=ill_run / "again.html").read_text(encoding="utf-8")
    assert "What choosing the epoch on the test fold gave" in page
    assert "<td>6 of 6</td>" in page and "<td>5 of 5</td>" in page  # a training of the second method failed
