"""The comparison: values, intervals, paired differences, and what is left out."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from slidesurv.errors import ConfigError
from slidesurv.report.estimate import Estimate, p_text
from slidesurv.report.jury import Jury
from slidesurv.report.read import read_run
from slidesurv.report.run import FoldResult, Method, Run
from slidesurv.report.table import compare, markdown, write_comparison
from slidesurv.survival.evidence import Metric

Made = Callable[..., Path]
QUICK = {"resamples": 200}


def pairs(result: FoldResult) -> tuple[float, int]:
    """Agreeing and comparable pairs by the definition; no times are tied in the made run."""
    agreeing, comparable = 0.0, 0
    for i, j in combinations(np.argsort(result.time), 2):  # i died or left first
        if result.event[i]:
            comparable += 1
            agreeing += result.risk[i] > result.risk[j]
    return agreeing, comparable


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


def changed(method: Method, **values: object) -> Method:
    """The method with other values in all its results."""
    return replace(method, results={key: replace(result, **values) for key, result in method.results.items()})


def test_the_c_index_of_a_fold_is_the_mean_over_seeds_of_pairs_counted_one_by_one(run: Run) -> None:
    row, method = compare(Jury(run, **QUICK))[0], run.methods[0]
    counted = [[pairs(method.results[seed, fold]) for fold in range(3)] for seed in (0, 1)]
    by_hand = np.array([[agreeing / comparable for agreeing, comparable in each] for each in counted]).mean(0)
    assert [entry.value for entry in row.folds] == pytest.approx(by_hand, abs=1e-12)
    assert row.mean.value == pytest.approx(by_hand.mean())
    assert row.sd == pytest.approx(by_hand.std(ddof=1))
    assert row.seed_sd == pytest.approx(np.std([np.mean([a / c for a, c in each]) for each in counted], ddof=1))
    pooled = np.mean([sum(a for a, _ in each) / sum(c for _, c in each) for each in counted])
    assert row.pooled.value == pytest.approx(pooled, abs=1e-12)


def test_intervals_hold_their_value_and_the_better_method_stands_clear_of_chance(run: Run) -> None:
    good, poor = compare(Jury(run))
    for estimate in (good.pooled, poor.pooled, poor.difference):
        assert estimate.low < estimate.value < estimate.high
    assert good.pooled.low > 0.5
    assert poor.difference.high < 0


def test_the_interval_of_ten_times_the_patients_is_about_three_times_narrower(run: Run) -> None:
    good = run.methods[0]
    many = {
        key: replace(
            r,
            patients=tuple(f"{patient}-{n}" for n in range(10) for patient in r.patients),
            **{name: np.tile(getattr(r, name), 10) for name in ("time", "event", "risk")},
        )
        for key, r in good.results.items()
    }
    few = compare(Jury(replace(run, methods=(good,))))[0].pooled
    more = compare(Jury(replace(run, methods=(replace(good, results=many),))))[0].pooled
    assert (few.high - few.low) / (more.high - more.low) == pytest.approx(math.sqrt(10), rel=0.25)


def test_another_scale_of_risk_in_one_fold_changes_no_pooled_number(run: Run) -> None:
    good = run.methods[0]
    shifted = {(s, fold): replace(result, risk=result.risk + 100 * fold) for (s, fold), result in good.results.items()}
    assert (
        compare(Jury(replace(run, methods=(replace(good, results=shifted),)), **QUICK))[0]
        == compare(Jury(run, **QUICK))[0]
    )


def test_a_method_differs_from_its_copy_by_exactly_nothing(run: Run) -> None:
    twin = replace(run.methods[0], slug="twin")
    difference = compare(Jury(replace(run, methods=(run.methods[0], twin)), **QUICK))[1].difference
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_the_sign_of_a_difference_turns_with_the_reference(run: Run) -> None:
    forward = compare(Jury(run, **QUICK))[1].difference
    backward = compare(Jury(run, **QUICK), reference="poor")[0].difference
    assert backward.value == -forward.value
    assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low))
    with pytest.raises(ConfigError, match="Did you mean 'poor'"):
        compare(Jury(run), reference="por")


def test_constant_risk_is_one_half_and_says_so(run: Run) -> None:
    flat = changed(run.methods[0], risk=np.zeros(20))
    row = compare(Jury(replace(run, methods=(flat,)), **QUICK))[0]
    assert row.pooled.value == 0.5
    assert "folds 0, 1, 2: a seed gives every patient the same risk" in row.notes


def test_a_silent_fold_and_a_failed_fold_are_left_out_of_means_with_their_reasons(made: Made) -> None:
    good, poor = compare(Jury(read_run(made(silent_fold=1, failed=("poor", 1, 2))), **QUICK))
    assert str(good.folds[1]) == "—"
    assert good.mean.value == pytest.approx(np.mean([good.folds[0].value, good.folds[2].value]))
    assert good.notes == [
        "fold 1: no pair can be compared: 0 deaths among 20 test patients",
        "mean over 2 of 3 folds",
    ]
    assert "fold 2: not finished for seed 1" in poor.notes
    assert "compared on folds 0, 1 only" in poor.notes
    assert (poor.patients, good.patients) == (40, 60)
    assert math.isnan(poor.sd)


def test_a_difference_uses_only_the_folds_that_both_methods_finished(made: Made, run: Run) -> None:
    row = compare(Jury(read_run(made(failed=("good", 0, 2))), **QUICK))[1]
    sides = []
    for method in run.methods:
        counted = [[pairs(method.results[seed, fold]) for fold in (0, 1)] for seed in (0, 1)]
        sides.append(np.mean([sum(a for a, _ in each) / sum(c for _, c in each) for each in counted]))
    assert row.difference.value == pytest.approx(sides[1] - sides[0])
    assert row.folds[2].value > 0


def test_when_nobody_dies_there_is_no_number_but_a_reason(run: Run) -> None:
    alive = [changed(method, event=np.zeros(20, dtype=bool)) for method in run.methods]
    good, poor = compare(Jury(replace(run, methods=tuple(alive)), **QUICK))
    assert str(good.pooled) == str(good.mean) == str(poor.difference) == "—"
    assert good.pooled.note == "no pair can be compared: 0 deaths among 60 test patients"
    assert poor.difference.note == "no pair can be compared on the folds that both finished"


def test_a_method_that_finished_nothing_keeps_its_row(run: Run) -> None:
    nothing = replace(run.methods[1], results={}, complete=())
    row = compare(Jury(replace(run, methods=(run.methods[0], nothing)), **QUICK))[1]
    assert row.pooled.note == "no fold was finished for every seed"
    assert row.difference.note == "no fold was finished by both this method and Taught"


def test_every_number_of_the_paper_protocol_carries_the_stamp(made: Made, tmp_path: Path) -> None:
    comparison = compare(Jury(read_run(made(protocol="paper")), **QUICK))
    table = markdown(comparison).splitlines()[2:]
    numbers = [cell for line in table for cell in line.split("|") if "0." in cell]
    assert len(numbers) == 9
    assert all(cell.strip().endswith("OPTIMISTIC") for cell in numbers)
    write_comparison(comparison, tmp_path, ["A < B."])
    assert (tmp_path / "comparison.md").read_text().endswith("\n\nA &lt; B. OPTIMISTIC\n")
    with (tmp_path / "comparison.csv").open() as lines:
        assert {row["stamp"] for row in csv.DictReader(lines)} == {"OPTIMISTIC"}


def test_one_seed_has_no_spread_over_seeds(run: Run, tmp_path: Path) -> None:
    one = replace(run.methods[0], seeds=(1,))
    write_comparison(compare(Jury(replace(run, methods=(one,)), **QUICK)), tmp_path)
    assert (tmp_path / "comparison.md").read_text().splitlines()[2].endswith(" — |")
    with (tmp_path / "comparison.csv").open() as lines:
        assert next(csv.DictReader(lines))["seed_sd"] == ""


def test_tables_on_disk_hold_nothing_where_nothing_is_defined_and_the_reason_beside_it(
    made: Made, tmp_path: Path
) -> None:
    write_comparison(compare(Jury(read_run(made(silent_fold=1)), **QUICK)), tmp_path / "tables")
    with (tmp_path / "tables/comparison.csv").open() as lines:
        first = next(csv.DictReader(lines))
    assert first["fold_1"] == ""
    assert "0 deaths among 20 test patients" in first["notes"]
    assert "OPTIMISTIC" not in (tmp_path / "tables/comparison.md").read_text()
    for path in (tmp_path / "tables").iterdir():
        assert "nan" not in path.read_text().lower()


def test_a_label_cannot_break_out_of_the_markdown_table(made: Made) -> None:
    table = markdown(compare(Jury(read_run(made(label="a|b <script>")), **QUICK)))
    assert "a\\|b &lt;script>" in table
    assert "<script" not in table


def test_an_estimate_prints_its_interval_its_sign_or_a_dash() -> None:
    assert str(Estimate(0.612, 0.551, 0.672)) == "0.612 (0.551 to 0.672)"
    assert Estimate(-0.02, -0.05, 0.01).text(signed=True, digits=2) == "−0.02 (−0.05 to +0.01)"
    assert str(Estimate(0.5)) == "0.500"
    assert str(Estimate(note="why")) == "—"
    assert Estimate(0.6, 0.51, 0.7).excludes(0.5)
    assert not Estimate(0.6, 0.5, 0.7).excludes(0.5)
    assert not Estimate().excludes(0.5)


def test_an_estimate_of_a_metric_counts_the_resamples_that_it_leaves_out() -> None:
    metric = Metric(0.5, np.array([0.4, math.nan, 0.6]), "flat")
    assert Estimate.of(metric) == Estimate(0.5, 0.405, 0.595, "flat; 1 of 3 resamples have no value and are left out")
    assert Estimate.of(Metric(math.nan, np.array([0.4]), "why")).note == "why"
    assert str(Estimate.of(Metric(math.nan, np.array([0.4]), "why"))) == "—"


def test_a_p_value_is_never_printed_as_zero() -> None:
    assert [p_text(p) for p in (0.0314, 0.0004, 1.0, math.nan)] == ["p = 0.031", "p < 0.001", "p = 1.000", "—"]
