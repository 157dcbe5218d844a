"""Baselines stand in the table beside the methods: the same patients, the same files, no step of training."""

import pytest

from slidesurv.cohorts.baselines import BASELINES
from slidesurv.cohorts.study import open_study
from slidesurv.config.read import read_experiment
from slidesurv.files import read_csv, read_json, write_json
from slidesurv.report.read import read_run
from slidesurv.training.baselines import beside, named, write_baselines, write_combined
from slidesurv.training.crossval import plan, run_jobs


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    """A run of one method with seeds 1 and 2, all baselines beside it, and its experiment."""
    folder = tmp_path_factory.mktemp("run")
    sets = ["training.epochs=1", "training.seeds=[1, 2]", "splits.tune=0.5", 'models=[{name="attnmil", dim=16}]']
    experiment = read_experiment(small / "small.toml", [*sets, "baselines.names=[]"])
    run_jobs(plan(experiment, folder))
    study = open_study(experiment)
    facts = read_json(folder / "run.json")
    methods, failures = write_baselines(study, folder)
    added, reasons = write_combined(study, folder, facts["methods"][0])
    facts["methods"] += methods + added
    facts["failures"] += failures + reasons
    write_json(folder / "run.json", facts)
    return folder, experiment


def test_what_can_be_fitted_stands_in_the_table_and_the_rest_has_its_reason(finished):
    folder, _ = finished
    run = read_run(folder)
    labels = [method.label for method in run.methods]
    assert labels == ["attnmil", "null", "site only", "mean tiles + Cox", "expression + Cox"]
    reasons = {failure.name: failure.reason for failure in run.failures}
    assert "differ in none of 'age'" in reasons["clinical Cox, fold 0"]
    assert "differ in none of 'age'" in reasons["attnmil + clinical, fold 1"]
    assert (run.methods[1].pool(lambda result: result.risk) == 0).all()


def test_a_baseline_judges_the_patients_of_the_methods_at_the_same_months(finished):
    folder, _ = finished
    run = read_run(folder)
    method, *others = run.methods
    for other in others:
        assert other.complete == method.complete
        for key, result in method.results.items():
            assert other.results[key].patients == result.patients
            assert (other.results[key].edges == result.edges).all()
    assert (folder / "baseline-site/seed1/fold0/predictions.csv").read_bytes() == (
        folder / "baseline-site/seed2/fold0/predictions.csv"
    ).read_bytes()


def with_ages(small, folder, *sets):
    """The small cohort with an age for everybody."""
    rows = [row | {"age": 40 + n} for n, row in enumerate(read_csv(small / "data" / "cohort.csv"))]
    text = "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)])
    (folder / "cohort.csv").write_text(text)
    return read_experiment(small / "small.toml", [f"cohort.table={folder / 'cohort.csv'}", *sets])


def say_nothing(folder, study, seeds, *, risk=lambda n: n % 7):
    """Predictions of a method that did not look."""
    for seed in seeds:
        for fold, split in enumerate(study.splits):
            place = folder / "method" / f"seed{seed}" / f"fold{fold}"
            place.mkdir(parents=True)
            rows = [
                f"{patient},{part},{risk(n)}"
                for part in ("train", "tune", "test")
                for n, patient in enumerate(getattr(split, part))
            ]
            (place / "predictions.csv").write_text("\n".join(["patient_id,split,risk", *rows]))


def test_without_names_all_stand_there_for_which_there_are_data(small, tmp_path, caplog):
    aged = open_study(with_ages(small, tmp_path))
    assert named(aged) == tuple(BASELINES)
    aged.dataset.expression = None
    assert named(aged) == ("null", "site", "clinical", "mean-tiles")
    study = open_study(read_experiment(small / "small.toml", ['models=[{name="snn"}]']))
    [(methods, failures)] = beside(study, tmp_path, [])
    assert [method["label"] for method in methods] == ["null", "site only", "expression + Cox"] and not failures
    assert (
        "left out: 'clinical' wants a clinical covariate in which patients differ; 'mean-tiles' wants a" in caplog.text
    )


def test_names_are_taken_as_they_are_and_none_are_none(small, tmp_path, caplog):
    study = open_study(read_experiment(small / "small.toml", ['baselines.names=["clinical"]']))
    [(methods, failures)] = beside(study, tmp_path, [])
    assert methods == [] and len(failures) == 2
    assert [*beside(open_study(read_experiment(small / "small.toml", ["baselines.names=[]"])), tmp_path, [])] == []
    assert "left out" not in caplog.text


METHOD = {"label": "Method", "slug": "method", "slides": "always", "genomics": "never"}


def test_a_method_and_the_chart_are_weighed_where_the_method_was_not_fitted(small, tmp_path):
    study = open_study(with_ages(small, tmp_path, "splits.tune=0.5"))
    say_nothing(tmp_path, study, [1])
    methods, missed = write_combined(study, tmp_path, METHOD)
    assert (missed, methods[0]["label"], methods[0]["slides"]) == ([], "Method + clinical", "always")
    rows = read_csv(tmp_path / "method-with-clinical/seed1/fold0/predictions.csv")
    assert {row["patient_id"] for row in rows if row["split"] == "test"} == set(study.splits[0].test)
    first = [row["risk"] for row in rows]
    # what is said of training and test patients cannot change the weights, so a shift there moves those risks alone
    for fold in range(2):
        path = tmp_path / f"method/seed1/fold{fold}/predictions.csv"
        lines = [line.split(",") for line in path.read_text().splitlines()]
        shifted = [[a, b, c if b in ("split", "tune") else str(int(c) + 50)] for a, b, c in lines]
        path.write_text("\n".join(",".join(line) for line in shifted))
    write_combined(study, tmp_path, METHOD)
    again = read_csv(tmp_path / "method-with-clinical/seed1/fold0/predictions.csv")
    kept = [row["split"] == "tune" for row in rows]
    assert [a for a, k in zip(first, kept, strict=True) if k] == [r["risk"] for r in again if r["split"] == "tune"]


def test_the_published_protocol_has_nobody_to_weigh_on_and_says_so(small, tmp_path):
    study = open_study(with_ages(small, tmp_path, "training.protocol=paper"))
    say_nothing(tmp_path, study, [1])
    methods, missed = write_combined(study, tmp_path, METHOD)
    assert methods == [] and len(missed) == 2
    assert "Fold 0 keeps no tuning part, so 'method' has no risk of anybody" in missed[0]["reason"]
    assert len(write_baselines(study, tmp_path)[0]) == len(BASELINES)
