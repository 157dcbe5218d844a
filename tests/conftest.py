"""A cohort small enough to be cross-validated in seconds."""

from pathlib import Path

import pytest

from slidesurv.cohorts.synthetic import Truth, write_synthetic
from slidesurv.config.experiment import Experiment
from slidesurv.config.read import read_experiment

SMALL = Truth(patients=40, tiles=(6, 14), width=10, genes=30, follow_up=40.0)
EXPERIMENT = """
name = "small"
[cohort]
table = "data/cohort.csv"
features = "data/features"
expression = "data/expression.csv"
[splits]
folds = 2
[features]
standardise = true
[genomics]
components = 4
[training]
epochs = 4
n_bins = 3
checkpoint_seconds = 0
[[models]]
name = "vgat"
dim = 16
attention = "exact"
vga = { width = 16 }
ese = { prompts = 8, prototypes = 3, quota = "clusters" }
[[models]]
name = "attnmil"
dim = 16
[[models]]
name = "snn"
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A folder with a made-up cohort and ``small.toml``."""
    folder = tmp_path_factory.mktemp("small")
    write_synthetic(folder / "data", SMALL, seed=1)
    (folder / "small.toml").write_text(EXPERIMENT, encoding="utf-8")
    return folder


@pytest.fixture
def experiment(small) -> Experiment:
    return read_experiment(small / "small.toml")
