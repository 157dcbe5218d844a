"""The forest plot says its numbers, whatever they are."""

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from slidesurv.report.accuracy import Accuracy, Measured
from slidesurv.report.estimate import Estimate
from slidesurv.report.forest import forest
from slidesurv.report.jury import Jury
from slidesurv.report.metrics import measure
from slidesurv.report.read import read_run


@pytest.fixture(scope="module")
def accuracy(clean_run: Path) -> Accuracy:
    return measure(Jury(read_run(clean_run), resamples=40))


def texts(picture: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def rows(accuracy: Accuracy, *ratios: Estimate) -> Accuracy:
    measured = tuple(Measured(f"M{n}", f"m{n}", {"hazard_ratio": ratio}) for n, ratio in enumerate(ratios))
    return replace(accuracy, rows=measured)


def test_every_method_stands_with_its_ratio_in_the_picture_and_in_its_words(accuracy: Accuracy) -> None:
    picture = forest(accuracy)
    alt = ElementTree.fromstring(picture.svg).get("aria-label", "")
    for row in accuracy.rows:
        shown = row.estimates["hazard_ratio"].text(digits=2)
        assert {row.label, shown} <= set(texts(picture.svg))
        assert f"{row.label} {shown}" in alt


def test_a_method_without_a_ratio_has_a_dash_and_no_ratio_at_all_has_no_picture(accuracy: Accuracy) -> None:
    none = Estimate(note="no death")
    assert "—" in texts(forest(rows(accuracy, Estimate(1.2, 1.0, 1.5), none)).svg)
    assert forest(rows(accuracy, none, none)).svg == ""


@pytest.mark.parametrize("ratio", [Estimate(3e4, 1e-3, 1e9), Estimate(1.0, 1.0, 1.0), Estimate(2.0, 0.0, math.inf)])
def test_an_extreme_interval_is_drawn_on_the_axis_that_it_needs(accuracy: Accuracy, ratio: Estimate) -> None:
    drawn = texts(forest(rows(accuracy, ratio)).svg)
    assert ratio.text(digits=2) in drawn
    assert "1" in drawn  # the tick of no effect


def test_the_stamp_is_in_the_picture_itself(accuracy: Accuracy) -> None:
    stamped = forest(replace(accuracy, stamp="OPTIMISTIC"))
    assert any("OPTIMISTIC" in text for text in texts(stamped.svg)) and stamped.caption.endswith("OPTIMISTIC")
