"""The prose runs: blocks of the README, the table of models, the changelog, the rooms of CONTRIBUTING."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from slidesurv import __version__
from slidesurv.cli.models import WORDS, describe
from slidesurv.cohorts.synthetic import Truth, write_synthetic

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line.strip()]


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def test_the_two_commands_of_the_first_screen_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [words(command)[1] for command in COMMANDS if words(command)[:1] == ["make"]]
    assert targets[:2] == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_ci_calls_the_test_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "python"])
def test_python_blocks_run(block, small, tmp_path, monkeypatch):
    monkeypatch.chdir(small)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "toml"])
def test_toml_blocks_are_valid_experiments(block, tmp_path):
    from slidesurv.config.read import read_experiment

    (tmp_path / "e.toml").write_text(block, encoding="utf-8")
    assert read_experiment(tmp_path / "e.toml").models


def test_commands_run_in_the_order_of_the_page(tmp_path, monkeypatch):
    """Beside a cohort that is laid out as the template says; one epoch, so that it ends soon."""
    tiny = Truth(patients=24, tiles=(3, 5), width=8, genes=12, follow_up=60.0)
    write_synthetic(tmp_path, tiny)
    write_synthetic(tmp_path / "new", Truth(patients=20, tiles=(3, 5), width=8), seed=1)
    (tmp_path / "new" / "features").rename(tmp_path / "new_slides")
    monkeypatch.chdir(tmp_path)
    for command in [words(c) for c in COMMANDS if words(c)[:1] == ["slidesurv"]]:
        trains = command[1] in ("crossval", "compare")
        extra = ["--set", "training.epochs=1", "--set", "splits.folds=2"] if trains else []
        subprocess.run([sys.executable, "-m", "slidesurv.cli", *command[1:], *extra], check=True, capture_output=True)
        if command[1] == "init":
            toml = tmp_path / "luad.toml"
            toml.write_text(toml.read_text(encoding="utf-8").replace("my-cohort", "luad"), encoding="utf-8")
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 21
    assert (tmp_path / "runs" / "luad" / "report.html").exists()


def test_the_table_of_models_is_the_registry():
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \|", README, re.MULTILINE)
    assert rows == [(row["name"], WORDS[row["slides"]], WORDS[row["genomics"]]) for row in describe()]


def test_the_changelog_begins_with_this_version_and_says_what_moved():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == __version__
    assert "### Results changed" in changelog


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__
    assert project["license"] == "Apache-2.0"


def test_contributing_draws_every_room():
    from slidesurv import __file__ as package

    drawn = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = {p.stem for p in Path(package).parent.iterdir() if not p.stem.startswith("_") and p.suffix in ("", ".py")}
    assert [room for room in sorted(rooms) if room not in drawn] == []


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/deviations.md", "docs/results.md", "docs/simulation.md"]
)
def test_links_inside_the_project_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
