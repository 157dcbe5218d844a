"""Pictures: what they say, and that they are safe to stand on a page together."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slidesurv.report.curves import calibrated, learning, overview
from slidesurv.report.drawing import INK, canvas, style, svg
from slidesurv.report.jury import Jury
from slidesurv.report.read import read_run
from slidesurv.report.risk_groups import fold_by_fold, risk_groups
from slidesurv.report.run import Method, Run
from slidesurv.report.table import compare
from slidesurv.survival.estimators import log_rank

Made = Callable[..., Path]


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


def texts(picture: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def changed(method: Method, **values: object) -> Method:
    return replace(method, results={key: replace(result, **values) for key, result in method.results.items()})


def test_risk_groups_are_cut_at_the_training_median_of_each_fold(run: Run) -> None:
    good = run.methods[0]
    one_seed = replace(good, seeds=(1,))
    high = np.concatenate([good.results[1, k].risk >= good.results[1, k].cut for k in range(3)])
    time, event, fold = good.follow_up()
    p = log_rank(time, event, high, strata=fold).p
    caption = risk_groups(run, one_seed, "km").caption
    assert caption.startswith(f"{high.sum()} patients at high and {(~high).sum()} at low risk; log-rank p = {p:.3f}")


def test_a_draw_between_two_seeds_counts_as_high_risk(run: Run) -> None:
    good = run.methods[0]
    split = {
        (seed, fold): replace(result, risk=np.full(20, float(seed)), cut=0.5)
        for (seed, fold), result in good.results.items()
    }
    caption = risk_groups(run, replace(good, results=split), "km").caption
    assert caption.startswith("60 patients at high and 0 at low risk. No log-rank test")


def test_the_numbers_at_risk_stand_below_the_curve(run: Run) -> None:
    everyone = changed(run.methods[0], cut=-99.0)  # all are high
    time = everyone.follow_up()[0]
    written = texts(risk_groups(run, everyone, "km").svg)
    row = written[written.index("high") + 1 :][:6]
    assert row == [str((time >= month).sum()) for month in range(0, 60, 10)]


def test_every_fold_has_a_panel_with_its_deaths_its_own_test_and_its_numbers_at_risk(run: Run) -> None:
    good = run.methods[0]
    picture = fold_by_fold(run, replace(good, seeds=(1,)), "folds")
    words, written = ElementTree.fromstring(picture.svg).get("aria-label", ""), texts(picture.svg)
    for fold in range(3):
        result = good.results[1, fold]
        high = result.risk >= result.cut
        p = log_rank(result.time, result.event, high).p
        assert f"Fold {fold}: {result.event.sum()} deaths of 20, p = {p:.3f}" in words
        for month in (0, 20, 40):
            above, below = (str((called & (result.time >= month)).sum()) for called in (high, ~high))
            assert [str(month), above, below] in [written[at : at + 3] for at in range(len(written))]
    assert "not adjusted for 3 folds" in picture.caption


def test_a_fold_without_a_curve_says_why(made: Made) -> None:
    run = read_run(made(silent_fold=1, failed=("poor", 1, 2)))
    one_risk = replace(run.methods[1].results[0, 0], cut=-99.0)
    poor = replace(run.methods[1], results=run.methods[1].results | {(seed, 0): one_risk for seed in (0, 1)})
    words = ElementTree.fromstring(fold_by_fold(run, poor, "folds").svg).get("aria-label", "")
    assert "Fold 0: all 20 patients are at high risk; Fold 1: no death among 20 patients" in words
    assert words.endswith("Fold 2: not finished for every seed")


def test_calibration_says_its_month_and_who_was_not_watched_so_long(run: Run) -> None:
    assert "Alive at 24.5 months" in calibrated(run, run.methods[0], "c").caption
    late = replace(run, cohort={"median_follow_up_months": 75.0})
    watched = changed(run.methods[0], event=np.zeros(20, dtype=bool))
    assert "5 groups were not watched so long and are left out" in calibrated(late, watched, "c").caption
    unknown = replace(run, cohort={"median_follow_up_months": float("inf")})
    assert (
        f"Alive at {np.median(run.methods[0].follow_up()[0]):.3g} months" in calibrated(unknown, watched, "c").caption
    )


def test_calibration_beyond_the_last_bin_says_that_the_prediction_is_held(run: Run) -> None:
    late = replace(run, cohort={"median_follow_up_months": 60.0})
    short = changed(run.methods[0], edges=np.array([0.0, 10.0, 20.0, 30.0, 50.0]))
    words = "the last time bin ends at 50 months, the prediction is held from there"
    assert words in calibrated(late, short, "c").caption
    assert "is held" not in calibrated(late, run.methods[0], "c").caption


def test_the_test_fold_is_drawn_while_learning_only_in_the_paper_protocol(run: Run) -> None:
    assert "test c index" not in texts(learning(run, run.methods[0], "l").svg)
    optimistic = learning(replace(run, protocol="paper"), run.methods[0], "l")
    assert {"test c index", "test nll"} <= set(texts(optimistic.svg))
    assert "tune nll" not in texts(optimistic.svg)
    assert "Taught (OPTIMISTIC)" in texts(optimistic.svg)
    assert "train kl" in texts(optimistic.svg)


def test_a_column_that_nobody_measured_is_said_to_be_missing(run: Run) -> None:
    assert texts(learning(run, changed(run.methods[0], history={}), "l").svg).count("not measured") == 2


@pytest.mark.parametrize("draw", [risk_groups, fold_by_fold, calibrated, learning])
def test_a_method_without_a_finished_fold_has_words_instead_of_a_picture(run: Run, draw: Callable) -> None:
    nothing = draw(run, replace(run.methods[0], results={}, complete=()), "n")
    assert nothing.svg == ""
    assert "nothing to draw" in nothing.caption


def test_every_picture_of_the_paper_protocol_is_stamped_in_itself(made: Made) -> None:
    run = read_run(made(protocol="paper"))
    drawn = [draw(run, run.methods[0], "n") for draw in (risk_groups, fold_by_fold, calibrated, learning)]
    for picture in [*drawn, overview(compare(Jury(run, resamples=50)))]:
        assert any("OPTIMISTIC" in text for text in texts(picture.svg))


def test_the_overview_has_a_row_for_a_method_without_any_value(run: Run) -> None:
    nothing = replace(run.methods[1], results={}, complete=())
    picture = overview(compare(Jury(replace(run, methods=(run.methods[0], nothing)), resamples=50)))
    assert {"Taught", "Plain"} <= set(texts(picture.svg))
    assert "Plain —" in ElementTree.fromstring(picture.svg).get("aria-label", "")


def drawn(name: str, label: str) -> str:
    with style():
        figure, (axes,) = canvas(3, 2)
        axes.plot([0, 1], [2, 3], color=INK)
        axes.set_title(label)
        return svg(figure, name=name, alt=f'"{label}"')


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1))
@example("<script>$x^2$ & ]]>")
@example('id="a" 肺 #010203')
def test_a_picture_is_well_formed_whatever_a_label_holds(label: str) -> None:
    picture = drawn("a", label)
    assert label in texts(picture)  # parsed back to the same text
    assert ElementTree.fromstring(picture).get("aria-label") == f'"{label}"'
    assert "<script" not in picture


def test_ids_of_two_pictures_never_meet_and_every_reference_finds_its_id() -> None:
    one, two = (set(re.findall(r'\bid="([^"]+)"', drawn(name, "x"))) for name in ("a", "b"))
    assert one
    assert not one & two
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', drawn("a", "x")))
    assert used <= one


def test_ink_follows_the_page_and_nothing_of_the_date_or_the_maker_stays() -> None:
    picture = drawn("a", "x")
    assert "currentColor" in picture
    assert INK not in picture
    assert "metadata" not in picture
    assert picture == drawn("a", "x")
