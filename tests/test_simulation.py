"""The simulation study: its design changes one thing at a time, and what is finished is not run again."""

import importlib.util
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from slidesurv.cohorts.synthetic import Truth
from slidesurv.errors import ConfigError
from slidesurv.files import read_csv

SCRIPT = Path(__file__).parents[1] / "experiments" / "simulation.py"


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    """The script, with a shorter recipe and fewer judges."""
    spec = importlib.util.spec_from_file_location("simulation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulation"] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    recipe = tmp_path_factory.mktemp("recipe") / "planted.toml"
    recipe.write_text(module.RECIPE.read_text(encoding="utf-8").replace("epochs = 4", "epochs = 1"), encoding="utf-8")
    module.RECIPE, module.JUDGES = recipe, 30
    yield module
    del sys.modules["simulation"]


@pytest.fixture(scope="module")
def small(simulation):
    """The centre and two controls, of a size for tests."""
    truth = Truth(patients=40, tiles=(2, 3), width=4, genes=20, follow_up=20.0)
    return tuple(
        simulation.Cell(factor=factor, level=0, truth=truth, shuffle=factor == "swapped-genomes")
        for factor in ("centre", "swapped-genomes")
    )


@pytest.fixture(scope="module")
def study(simulation, small, tmp_path_factory):
    """A folder with the small study of one seed, run once, and its rows."""
    folder = tmp_path_factory.mktemp("simulation")
    return folder, simulation.run(folder, workers=1, design=small, seeds=range(1))


def test_every_cell_changes_one_thing(simulation):
    centre, *others = simulation.DESIGN
    for cell in others:
        told = [(asdict(one.truth), one.mislabelled, one.shuffle) for one in (centre, cell)]
        changed = {key for key in told[0][0] if told[0][0][key] != told[1][0][key]}
        assert len(changed) + (cell.mislabelled > 0) + cell.shuffle == 1, cell.name


def test_every_cell_is_drawn(simulation):
    drawn = {factor.name for factor in simulation.FACTORS} | set(simulation.CONTROLS)
    assert {cell.factor for cell in simulation.DESIGN} == drawn


def test_only_the_genomes_differ_when_genomes_are_swapped(study):
    centre, swapped = study[1]
    assert centre["untaught"] == swapped["untaught"]
    assert centre["taught"] != swapped["taught"]
    assert (centre["programme"], centre["look"]) == (swapped["programme"], swapped["look"])


def test_a_finished_cell_keeps_its_numbers_alone_and_is_not_run_again(simulation, small, study, monkeypatch):
    folder, rows = study
    assert not list((folder / "work").iterdir())
    monkeypatch.setattr(simulation, "measure", None)
    assert simulation.run(folder, workers=1, design=small, seeds=range(1)) == rows


def test_another_design_is_refused(simulation, small, study):
    other = tuple(replace(cell, mislabelled=0.1) for cell in small)
    with pytest.raises(ConfigError, match="holds another design"):
        simulation.run(study[0], workers=1, design=other, seeds=range(1))


def test_the_results_are_published(simulation, study, tmp_path, capsys):
    simulation.publish(study[1], tmp_path)
    gains = [row["taught"] - row["untaught"] for row in study[1]]
    assert [row["seed"] for row in read_csv(tmp_path / "results.csv")] == ["0", "0"]
    assert [float(row["gain"]) for row in read_csv(tmp_path / "summary.csv")] == pytest.approx(gains)
    assert {path.name for path in tmp_path.glob("simulation.*")} == {"simulation.svg", "simulation.png"}
    assert f"| swapped-genomes | {gains[1]:+.3f} |".replace("-0", "−0") in capsys.readouterr().out
