"""The mean gain of a cell, its interval, and the picture of a design."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from slidesurv.report.gains import COLUMNS, Factor, draw, mean_gain, summarise

FACTORS = (Factor("patients", "training patients", centre=100, scale="log"), Factor("visible", "shown", centre=0.9))
CONTROLS = {"centre": "the centre", "no-effect": "no effect"}


def row(factor, level, gain, **others):
    known = {"taught": 0.6 + gain, "untaught": 0.6, "programme": 0.75, "look": 0.7, "skill": 0.2}
    return {"factor": factor, "level": level, "patients": 50, "deaths": 10, "tiles": 8.0, **known, **others}


ROWS = [
    row(factor, level, gain + seed)
    for seed in (-0.01, 0.0, 0.02)
    for factor, level, gain in (
        ("centre", 0, 0.05),
        ("patients", 400, 0.01),
        ("patients", 50, 0.08),
        ("visible", 0.0, 0.0),
        ("no-effect", 0, 0.0),
    )
]


def test_the_interval_is_that_of_a_paired_t_test():
    each = [0.05, 0.02, 0.09, -0.01]
    found = mean_gain(each)
    known = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(each), known.low, known.high))


def test_one_seed_has_a_gain_and_no_interval():
    found = mean_gain([0.05])
    assert found.value == 0.05 and math.isnan(found.low) and found.note


def test_a_cell_is_the_mean_over_its_seeds():
    centre, *others = summarise([*ROWS, row("centre", 0, 0.05, deaths=20, skill=0.6)])
    assert [cell.level for cell in others] == [400, 50, 0.0, 0]
    assert centre.each == pytest.approx((0.04, 0.05, 0.07, 0.05))
    assert centre.deaths == pytest.approx((3 * 0.2 + 0.4) / 4) and centre.skill == pytest.approx(0.3)
    assert list(centre.row()) == list(COLUMNS)
    assert centre.row()["gain"] == pytest.approx(centre.taught - centre.untaught)


def test_the_picture_has_a_panel_a_factor_and_says_every_gain_in_the_same_bytes_twice(tmp_path):
    vector, raster = tmp_path / "a.svg", tmp_path / "a.png"
    draw(summarise(ROWS), FACTORS, CONTROLS, vector, raster)
    words = "".join(ElementTree.parse(vector).getroot().itertext())
    for shown in ("training patients", "shown", "no effect", "ceiling: what the tiles show", "400", "0.9"):
        assert shown in words
    label = ElementTree.parse(vector).getroot().get("aria-label")
    assert "patients 50: +0.083" in label and "no-effect 0: +0.003" in label
    drawn = vector.read_bytes(), raster.read_bytes()
    assert len(drawn[0]) < 200_000 and drawn[1].startswith(b"\x89PNG")
    draw(summarise(ROWS), FACTORS, CONTROLS, vector, raster)
    assert drawn == (vector.read_bytes(), raster.read_bytes())
