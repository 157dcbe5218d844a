"""A run folder is read whole, or refused with the reason."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slidesurv.errors import DataError
from slidesurv.files import read_csv
from slidesurv.report.read import dotted, read_facts, read_run

Made = Callable[..., Path]


def test_a_fold_keeps_its_test_patients_and_the_median_risk_of_its_training_patients(clean_run: Path) -> None:
    result = read_run(clean_run).methods[0].results[1, 2]
    rows = read_csv(clean_run / "good/seed1/fold2/predictions.csv")
    assert result.patients == tuple(sorted(row["patient_id"] for row in rows if row["split"] == "test"))
    assert result.cut == np.median([float(row["risk"]) for row in rows if row["split"] == "train"])
    assert result.survival.shape == (20, 4)
    assert np.isnan(result.history["tune_c_index"][0])


def test_a_fold_keeps_the_follow_up_of_its_training_patients_alone(clean_run: Path) -> None:
    result = read_run(clean_run).methods[0].results[1, 2]
    rows = sorted(read_csv(clean_run / "good/seed1/fold2/predictions.csv"), key=lambda row: row["patient_id"])
    train = [row for row in rows if row["split"] == "train"]
    assert result.training_time.tolist() == [float(row["time_months"]) for row in train]
    assert result.training_event.tolist() == [row["event"] == "True" for row in train]


def test_pooling_lines_up_every_seed_over_the_same_patients(clean_run: Path) -> None:
    method = read_run(clean_run).methods[0]
    patients = method.pool(lambda result: np.array(result.patients))
    assert patients.shape == (2, 60)
    assert (patients[0] == patients[1]).all()
    assert len(set(patients[0])) == 60
    assert method.follow_up()[2].tolist() == [0] * 20 + [1] * 20 + [2] * 20


def test_a_failed_fold_is_named_with_its_reason_and_not_complete(made: Made) -> None:
    run = read_run(made(failed=("poor", 1, 2)))
    assert [(failure.name, failure.reason) for failure in run.failures] == [("Plain, seed 1, fold 2", "Loss is NaN.")]
    assert run.methods[0].complete == (0, 1, 2)
    assert run.methods[1].complete == (0, 1)


def test_a_fold_that_vanished_without_a_word_is_a_failure_too(made: Made) -> None:
    folder = made()
    (folder / "good/seed0/fold1/fold.json").unlink()
    failure = read_run(folder).failures[0]
    assert failure.name == "Taught, seed 0, fold 1"
    assert "run the same command again" in failure.reason


def test_a_fold_that_failed_for_all_seeds_with_one_reason_is_told_once(made: Made) -> None:
    folder = made()
    facts = json.loads((folder / "run.json").read_text())
    facts["failures"] = [{"name": "Plain, fold 1", "reason": "No site is known."}]
    (folder / "run.json").write_text(json.dumps(facts))
    for seed in (0, 1):
        (folder / f"poor/seed{seed}/fold1/fold.json").unlink()
    assert [failure.name for failure in read_run(folder).failures] == ["Plain, fold 1"]


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no 'run.json'. Give a folder"):
        read_run(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "leakfre"}, "Did you mean 'leakfree'"),
        ({"methods": []}, "names no method"),
        ({"methods": [{"label": "Up", "slug": "../../up"}]}, "leads out of"),
    ],
)
def test_a_foreign_run_json_is_refused(made: Made, change: dict, message: str) -> None:
    path = made() / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        read_run(path.parent)


def test_a_run_json_of_another_program_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"protocol": "paper", "seeds": [0], "folds": 3}')
    with pytest.raises(DataError, match="lacks 'cohort', 'experiment', 'methods'"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["3", "null", "[{}]", '"run"'])
def test_a_run_json_that_holds_no_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"lacks every name: it was not written by crossval\."):
        read_facts(tmp_path)


def test_nested_settings_are_named_by_dotted_keys() -> None:
    assert dotted({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": []}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("risk", "nan", "1 of 20 values in column 'risk'"),
        ("risk_zeroed", "", "1 of 20 values in column 'risk_zeroed'"),
        ("S_2", "", "1 of 20 values in column 'S_2'"),
        ("time_months", "soon", "Column 'time_months' .* holds no number"),
        ("event", "2", "Column 'event' .* holds '2.0': 1 = death seen"),
    ],
)
def test_a_value_that_is_no_number_is_an_error_and_no_patient_is_left_out(
    made: Made, column: str, value: str, message: str
) -> None:
    path = made() / "good/seed0/fold0/predictions.csv"
    head, *rows = path.read_text().splitlines()
    cells = rows[0].split(",")  # P00, a test patient of fold 0
    cells[head.split(",").index(column)] = value
    path.write_text("\n".join([head, ",".join(cells), *rows[1:]]))
    with pytest.raises(DataError, match=message):
        read_run(path.parents[3])


def test_two_runs_mixed_in_one_folder_are_refused(made: Made) -> None:
    folder = made()
    other = made("other", silent_fold=1)
    source, target = (place / "poor/seed1/fold1/predictions.csv" for place in (other, folder))
    target.write_bytes(source.read_bytes())
    with pytest.raises(DataError, match="Fold 1 of 'poor', seed 1, has other patients or follow-up"):
        read_run(folder)


def test_a_fold_that_was_taught_other_follow_up_is_refused(made: Made) -> None:
    path = made() / "poor/seed1/fold1/predictions.csv"
    path.write_text(re.sub(r",train,(.*),False,A", r",train,\1,True,A", path.read_text(), count=1))
    with pytest.raises(DataError, match="Fold 1 of 'poor', seed 1, has other patients or follow-up"):
        read_run(path.parents[3])


def test_predictions_without_training_patients_are_refused(made: Made) -> None:
    path = made() / "poor/seed0/fold0/predictions.csv"
    path.write_text(path.read_text().replace("train", "tune"))
    with pytest.raises(DataError, match="0 training and 20 test patients"):
        read_run(path.parents[3])
