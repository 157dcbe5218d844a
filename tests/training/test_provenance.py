"""Where a run comes from: code and data by hash, without a path or a name."""

import json
import shutil
import subprocess

import pytest

from slidesurv.cohorts.study import open_study
from slidesurv.config.read import read_experiment
from slidesurv.files import read_csv, read_json, write_csv
from slidesurv.training import provenance
from slidesurv.training.crossval import plan, run_jobs
from slidesurv.training.provenance import code_version, hashes

FILES = {"table": "cohort.csv", "features": "features", "expression": "expression.csv"}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A working tree of a package of one file, that `code_version` takes for ours."""
    house = tmp_path / "src" / "slidesurv"
    house.mkdir(parents=True)
    (house / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "HOUSE", house)
    code_version.cache_clear()
    yield tmp_path
    code_version.cache_clear()


def git(tree, *words):
    who = ["-c", "user.name=Somebody", "-c", "user.email=some@body"]
    return subprocess.run(["git", "-C", tree, *who, *words], check=True, capture_output=True, text=True).stdout.strip()


def asked_again():
    code_version.cache_clear()
    return code_version()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_working_tree_has_its_commit_and_says_when_it_differs(tree):
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    commit = git(tree, "rev-parse", "HEAD")
    assert asked_again()["commit"] == commit
    (tree / "src/slidesurv/a.py").write_text("x = 2\n")
    assert asked_again()["commit"] == f"{commit}-dirty"
    assert "Somebody" not in json.dumps(code_version()) and str(tree) not in json.dumps(code_version())


def test_a_package_without_a_working_tree_is_released_and_without_git_unknown(tree, monkeypatch):
    assert asked_again()["commit"] == "released"
    (tree / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    assert asked_again()["commit"] == "unknown"


def test_a_tree_that_git_refuses_is_unknown(tree):
    (tree / ".git").write_text("gitdir: nowhere")
    assert asked_again()["commit"] == "unknown"


def test_the_source_is_hashed_with_its_names(tree):
    before = asked_again()["sha256"]
    assert asked_again()["sha256"] == before
    (tree / "src/slidesurv/a.py").rename(tree / "src/slidesurv/b.py")
    renamed = asked_again()["sha256"]
    (tree / "src/slidesurv/b.py").write_text("x = 2\n")
    assert len({before, renamed, asked_again()["sha256"]}) == 3


def test_each_hash_sees_its_own_and_nothing_else(small, tmp_path):
    data = shutil.copytree(small / "data", tmp_path / "data")
    sets = [f"cohort.{key}='{data / name}'" for key, name in FILES.items()]

    def now(*more):
        study = open_study(read_experiment(small / "small.toml", [*sets, *more]))
        study.write(tmp_path)
        return hashes(study, tmp_path)

    def changed(seen):
        return {what for what in first if seen[what] != first[what]}

    first = now()
    assert changed(now()) == set()
    assert changed(now("splits.seed=1")) == {"splits"}
    rows = read_csv(data / "expression.csv")
    rows[0]["GENE000"] = "1.25"
    write_csv(data / "expression.csv", rows, list(rows[0]))
    assert changed(now()) == {"tables"}
    shutil.copy(next((data / "features").glob("*1.h5")), sorted((data / "features").glob("*.h5"))[0])
    assert "features" in changed(now())


def test_a_run_records_its_code_and_hashes(small, tmp_path):
    run_jobs(plan(read_experiment(small / "small.toml", ["training.epochs=1", 'models=[{name="snn"}]']), tmp_path))
    facts = read_json(tmp_path / "run.json")
    assert facts["code"] == code_version()
    assert facts["hashes"]["splits"] == read_json(tmp_path / "splits.json")["sha256"]
    assert {"splits", "features", "tables"} == set(facts["hashes"])
