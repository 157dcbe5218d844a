"""Many methods in one table, from the command line."""

import subprocess
import sys

import pytest

from slidesurv.cli.compare import check_names
from slidesurv.config.read import read_experiment
from slidesurv.errors import ConfigError
from slidesurv.registry import models
from slidesurv.training.crossval import able
from slidesurv.types import Use


def run(*words, cwd):
    command = [sys.executable, "-m", "slidesurv.cli", "compare", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_methods_take_the_experiments_choices_and_else_their_defaults(experiment):
    rows = experiment.select(["attnmil", "transmil"]).models
    assert [(row.name, row.choices()) for row in rows] == [("attnmil", {"dim": 16}), ("transmil", {})]


def test_an_unknown_method_is_refused(experiment):
    with pytest.raises(ConfigError, match="Did you mean 'attnmil'"):
        experiment.select(["atnmil"])


def test_experiments_of_one_name_are_refused_by_that_name():
    check_names(["luad", "brca"])
    with pytest.raises(ConfigError, match="2 experiments are called 'luad': give each its own, for a folder each"):
        check_names(["luad", "brca", "luad"])


def test_one_command_makes_the_table_and_goes_on_where_it_stopped(small, tmp_path):
    words = [str(small / "small.toml"), "--methods", "attnmil,snn", "-o", "out", "--set", "training.epochs=1"]
    first = run(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "| Method | Patho. | Geno. |" in first.stdout
    assert "4 done" in first.stderr
    again = run(*words, cwd=tmp_path)
    assert "4 skipped" in again.stderr
    assert (tmp_path / "out" / "overview.csv").exists()


def test_all_leaves_out_what_the_data_do_not_allow_and_names_it(small):
    text = (small / "small.toml").read_text().replace('expression = "data/expression.csv"\n', "")
    (small / "slides.toml").write_text(text)
    kept, reasons = able(read_experiment(small / "slides.toml").select(models.names()))
    allowed = {name for name in models.names() if models[name].genomics is Use.NEVER}
    assert {row.name for row in kept.models} == allowed
    assert reasons.keys() == set(models.names()) - allowed
    assert reasons["snn"].startswith("'snn' reads expression, and there is none")
    assert reasons["vgat"].startswith("'vgat' is taught by a genomic embedding")


def test_a_method_that_was_asked_for_must_be_able_to_run(small, tmp_path):
    text = (small / "small.toml").read_text().replace('expression = "data/expression.csv"\n', "")
    (small / "slides.toml").write_text(text)
    ran = run(str(small / "slides.toml"), "--methods", "snn,attnmil", cwd=tmp_path)
    assert ran.returncode == 2
    assert "'snn' reads expression, and there is none: set [cohort] expression" in ran.stderr


def test_a_folder_to_stand_beside_is_read_before_anything_is_trained(small, tmp_path):
    ran = run(str(small / "small.toml"), "--methods", "snn", "-o", "out", "--beside", "nothing", cwd=tmp_path)
    assert ran.returncode == 2
    assert "'nothing' has no run of 1 of 1 experiments: 'small'" in ran.stderr
    assert not (tmp_path / "out").exists()
