"""Every metric of every method: its value, and what is said where there is none."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.report.accuracy import Accuracy
from slidesurv.report.differences import judge_differences
from slidesurv.report.jury import Jury
from slidesurv.report.metrics import CURVELESS, measure
from slidesurv.report.read import read_run
from slidesurv.report.records import write_metrics
from slidesurv.report.run import Method, Run
from slidesurv.report.table import compare
from slidesurv.survival.accuracy import survival_at
from slidesurv.survival.calibration import brier, d_calibration, integrated_brier, own_survival
from slidesurv.survival.discrimination import dynamic_auc, uno_c
from slidesurv.survival.effects import hazard_ratio, restricted_mean_difference

Made = Callable[..., Path]
GOOD, POOR = 0, 1


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


@pytest.fixture(scope="module")
def jury(run: Run) -> Jury:
    return Jury(run, resamples=60)


@pytest.fixture(scope="module")
def measured(jury: Jury) -> Accuracy:
    return measure(jury)


def changed(method: Method, **values: object) -> Method:
    return replace(method, results={key: replace(result, **values) for key, result in method.results.items()})


def of(run: Run, **values: object) -> Accuracy:
    """The accuracy of a run whose methods have other values in all their results."""
    methods = tuple(changed(method, **values) for method in run.methods)
    return measure(Jury(replace(run, methods=methods), resamples=20))


def test_metrics_of_risk_are_means_over_seeds_of_the_pooled_metric(jury: Jury, measured: Accuracy) -> None:
    method, found = jury.run.methods[GOOD], measured.rows[GOOD].estimates
    evidence, risks = jury.evidence(method), method.pool(lambda result: result.risk)
    high = method.pool(lambda result: result.risk >= result.cut)
    assert found["uno_c"].value == pytest.approx(np.mean([uno_c(evidence, risk, tau=36).value for risk in risks]))
    assert found["auc_12"].value == pytest.approx(np.mean([dynamic_auc(evidence, risk, at=12).value for risk in risks]))
    ahead = [restricted_mean_difference(evidence, group, tau=36).value for group in high]
    assert found["months_ahead"].value == pytest.approx(np.mean(ahead))
    assert all(found[key].low < found[key].value < found[key].high for key in ("harrell_c", "uno_c", "months_ahead"))


def test_hazard_ratios_of_seeds_are_averaged_as_ratios(jury: Jury, measured: Accuracy) -> None:
    method = jury.run.methods[POOR]
    evidence = jury.evidence(method)
    one, two = (hazard_ratio(evidence, risk).value for risk in method.pool(lambda result: result.risk))
    assert measured.rows[POOR].estimates["hazard_ratio"].value == pytest.approx(math.sqrt(one * two))


def test_metrics_of_curves_stand_beside_those_of_kaplan_meier(jury: Jury, measured: Accuracy) -> None:
    method, found = jury.run.methods[GOOD], measured.rows[GOOD].estimates
    evidence, span = jury.evidence(method), np.linspace(0, 36, 61)
    null = integrated_brier(evidence, evidence.expected(span), span).value
    alive = method.pool(lambda result: survival_at(result.edges, result.survival, 12.0))
    assert found["brier_12"].value == pytest.approx(np.mean([brier(evidence, each, at=12).value for each in alive]))
    assert found["kaplan_meier_brier"].value == pytest.approx(null)
    assert found["skill"].value == pytest.approx(1 - found["integrated_brier"].value / null)


def test_d_calibration_is_the_median_over_seeds(jury: Jury, measured: Accuracy) -> None:
    method = jury.run.methods[POOR]
    own = method.pool(lambda result: own_survival(result.edges, result.survival, result.time))
    p = np.median([d_calibration(jury.evidence(method), alive).p for alive in own])
    assert measured.rows[POOR].estimates["d_calibration_p"].value == pytest.approx(p)


def test_the_shares_of_d_calibration_are_means_over_seeds_with_an_interval_each(jury: Jury, measured: Accuracy) -> None:
    method, shares = jury.run.methods[POOR], measured.rows[POOR].shares
    own = method.pool(lambda result: own_survival(result.edges, result.survival, result.time))
    tests = [d_calibration(jury.evidence(method), alive) for alive in own]
    assert [share.value for share in shares] == pytest.approx(100 * np.mean([test.share for test in tests], axis=0))
    ends = 100 * np.quantile(np.mean([test.samples for test in tests], axis=0), [0.025, 0.975], axis=0)
    assert [(share.low, share.high) for share in shares] == [pytest.approx(pair) for pair in ends.T]


def test_d_calibration_does_not_count_a_patient_twice(run: Run) -> None:
    once = run.methods[POOR]
    results = once.results | {(s, k + 3): result for (s, k), result in once.results.items()}
    twice = replace(once, results=results, complete=tuple(range(6)))
    found = [
        measure(Jury(replace(run, methods=(method,), folds=folds), resamples=5)).rows[0].estimates["d_calibration_p"]
        for method, folds in ((once, 3), (twice, 6))
    ]
    assert found[0].value == pytest.approx(found[1].value)


def test_a_method_with_one_time_bin_has_its_order_measured_and_a_reason_for_the_rest(run: Run) -> None:
    ratio = changed(run.methods[GOOD], survival=np.full((20, 1), 0.5), edges=np.array([0.0, 80.0]))
    accuracy = measure(Jury(replace(run, methods=(ratio, run.methods[POOR])), resamples=20))
    row = accuracy.rows[0].estimates
    for column in accuracy.about("survival"):
        assert column.text(row[column.key]) == "—" and row[column.key].note == CURVELESS
    assert all(column.text(row[column.key]) != "—" for column in accuracy.about("order"))
    told = [note for note in accuracy.notes("survival") if CURVELESS in note]
    assert told == [f"Taught ({', '.join(c.title for c in accuracy.about('survival'))}): {CURVELESS}."]


def test_years_that_nobody_was_watched_for_are_left_out_and_said(run: Run, measured: Accuracy) -> None:
    assert measured.months == (12, 36)  # the longest-watched test patient leaves before 60
    assert measured.months_note == "Nothing is judged at 60 months: patients were watched for 58.4 months only."
    assert "Uno's C, tau = 36 months" in [column.title for column in measured.about("order")]
    times = np.linspace(1, 9, 20)
    short = of(run, time=times, training_time=np.linspace(1, 9, 40))
    assert short.months == (5,)
    assert short.months_note.endswith("for 9 months only. The middle of their times, 5 months, stands in.")
    assert "auc_5" in short.rows[0].estimates


def test_months_in_the_last_bin_are_warned_of(run: Run, measured: Accuracy) -> None:
    assert measured.bins_note.startswith("Beware of 36 months: the last time bin begins at 30 months and ends at 80.")
    assert of(run, edges=np.array([0.0, 10.0, 20.0, 40.0, 80.0])).bins_note == ""


def test_nobody_dying_leaves_dashes_with_their_reason_and_no_number(run: Run) -> None:
    accuracy = of(run, event=np.zeros(20, dtype=bool))
    assert [row.shares for row in accuracy.rows] == [(), ()]
    for row in accuracy.rows:
        for column in accuracy.columns:
            shown, note = column.text(row.estimates[column.key]), row.estimates[column.key].note
            assert shown == "—" and ("no death" in note or "0 deaths" in note)


def test_one_risk_for_all_is_a_c_index_of_one_half_with_a_note_and_no_hazard_ratio(run: Run) -> None:
    flat = of(run, risk=np.zeros(20), cut=0.0).rows[0].estimates
    assert flat["harrell_c"].value == flat["uno_c"].value == flat["auc_12"].value == 0.5
    assert flat["uno_c"].note == "all patients have one risk in 3 of 3 folds"
    assert math.isnan(flat["hazard_ratio"].value) and "one value" in flat["hazard_ratio"].note
    assert flat["months_ahead"].note == "all 60 test patients are called high risk"


def test_a_method_that_did_not_finish_keeps_its_row(run: Run) -> None:
    nothing = replace(run.methods[POOR], results={}, complete=())
    accuracy = measure(Jury(replace(run, methods=(run.methods[GOOD], nothing)), resamples=20))
    assert {estimate.note for estimate in accuracy.rows[1].estimates.values()} == {
        "no fold was finished for every seed"
    }
    assert measure(Jury(replace(run, methods=(nothing,)), resamples=20)).months == (12, 36, 60)
    part = replace(run.methods[POOR], complete=(0, 2))
    some = measure(Jury(replace(run, methods=(run.methods[GOOD], part)), resamples=20))
    assert some.notes("order")[0] == "Plain: on 2 of 3 folds."


def test_what_is_true_of_many_methods_and_metrics_is_said_once(run: Run) -> None:
    notes = of(run, risk=np.zeros(20), cut=0.0).notes("order")
    told = (
        "Taught, Plain (Harrell's C, Uno's C, tau = 36 months, AUC, 12 months, AUC, 36 months): all patients have one"
    )
    assert len([note for note in notes if note.startswith(told)]) == 1
    assert len(notes) == 3


def test_metrics_on_disk_have_a_row_each_and_a_reason_where_there_is_no_value(made: Made, tmp_path: Path) -> None:
    jury = Jury(read_run(made(silent_fold=1, failed=("poor", 1, 2), protocol="paper")), resamples=20)
    comparison, accuracy = compare(jury), measure(jury)
    write_metrics(comparison, judge_differences(jury, comparison), accuracy, tmp_path)
    with (tmp_path / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == len(accuracy.columns) * 2
    assert {row["stamp"] for row in rows} == {"OPTIMISTIC"}
    assert all(row["value"] or row["note"] for row in rows)
    first, second = json.loads((tmp_path / "metrics.json").read_text())
    assert first["metrics"]["uno_c"]["value"] == accuracy.rows[0].estimates["uno_c"].value
    assert len(first["d_calibration_shares"]) == 10 and first["d_calibration_shares"][0]["high"] > 0
    assert first["noise"] is None and second["noise"]["over_folds"]["p"] is None
    assert first["fold_1"] is None and "0 deaths among 20 test patients" in first["notes"][0]
    assert "nan" not in (tmp_path / "metrics.json").read_text().lower()
