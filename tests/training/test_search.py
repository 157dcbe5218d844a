"""A search sees no test patient, costs every method the same, and goes on where it was killed."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slidesurv.config.read import read_experiment
from slidesurv.config.search import Axis
from slidesurv.errors import DataError, MissingExtra
from slidesurv.files import read_csv, read_json, write_csv
from slidesurv.report.page import write_report
from slidesurv.slides.store import write_features
from slidesurv.training import search as searching
from slidesurv.training.crossval import plan, run_fold, run_jobs
from slidesurv.training.job import opened
from slidesurv.training.search import found_at, inner_splits, run_search, search, searches
from slidesurv.training.trials import Trial, propose, read_trials, write_trials
from training_runs import contents

pytest.importorskip("optuna", reason="the extra 'search' is not installed")

SETS = (
    'models=[{name="snn"}, {name="attnmil", dim=16}]',
    "search={trials=3, folds=2, training={learning_rate={low=1e-5, high=1e-2, log=true}}}",
    'search.models.attnmil={variant={choices=["gated", "plain"]}}',
    "training.epochs=1",
    "training.checkpoint_seconds=60",
)
SPACE = {"training.learning_rate": Axis(low=1e-5, high=1e-2, log=True), "model.dim": Axis(choices=(8, 16))}


def asked(small, *sets):
    return read_experiment(small / "small.toml", [*SETS, *sets])


@pytest.fixture(scope="module")
def run_folder(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    told = []
    outcomes = run_jobs(plan(asked(small), folder), report=told.append)
    assert [outcome.reason for outcome in outcomes if outcome.status != "done"] == []
    assert len(told) == 2 * len(outcomes)  # one seed: a search a fold
    return folder


def test_every_method_has_as_many_trials_in_every_fold(run_folder):
    for place in run_folder.glob("*/search/fold*"):
        assert [row["state"] for row in read_csv(place / "trials.csv")] == ["complete"] * 3
        assert sorted(read_json(place / "timing.json")) == ["0", "1", "2"]
        assert sorted(path.name for path in place.iterdir()) == ["search.json", "timing.json", "trials.csv"]
    assert len(list(run_folder.glob("*/search/fold*"))) == 4


def test_the_best_trial_is_what_the_fold_was_taught_with(run_folder):
    for place in run_folder.glob("*/search/fold*"):
        best = min(read_csv(place / "trials.csv"), key=lambda row: float(row["value"]))
        found = read_json(run_folder / place.parts[-3] / "seed1" / place.name / "fold.json")["search"]
        assert (found["trial"], found["choices"]) == (int(best["number"]), json.loads(best["choices"]))
        history = read_csv(run_folder / place.parts[-3] / "seed1" / place.name / "history.csv")
        assert float(history[0]["learning_rate"]) == found["choices"]["training.learning_rate"]
    bundle = read_json(run_folder / "attnmil/seed1/fold0/bundle/config.json")
    found = read_json(run_folder / "attnmil/search/fold0/search.json")
    assert bundle["choices"] == {"dim": 16, "variant": found["choices"]["model.variant"]}


def test_a_value_is_that_of_patients_on_whom_nothing_was_fitted(small, run_folder):
    (job, *_) = plan(asked(small), run_folder)
    section = job.experiment.search
    known = set(job.split.train) | set(job.split.tune)
    inner = inner_splits(job.study, 0, section)
    assert sorted(patient for split in inner for patient in split.test) == sorted(known)
    assert all({*split.train, *split.tune, *split.test} == known for split in inner)
    assert all(
        len(split.tune) == round(len(split.train + split.tune) * len(job.split.tune) / len(known)) for split in inner
    )


def test_two_workers_find_the_same_as_one(small, run_folder, tmp_path):
    run_jobs(plan(asked(small, 'models=[{name="snn"}]'), tmp_path), workers=2)
    assert contents(tmp_path / "snn") == contents(run_folder / "snn")


def test_what_was_found_serves_seeds_that_are_added(small, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    more = plan(asked(small, "training.seeds=[2, 1]", 'models=[{name="snn"}]'), tmp_path / "run")
    text = more[0].experiment.model_dump_json()
    before = contents(tmp_path / "run" / "snn" / "search")
    assert [(job.place, job.fold) for job in searches(more)] == [(0, 0), (0, 1)]
    run_fold(text, 0, 2, 0, tmp_path / "run")
    assert contents(tmp_path / "run" / "snn" / "search") == before
    found = [read_json(tmp_path / f"run/snn/seed{seed}/fold0/fold.json")["search"] for seed in (1, 2)]
    assert found[0] == found[1]


def test_a_search_that_is_interrupted_ends_as_if_it_had_not_been(small, run_folder, tmp_path, monkeypatch):
    text = asked(small).model_dump_json()
    once = contents(run_folder / "snn/search/fold0")
    write, calls = searching.write_trials, []

    def interrupted(path, trials, fingerprint):
        write(path, trials, fingerprint)
        calls.append(len(trials))
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(searching, "write_trials", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search(text, 0, 0, tmp_path)
    assert read_json(tmp_path / "snn/search/fold0/progress.json") == {"trial": 1, "trials": 3}
    run_search(text, 0, 0, tmp_path)
    assert calls == [1, 2, 3]
    assert contents(tmp_path / "snn/search/fold0") == once


def test_trials_of_other_settings_are_not_gone_on_from(small, run_folder, tmp_path):
    place = shutil.copytree(run_folder / "snn/search/fold0", tmp_path / "snn/search/fold0")
    other = asked(small, "search.training.learning_rate.high=1e-3")
    run_search(other.model_dump_json(), 0, 0, tmp_path)
    rates = [json.loads(row["choices"])["training.learning_rate"] for row in read_csv(place / "trials.csv")]
    assert len(rates) == 3 and max(rates) <= 1e-3


def test_another_methods_own_space_does_not_matter(small, run_folder):
    sets = 'search.models.attnmil={variant={choices=["plain", "gated"]}}'
    one, other = (plan(asked(small, *more), run_folder / "nothing") for more in ((), (sets,)))
    same = [a.fingerprint == b.fingerprint for a, b in zip(one, other, strict=True)]
    assert same == [job.row.name == "snn" for job in one]


def test_garbage_in_the_test_patients_changes_nothing_that_was_chosen_or_taught(small, run_folder, tmp_path):
    experiment = asked(small)
    data, split = tmp_path / "data", plan(experiment, run_folder)[0].split
    shutil.copytree(small / "data", data)
    random = np.random.default_rng(5)
    for row in read_csv(data / "cohort.csv"):
        if row["patient_id"] in split.test:
            path = data / "features" / f"{row['slide_id']}.h5"
            path.unlink()
            write_features(path, random.normal(1e4, 1e5, (30, 10)), np.zeros((30, 2), int), encoder="synthetic")
    rows = read_csv(data / "expression.csv")
    for row in rows:
        row.update(dict.fromkeys(list(row)[1:], "9.9") if row["patient_id"] in split.test else {})
    write_csv(data / "expression.csv", rows, list(rows[0]))
    files = {"table": "cohort.csv", "features": "features", "expression": "expression.csv"}
    spoilt = asked(small, *(f"cohort.{key}='{data / name}'" for key, name in files.items()))
    for place, slug in enumerate(("snn", "attnmil")):
        run_fold(spoilt.model_dump_json(), place, 1, 0, tmp_path / "run")
        (one, taught), (other, taught_again) = (learnt(folder / slug) for folder in (run_folder, tmp_path / "run"))
        assert one == other
        assert taught == taught_again
    assert opened(spoilt.model_dump_json()).splits[0] == split


def learnt(method: Path):
    """Every trial, and what the chosen one taught of those who are not judged."""
    trials = [{**row, "fingerprint": ""} for row in read_csv(method / "search/fold0/trials.csv")]
    rows = read_csv(method / "seed1/fold0/predictions.csv")
    said = {row["patient_id"]: row["risk"] for row in rows if row["split"] != "test"}
    return trials, (said, (method / "seed1/fold0/bundle/model.safetensors").read_bytes())


def test_a_trial_that_fails_is_named_and_the_others_go_on(small, tmp_path, monkeypatch):
    held_out = searching._held_out

    def breaks(job):
        if job.chosen["training.learning_rate"] < 1e-3:
            raise DataError("The training loss became nan at patient 'SYN-0001'.")
        return held_out(job)

    monkeypatch.setattr(searching, "_held_out", breaks)
    (job, *_) = plan(asked(small, "search.trials=4"), tmp_path)
    found = search(job)
    rows = read_csv(found_at(job).with_name("trials.csv"))
    failed = [row for row in rows if row["state"] == "failed"]
    assert 0 < len(failed) == found["failed"] < found["trials"] == 4
    assert all("became nan at patient 'SYN-0001'" in row["reason"] and row["value"] == "" for row in failed)


def test_a_search_without_a_trial_that_ends_fails_its_folds_with_the_reason(small, tmp_path, monkeypatch):
    taught, told = [], []

    def breaks(job):
        taught.append(job.fold)
        raise DataError("The training loss became nan. See '/home/ann/x'.")

    monkeypatch.setattr(searching, "_held_out", breaks)
    jobs = plan(asked(small, 'models=[{name="snn"}]', "training.seeds=[1, 2]"), tmp_path)
    outcomes = run_jobs(jobs, report=told.append)
    assert {outcome.status for outcome in outcomes} == {"failed"}
    assert [outcome.name for outcome in outcomes] == [job.name for job in jobs] and len(told) == 2 + 4
    assert len(taught) == 2 * 3  # trials of both folds, once
    assert not any(b"/home/ann" in text for text in contents(tmp_path).values())
    assert all("All 3 trials of the search failed" in outcome.reason for outcome in outcomes)
    assert all("The training loss became nan." in outcome.reason for outcome in outcomes)


def test_what_was_tried_before_is_not_taught_again(small, tmp_path, monkeypatch):
    taught = []
    held_out = searching._held_out
    monkeypatch.setattr(searching, "_held_out", lambda job: taught.append(job.chosen) or held_out(job))
    sets = ("search.trials=5", 'models=[{name="snn"}]', "search.metric=c_index", "search.models={}")
    (job, *_) = plan(asked(small, *sets, "search.training={weight_decay={choices=[0.0, 1e-4]}}"), tmp_path)
    found = search(job)
    assert len(taught) <= 2 * 2  # two values, two inner folds
    values = [float(row["value"]) for row in read_csv(found_at(job).with_name("trials.csv"))]
    assert len(values) == 5 and found["value"] == max(values)


def test_a_hopeless_trial_is_given_up_if_that_is_asked_for(small, tmp_path, monkeypatch):
    def judged(job):
        worse = float(job.chosen["training.learning_rate"] < 1e-3)
        return [searching.InnerPatient(job.fold, 1.0, True, 0.0, worse)]

    monkeypatch.setattr(searching, "_held_out", judged)
    (job, *_) = plan(asked(small, "search.trials=20", "search.prune=true"), tmp_path)
    found = search(job)
    rows = read_csv(found_at(job).with_name("trials.csv"))
    assert found["pruned"] == sum(row["state"] == "pruned" for row in rows) > 0
    assert all(len(json.loads(row["values"])) == 1 for row in rows if row["state"] == "pruned")
    assert all(json.loads(row["choices"])["training.learning_rate"] < 1e-3 for row in rows if row["state"] == "pruned")


def test_a_proposal_follows_from_the_trials_before_it_alone(tmp_path):
    trials = []
    for number in range(14):
        choices = dict(propose(SPACE, trials, maximise=False, seed=number).params)
        state = {3: "failed", 12: "pruned"}.get(number, "complete")
        values = (abs(choices["training.learning_rate"] - 1e-3),) * (0 if state == "failed" else 2)
        trials.append(Trial(number, state, choices, values, "it broke" if state == "failed" else ""))
    write_trials(tmp_path / "trials.csv", trials, "f")
    again = read_trials(tmp_path / "trials.csv", "f")
    assert again == trials
    assert read_trials(tmp_path / "trials.csv", "g") == []
    one, other = (propose(SPACE, known, maximise=False, seed=14).params for known in (trials, again))
    assert one == other
    better = [replace(trial, values=tuple(-value for value in trial.values)) for trial in trials]
    assert propose(SPACE, better, maximise=False, seed=14).params != one


def test_whole_ends_make_whole_numbers_and_the_range_is_kept():
    space = {"a": Axis(low=2, high=9), "b": Axis(low=0.0, high=1.0), "c": Axis(choices=("x", True, 3))}
    for seed in range(20):
        choices = propose(space, [], maximise=True, seed=seed).params
        assert isinstance(choices["a"], int) and 2 <= choices["a"] <= 9
        assert isinstance(choices["b"], float) and 0 <= choices["b"] <= 1
        assert choices["c"] in ("x", True, 3)


def test_the_missing_library_is_named_before_any_training(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"pip install 'slidesurv\[search\]'"):
        plan(asked(small), tmp_path)


def test_too_few_deaths_for_inner_folds_are_told_before_any_training(small, tmp_path):
    with pytest.raises(DataError, match="too few for 20 folds with 2 each"):
        plan(asked(small, "search.folds=20"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_report_tells_the_budget_and_what_was_chosen(run_folder, tmp_path):
    text = write_report(run_folder, output=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Equal budgets: every method had 3 trials in every fold, on 2 inner folds" in text
    assert "lowest NLL" in text
    variant = read_json(run_folder / "attnmil/search/fold1/search.json")["choices"]["model.variant"]
    assert f"variant = &#34;{variant}&#34;" in text
    assert "search.trials" in text
    facts = read_json(run_folder / "run.json")
    assert facts["settings"]["search"]["metric"] == "nll" and "optuna" in facts["versions"]
