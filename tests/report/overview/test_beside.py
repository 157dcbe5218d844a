"""A table beside the same experiments under the other protocol."""

import math
from pathlib import Path

import numpy as np
import pytest

from slidesurv.errors import ConfigError
from slidesurv.files import read_csv, read_json, write_csv, write_json
from slidesurv.report.overview.beside import read_beside
from slidesurv.report.overview.files import markdown, write_overview
from slidesurv.report.overview.judged import judge
from slidesurv.report.overview.table import overview
from slidesurv.report.read import read_run

NAMES = ("one", "two")


@pytest.fixture
def sides(made, tmp_path):
    """Two cohorts under each protocol; published, the poor method's risks are those of the good one."""
    for protocol in ("paper", "leakfree"):
        for name in NAMES:
            folder = made(f"{protocol}/{name}", protocol=protocol)
            facts = read_json(folder / "run.json")
            write_json(folder / "run.json", facts | {"experiment": name, "cohort": {"name": name}})
    for path in (tmp_path / "paper").glob("*/poor/*/*/predictions.csv"):
        better = {row["patient_id"]: row["risk"] for row in read_csv(Path(str(path).replace("/poor/", "/good/")))}
        rows = [row | {"risk": better[row["patient_id"]]} for row in read_csv(path)]
        write_csv(path, rows, list(rows[0]))
    return tmp_path / "paper", tmp_path / "leakfree"


def runs(folder):
    return [read_run(folder / name) for name in NAMES]


def test_the_gap_is_published_minus_leak_free_on_the_same_resamples_from_either_side(sides):
    published, clean = map(runs, sides)
    good, poor = overview(published, others=clean).beside.lines
    assert (good.gap.value, good.gap.low, good.gap.high) == (0, 0, 0)
    samples = judge(published)["poor"].minus(judge(clean)["poor"])
    assert (poor.gap.value, poor.gap.low) == (samples.value, samples.interval[0])
    assert poor.gap.low > 0
    swapped = overview(clean, others=published).beside.lines[1]
    assert (swapped.gap.value, swapped.gap.high) == pytest.approx((poor.gap.value, poor.gap.high))


@pytest.mark.parametrize("turned", [False, True])
def test_the_stamp_stands_with_published_numbers_and_no_other(sides, turned):
    here, there = reversed(sides) if turned else sides
    text = markdown(overview(runs(here), others=runs(there)))
    head, row = (
        [cell.strip() for cell in next(line for line in text.splitlines() if line.startswith(f"| {first}")).split("|")]
        for first in ("Method", "Plain")
    )
    word = "published" if turned else "leak-free"
    assert head[4:11] == ["one", f"one, {word}", "two", f"two, {word}", "Mean", f"Mean, {word}", head[10]]
    assert head[10] == "Published minus leak-free"
    stamped = [name for name, cell in zip(head, row, strict=True) if "OPTIMISTIC" in cell]
    other = [f"{name}, published" for name in ("one", "two", "Mean")]
    assert stamped == (other if turned else ["one", "two", "Mean", "Difference to Taught"])


def test_the_files_hold_the_other_protocol(sides, tmp_path):
    table = overview(runs(sides[0]), others=runs(sides[1]))
    write_overview(table, tmp_path / "out")
    row = read_csv(tmp_path / "out/overview.csv")[1]
    assert float(row["mean_leakfree"]) == table.beside.lines[1].mean.value
    assert float(row["paper_minus_leakfree_low"]) == table.beside.lines[1].gap.low
    assert (row["stamp"], row["stamp_leakfree"]) == ("OPTIMISTIC", "")
    assert "one, leak-free & two" in (tmp_path / "out/overview.tex").read_text()
    assert '<th scope="col">Mean, leak-free</th>' in (tmp_path / "out/overview.html").read_text()


def test_other_test_patients_and_methods_that_were_not_run_have_no_gap_and_say_so(sides):
    published, clean = map(runs, sides)
    for path in (sides[1] / "two/good").glob("*/fold1/predictions.csv"):
        rows = [row | {"time_months": 9.0} for row in read_csv(path)]
        write_csv(path, rows, list(rows[0]))
    facts = read_json(sides[1] / "two/run.json")
    write_json(sides[1] / "two/run.json", facts | {"methods": facts["methods"][:1]})
    write_json(sides[1] / "one/run.json", facts | {"methods": facts["methods"][:1], "experiment": "one"})
    table = overview(published, others=runs(sides[1]))
    assert all(math.isnan(line.gap.value) for line in table.beside.lines)
    text = markdown(table)
    assert "- Taught: published minus leak-free: other folds or test patients in 'two': not paired.\n" in text
    assert "- Plain: leak-free: not run.\n" in text
    assert np.isfinite(overview(published, others=clean).beside.lines[0].gap.value)


def test_what_else_differs_is_told(sides):
    facts = read_json(sides[1] / "two/run.json")
    write_json(sides[1] / "two/run.json", facts | {"settings": {"training": {"epochs": 20}}})
    text = markdown(overview(runs(sides[0]), others=runs(sides[1])))
    assert "Not the protocol alone differs for two: 'cohort.table', 'training.epochs'." in text
    assert "alone differs for one" not in text


def test_a_folder_of_other_experiments_or_the_same_protocol_is_refused(sides):
    assert [run.experiment for run in read_beside(sides[1], dict.fromkeys(NAMES, "paper"))] == list(NAMES)
    with pytest.raises(ConfigError, match=r"has no run of 1 of 2 experiments: 'three'\. Give --beside the folder"):
        read_beside(sides[1], {"one": "paper", "three": "paper"})
    with pytest.raises(ConfigError, match="have the protocol 'leakfree': --beside needs the other one"):
        read_beside(sides[1], {"one": "paper", "two": "leakfree"})
