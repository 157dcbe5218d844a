"""Cross-validation: everyone judged once, nothing learnt from who judges, the same bytes however it was run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from slidesurv.cohorts.leaks import examine
from slidesurv.cohorts.splits import kfold, write_splits
from slidesurv.cohorts.study import open_study, read_cohort
from slidesurv.config.experiment import Experiment
from slidesurv.config.read import read_experiment
from slidesurv.config.training import TrainingSection
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, write_csv
from slidesurv.models.attnmil import AttnMIL
from slidesurv.models.snn import SNN
from slidesurv.report.read import read_run
from slidesurv.slides.store import write_features
from slidesurv.training.bundle import read_bundle
from slidesurv.training.crossval import plan, run_fold, run_jobs
from training_runs import contents

FILES = {"table": "cohort.csv", "features": "features", "expression": "expression.csv"}


@pytest.fixture(scope="module")
def run_folder(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run_jobs(plan(read_experiment(small / "small.toml"), folder), command="slidesurv crossval small.toml")
    return folder


def test_every_patient_is_judged_once_by_every_model(run_folder):
    for slug in ("vgat", "attnmil", "snn"):
        rows = [row for path in run_folder.glob(f"{slug}/seed1/fold*/predictions.csv") for row in read_csv(path)]
        judged = [row["patient_id"] for row in rows if row["split"] == "test"]
        assert len(judged) == len(set(judged)) == 40
        assert {row["split"] for row in rows} == {"train", "tune", "test"}


def test_what_a_closer_look_at_the_cohort_finds_stands_in_the_record(small, run_folder):
    study = open_study(read_experiment(small / "small.toml"))
    found = tuple((finding.kind, finding.text) for finding in examine(study.dataset.cohort, study.splits))
    run = read_run(run_folder)
    assert run.findings == found and ("note", "No features were looked at.") in found
    assert "C-index" not in " ".join(run.audit_verdict)  # of the site, which is said once


def test_the_columns_of_predictions_are_the_contract(run_folder):
    header = (run_folder / "snn/seed1/fold0/predictions.csv").read_text().splitlines()[0].split(",")
    wanted = {"patient_id", "fold", "split", "risk", "S_0", "S_1", "S_2", "time_months", "event", "site", "model_hash"}
    assert wanted | {"n_slides", "n_tiles"} == set(header)


def test_risk_is_minus_the_sum_of_survival(run_folder):
    for row in read_csv(run_folder / "attnmil/seed1/fold0/predictions.csv"):
        assert float(row["risk"]) == pytest.approx(-sum(float(row[f"S_{k}"]) for k in range(3)), abs=1e-6)


def test_a_model_that_rebuilds_genomes_is_judged_on_it(run_folder):
    rows = read_csv(run_folder / "vgat/seed1/fold0/reconstruction.csv")
    test = [r for r in read_csv(run_folder / "vgat/seed1/fold0/predictions.csv") if r["split"] == "test"]
    assert {row["patient_id"] for row in rows} == {row["patient_id"] for row in test}
    assert all(1 <= int(row["rank"]) <= int(row["candidates"]) == len(test) for row in rows)
    assert all(float(row["kl"]) >= 0 for row in rows)
    assert not (run_folder / "attnmil/seed1/fold0/reconstruction.csv").exists()


def test_the_kept_epoch_has_the_lowest_tuning_loss(run_folder):
    for path in run_folder.glob("*/seed1/fold*/history.csv"):
        place, history = path.parent, read_csv(path)
        best = min(history, key=lambda row: float(row["tune_nll"]))
        assert json.loads((place / "fold.json").read_text())["epoch"] == int(best["epoch"])
        assert not any("test" in column for column in history[0])


def test_what_is_finished_is_not_run_again(small, run_folder):
    before = contents(run_folder)
    outcomes = run_jobs(
        plan(read_experiment(small / "small.toml"), run_folder), command="slidesurv crossval small.toml"
    )
    assert {outcome.status for outcome in outcomes} == {"skipped"}
    assert contents(run_folder) == before


def test_a_folder_of_another_experiment_is_refused(small, run_folder):
    with pytest.raises(ConfigError, match=r"folds of another experiment.*--output"):
        plan(read_experiment(small / "small.toml", ["training.learning_rate=0.1"]), run_folder)


def test_two_workers_write_the_same_bytes_as_one(small, run_folder, tmp_path):
    run_jobs(plan(read_experiment(small / "small.toml"), tmp_path), workers=2, command="slidesurv crossval small.toml")
    assert contents(tmp_path) == contents(run_folder)


def test_a_run_that_is_killed_and_started_again_writes_the_same_bytes(small, run_folder, tmp_path):
    program = (
        "import pathlib; from slidesurv.config.read import read_experiment; from slidesurv.training.crossval import *\n"
        f"jobs = plan(read_experiment(pathlib.Path({str(small / 'small.toml')!r})), pathlib.Path({str(tmp_path)!r}))\n"
        "run_jobs(jobs, command='slidesurv crossval small.toml')"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    while not list(tmp_path.glob("attnmil/*/*/checkpoint.safetensors")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run.json").exists()
    subprocess.run([sys.executable, "-c", program], check=True)
    healed = {name: data for name, data in contents(tmp_path).items() if not name.split("/")[-1].startswith(".")}
    assert healed == contents(run_folder)


def test_a_fold_that_cannot_be_fitted_fails_alone_and_is_named(small, tmp_path):
    data = shutil.copytree(small / "data", tmp_path / "data")
    settings = ["splits.tune=0", "baselines.names=[]", *(f"cohort.{k}='{data / v}'" for k, v in FILES.items())]
    experiment = read_experiment(small / "small.toml", settings)
    spoilt = open_study(experiment).splits[0].train[0]  # it teaches fold 0 and is judged in fold 1
    with h5py.File(data / "features" / f"{spoilt}-01.h5", "a") as file:
        file["features"][0, 0] = np.nan
    outcomes = run_jobs(plan(experiment, tmp_path / "run"))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert {outcome.name.split(",")[0] for outcome in failed} >= {"vgat", "attnmil"}
    assert all(f"{spoilt}-01" in outcome.reason for outcome in failed)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [failure["name"] for failure in run["failures"]] == [outcome.name for outcome in failed]


def test_data_that_changed_since_are_not_mistaken_for_the_same(small, tmp_path):
    data = shutil.copytree(small / "data", tmp_path / "data")
    experiment = read_experiment(small / "small.toml", [f"cohort.{k}='{data / v}'" for k, v in FILES.items()])
    run_jobs(plan(experiment, tmp_path / "run")[:1])
    rows = read_csv(data / "expression.csv")
    rows[0]["GENE000"] = "1.25"
    write_csv(data / "expression.csv", rows, list(rows[0]))
    with pytest.raises(ConfigError, match="folds of another experiment"):
        plan(experiment, tmp_path / "run")


def test_the_same_data_in_another_place_are_the_same_experiment(small, run_folder, tmp_path):
    shutil.copytree(small, tmp_path / "moved")
    experiment = read_experiment(tmp_path / "moved" / "small.toml", ["training.checkpoint_seconds=9"])
    assert all(job.finished.exists() for job in plan(experiment, run_folder))


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(small, run_folder, tmp_path):
    text = read_experiment(small / "small.toml").model_dump_json()
    place = tmp_path / "attnmil" / "seed1" / "fold0"
    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr("slidesurv.training.crossval.write_json", interrupt_at_epoch_2)
        run_fold(
            read_experiment(small / "small.toml", ["training.learning_rate=0.1"]).model_dump_json(), 1, 1, 0, tmp_path
        )
    assert (place / "checkpoint.safetensors").exists()
    run_fold(text, 1, 1, 0, tmp_path)
    assert (place / "history.csv").read_bytes() == (run_folder / "attnmil/seed1/fold0/history.csv").read_bytes()


def interrupt_at_epoch_2(path, value):
    if value == {"epoch": 2}:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["cohort.features="], "reads slides: set"),
        (["cohort.expression=", "genomics.embedding=none"], "is taught by a genomic embedding, and there is none"),
        (["training.device=cuda:9"], "Device 'cuda:9'"),
    ],
)
def test_what_a_model_needs_is_asked_for_before_any_training(small, tmp_path, sets, words):
    experiment = read_experiment(small / "small.toml")
    values = experiment.model_dump(mode="json")
    for key, _, value in (item.partition("=") for item in sets):
        section, name = key.split(".")
        values[section][name] = value or None
    with pytest.raises(ConfigError, match=words):
        plan(Experiment.model_validate(values), tmp_path)
    assert not list(tmp_path.iterdir())


def test_patients_without_expression_are_named_or_left_out_for_every_model(small, tmp_path):
    rows = read_csv(small / "data" / "expression.csv")[2:]
    write_csv(tmp_path / "expression.csv", rows, list(rows[0]))
    sets = [f"cohort.expression='{tmp_path / 'expression.csv'}'"]
    with pytest.raises(DataError, match=r"2 of 40 patients have no expression.*SYN-0000.*missing"):
        plan(read_experiment(small / "small.toml", sets), tmp_path / "run")
    jobs = plan(read_experiment(small / "small.toml", [*sets, "genomics.missing=drop"]), tmp_path / "run")
    assert len(jobs[0].study.dataset.cohort) == 38
    assert dict(jobs[0].study.dataset.cohort.dropped) == {"SYN-0000": "no genomics", "SYN-0001": "no genomics"}


def test_a_rebuilt_genome_is_tried_at_zero_and_swapped(run_folder):
    rows = read_csv(run_folder / "vgat/seed1/fold0/predictions.csv")
    for row in rows:
        tried = [row["risk_zeroed"], row["risk_shuffled"]]
        assert all(tried) == (row["split"] == "test")
        if row["split"] == "test":
            assert len({row["risk"], *tried}) == 3
    assert json.loads((run_folder / "vgat/seed1/fold0/fold.json").read_text())["gradient_ratio"] > 0
    assert json.loads((run_folder / "snn/seed1/fold0/fold.json").read_text())["gradient_ratio"] is None


def poisoned(small, folder, split):
    """The same cohort, with test patients turned into something else altogether."""
    random = np.random.default_rng(5)
    tables = {name: read_csv(small / "data" / f"{name}.csv") for name in ("cohort", "expression")}
    for row in tables["cohort"]:
        if row["patient_id"] in split.test:
            row["time_months"], row["event"] = "0.5", str(1 - int(row["event"]))
        if row["patient_id"] in split.test:
            path = folder / "features" / f"{row['slide_id']}.h5"
            write_features(path, random.normal(1e4, 1e5, (30, 10)), np.zeros((30, 2), int), encoder="synthetic")
        else:
            (folder / "features").mkdir(parents=True, exist_ok=True)
            name = f"{row['slide_id']}.h5"
            (folder / "features" / name).write_bytes((small / "data" / "features" / name).read_bytes())
    for row in tables["expression"]:
        if row["patient_id"] in split.test:
            row.update(dict.fromkeys(list(row)[1:], "9.9"))
    for name, rows in tables.items():
        write_csv(folder / f"{name}.csv", rows, list(rows[0]))


def fitted_twice(small, tmp_path, *, place, sets=()):
    """What one model's bundle holds, once as the cohort is and once with poisoned test patients."""
    cohort = read_cohort(read_experiment(small / "small.toml").cohort)
    splits = kfold(cohort, folds=2)
    write_splits(tmp_path / "splits.json", splits, origin="kfold")
    poisoned(small, tmp_path / "poisoned", splits[0])
    fitted = []
    for data in (small / "data", tmp_path / "poisoned"):
        settings = [
            *(f"cohort.{key}='{data / name}'" for key, name in FILES.items()),
            *(*sets, "training.epochs=3"),
            *("splits.kind='file'", f"splits.path='{tmp_path / 'splits.json'}'"),
        ]
        experiment = read_experiment(small / "small.toml", settings)
        out = tmp_path / f"run-{data.name}"
        job = next(j for j in plan(experiment, out) if j.fold == 0 and j.place == place)
        run_fold(experiment.model_dump_json(), place, 1, 0, out)
        bundle = job.folder / "bundle"
        fitted.append([(bundle / f"{name}.safetensors").read_bytes() for name in ("model", "preprocess")])
        config = json.loads((bundle / "config.json").read_text())
        fitted[-1] += [config[key] for key in ("edges", "sizes", "preprocessing")]
    return fitted


@pytest.mark.parametrize(("protocol", "same"), [("leakfree", True), ("paper", False)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_poisoned_test_patients_change_nothing_that_was_fitted(small, tmp_path, protocol, same, place):
    one, other = fitted_twice(small, tmp_path, place=place, sets=[f"training.protocol='{protocol}'"])
    assert (one == other) is same


def test_poisoned_test_patients_leave_groups_and_screening_alone(small, tmp_path):
    (tmp_path / "groups.csv").write_text("low,high\nGENE000,GENE020\nGENE001,GENE021\nGENE002,GENE001\n")
    genomics = ["embedding='differential'", f"signatures='{tmp_path / 'groups.csv'}'", "p_value=0.3"]
    sets = [f"genomics.{words}" for words in (*genomics, "screen_groups=true", "empty_groups='drop'")]
    one, other = fitted_twice(small, tmp_path, place=0, sets=sets)
    assert one == other
    bundle = read_bundle(tmp_path / "run-data/vgat/seed1/fold0/bundle")
    sizes, fitted = bundle.preprocessing.sizes, bundle.preprocessing
    assert 0 < sizes.embedding == len(fitted.chosen) < 30
    assert sizes.groups
    assert {place for group in fitted.groups.columns for place in group} <= set(fitted.chosen)


def test_shuffled_genomes_teach_something_else(small, tmp_path):
    weights = []
    for shuffle in ("false", "true"):
        experiment = read_experiment(small / "small.toml", [f"genomics.shuffle={shuffle}"])
        run_fold(experiment.model_dump_json(), 0, 1, 0, tmp_path / shuffle)
        weights.append(load_file(tmp_path / shuffle / "vgat/seed1/fold0/bundle/model.safetensors"))
    assert np.array_equal(weights[0]["prompts.means"], weights[1]["prompts.means"])
    assert not np.array_equal(weights[0]["reconstruct.tokens"], weights[1]["reconstruct.tokens"])


def test_the_paper_protocol_keeps_the_epoch_that_is_best_on_the_test_fold(small, tmp_path):
    experiment = read_experiment(small / "small.toml", ["training.protocol='paper'", "training.epochs=5"])
    run_fold(experiment.model_dump_json(), 1, 1, 0, tmp_path)
    place = tmp_path / "attnmil" / "seed1" / "fold0"
    history = read_csv(place / "history.csv")
    best = max(history, key=lambda row: float(row["test_c_index"]))
    assert json.loads((place / "fold.json").read_text())["epoch"] == int(best["epoch"])
    assert {row["split"] for row in read_csv(place / "predictions.csv")} == {"train", "test"}


def test_no_path_of_this_machine_is_written_into_a_run(run_folder):
    home = os.fsencode(str(run_folder.parent.parent))
    assert [name for name, data in contents(run_folder).items() if home in data] == []


def test_the_native_recipe_is_that_of_each_methods_authors(experiment, monkeypatch):
    monkeypatch.setattr(AttnMIL, "native", {"optimizer": "sgd", "epochs": 3, "sampler": "weighted"})
    monkeypatch.setattr(SNN, "native", {})
    native = experiment.model_copy(update={"training": TrainingSection(recipe="native", epochs=9, seeds=(4, 5))})
    recipes = {row.name: native.recipe(row) for row in native.models}
    assert (recipes["attnmil"].optimizer, recipes["attnmil"].epochs, recipes["attnmil"].seeds) == ("sgd", 3, (4, 5))
    assert (recipes["snn"].optimizer, recipes["snn"].epochs) == ("adam", 9)


def test_a_proportional_hazard_is_cross_validated_with_one_logit(small, tmp_path):
    sets = ["training.loss=cox", "training.accumulate=8", "training.epochs=2", "training.sampler=weighted"]
    jobs = plan(read_experiment(small / "small.toml", sets), tmp_path)
    assert {outcome.status for outcome in run_jobs(jobs)} == {"done"}
    rows = read_csv(tmp_path / "snn/seed1/fold0/predictions.csv")
    assert "S_0" in rows[0] and "S_1" not in rows[0]
    assert len({row["risk"] for row in rows}) == len(rows)


def test_folds_that_share_a_process_can_teach_with_bags_that_others_judged(small, tmp_path):
    sets = ["features.standardise=false", "training.epochs=1", "splits.folds=3"]
    outcomes = run_jobs(plan(read_experiment(small / "small.toml", sets), tmp_path))
    assert [outcome.reason for outcome in outcomes if outcome.status != "done"] == []


def test_baselines_that_the_data_allow_stand_beside_the_models_unasked(run_folder):
    facts = json.loads((run_folder / "run.json").read_text())
    labels = [method["label"] for method in facts["methods"]]
    assert labels[3:] == ["null", "site only", "mean tiles + Cox", "expression + Cox"]
    assert facts["failures"] == []  # nobody's covariates differ, which is no failure of the clinical baseline
    assert facts["settings"]["baselines"]["names"] == ["null", "site", "mean-tiles", "expression"]


def test_baselines_are_no_part_of_what_a_fold_was_made_with(small, run_folder):
    experiment = read_experiment(small / "small.toml", ["baselines.names=[]"])
    assert all(job.finished.exists() for job in plan(experiment, run_folder))  # which refuses other experiments


def test_baselines_stand_beside_the_models(small, tmp_path):
    sets = ['baselines.names=["null", "site", "expression"]', "baselines.with_clinical=true", "training.epochs=1"]
    jobs = plan(read_experiment(small / "small.toml", sets), tmp_path)
    run_jobs(jobs)
    facts = json.loads((tmp_path / "run.json").read_text())
    labels = [method["label"] for method in facts["methods"]]
    assert labels[:6] == ["vgat", "attnmil", "snn", "null", "site only", "expression + Cox"]
    assert read_run(tmp_path).methods[3].complete == (0, 1)
