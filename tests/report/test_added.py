"""What is added to the clinical baseline, by the C-index and by the likelihood."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.report.accuracy import Accuracy
from slidesurv.report.added import added, asked
from slidesurv.report.jury import Jury
from slidesurv.report.metrics import measure
from slidesurv.report.page import write_report
from slidesurv.report.read import read_run
from slidesurv.report.run import Method, Run
from slidesurv.survival.added_value import likelihood_ratio

Made = Callable[..., Path]


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    """ "Taught" beside a clinical baseline, which is what "Plain" is elsewhere, and the two together."""
    run = read_run(clean_run)
    good, poor = run.methods
    clinical = replace(poor, label="clinical Cox", slug="baseline-clinical")
    both = replace(good, label="Taught + clinical", slug="good-with-clinical")
    return replace(run, methods=(good, clinical, both))


def scaled(method: Method) -> np.ndarray:
    """(S, B) risks of every seed in standard deviations of their fold."""
    pooled, (_, _, fold) = method.pool(lambda result: result.risk), method.follow_up()
    return np.stack(
        [
            np.concatenate([(r[fold == k] - r[fold == k].mean()) / r[fold == k].std(ddof=1) for k in range(3)])
            for r in pooled
        ]
    )


def measured(run: Run) -> Accuracy:
    return measure(Jury(run, resamples=40))


def test_the_test_is_that_of_the_risk_averaged_over_seeds(run: Run) -> None:
    method, clinical, _ = run.methods
    found = measured(run).rows[0].estimates
    time, event, fold = method.follow_up()
    theirs = likelihood_ratio(scaled(method).mean(0), scaled(clinical).mean(0), time, event, strata=fold)
    assert found["added_chi2"].value == pytest.approx(theirs.statistic) and theirs.statistic > 4
    assert found["added_p"].value == pytest.approx(theirs.p)


def test_the_gain_is_the_c_index_of_both_minus_the_clinical_one_on_the_same_resamples(run: Run) -> None:
    jury = Jury(run, resamples=40)
    _, clinical, both = run.methods
    gain = measure(jury).rows[0].estimates["added_c"]
    assert gain.value == pytest.approx(jury.index(both).value - jury.index(clinical).value)
    assert gain.low < gain.value < gain.high


def test_what_holds_the_clinical_baseline_is_not_asked_what_it_adds(run: Run) -> None:
    accuracy = measured(run)
    assert [row.label for row in accuracy.beside_clinical] == ["Taught"]
    told = accuracy.notes("clinical")
    assert len(told) == 1
    assert told[0].startswith("clinical Cox, Taught + clinical (") and "is part of it" in told[0]


def test_a_run_without_a_clinical_baseline_has_no_such_columns(clean_run: Path) -> None:
    run = read_run(clean_run)
    assert not asked(run) and not measured(run).about("clinical")
    assert "What is added to the chart" not in write_report(clean_run).read_text()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"baselines.names": ["null", "clinical"]}, "no clinical baseline was fitted: see the failures"),
        ({"baselines.with_clinical": True}, "no clinical baseline is in [baselines] names"),
    ],
)
def test_a_baseline_that_was_asked_for_and_is_not_there_is_a_dash_with_its_reason(run: Run, settings, why) -> None:
    row = measured(replace(run, methods=run.methods[:1], settings=settings)).rows[0].estimates
    assert {row[key].note for key in ("added_c", "added_chi2", "added_p")} == {why}


def test_a_method_that_was_not_weighed_has_its_test_and_a_reason_instead_of_its_gain(run: Run) -> None:
    row = measured(replace(run, methods=run.methods[:2])).rows[0].estimates
    assert row["added_c"].note.endswith("set [baselines] with_clinical = true")
    assert row["added_chi2"].value > 0


def test_folds_that_only_one_of_them_finished_are_left_out_and_said(run: Run) -> None:
    method, clinical, _ = run.methods
    some = Jury(replace(run, methods=(method, replace(clinical, complete=(0, 2)))), resamples=5)
    assert added(some, method)["added_p"].note == "tested on folds 0, 2 only"
    none = Jury(replace(run, methods=(method, replace(clinical, complete=()))), resamples=5)
    assert "finished by both this method and clinical Cox" in added(none, method)["added_p"].note


def test_nobody_dying_leaves_a_dash_with_its_reason(run: Run) -> None:
    alive = tuple(
        replace(m, results={key: replace(r, event=np.zeros(20, dtype=bool)) for key, r in m.results.items()})
        for m in run.methods
    )
    row = measured(replace(run, methods=alive)).rows[0].estimates
    assert math.isnan(row["added_p"].value) and row["added_p"].note == "no death among 60 test patients"


def test_a_patient_whom_several_folds_judge_is_not_tested_twice(run: Run) -> None:
    again = tuple(
        replace(m, results=m.results | {(s, k + 3): r for (s, k), r in m.results.items()}, complete=tuple(range(6)))
        for m in run.methods
    )
    once, twice = (added(Jury(replace(run, methods=each), resamples=5), each[0]) for each in (run.methods, again))
    assert once["added_chi2"].value == pytest.approx(twice["added_chi2"].value)


def test_the_page_and_the_files_tell_it(made: Made) -> None:
    folder = made()
    facts = json.loads((folder / "run.json").read_text())
    facts["methods"][1] |= {"slug": "baseline-clinical", "label": "clinical Cox"}
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "poor").rename(folder / "baseline-clinical")
    page = write_report(folder).read_text()
    section = page[page.index("What is added to the chart") : page.index("Is the predicted survival right")]
    assert "p &lt; 0.001" in section or "p = 0." in section
    assert "with_clinical = true" in section
    with (folder / "metrics.csv").open() as lines:
        rows = {row["metric"]: row for row in csv.DictReader(lines) if row["slug"] == "good"}
    assert 0 < float(rows["added_p"]["value"]) < 0.05 and float(rows["added_chi2"]["value"]) > 4
    assert json.loads((folder / "metrics.json").read_text())[0]["metrics"]["added_c"]["value"] is None
