"""Time bins hold as many deaths each, and every time has one."""

import csv
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidesurv.errors import ConfigError, DataError
from slidesurv.survival.bins import assign, fit_bins
from slidesurv.types import TimeBins

ROOT = Path(__file__).parents[2]
KNOWN = json.loads((ROOT / "tests/reference/survival.json").read_text(encoding="utf-8"))
DATA = Path(os.environ.get("SLIDESURV_DATA") or ROOT.parent / "shared/data")


def read_slides(cohort: str) -> list[dict[str, str]]:
    path = DATA / f"tcga/{cohort}/mcat_sig_tcga_{cohort}_all_clean.csv.zip"
    if not path.exists():
        pytest.skip(f"real data: '{path}' is not here; set SLIDESURV_DATA")
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as table:
        return list(csv.DictReader(io.TextIOWrapper(table, encoding="utf-8")))


def test_bins_of_a_hand_made_cohort():
    known = KNOWN["bins"]
    bins = fit_bins(known["time"], known["event"])
    assert bins.edges == (1 - 1e-6, *known["inner_edges"], 20 + 1e-6)
    assert assign(bins, known["time"]).tolist() == known["bin"]


@pytest.mark.parametrize("cohort", ["blca", "luad", "ucec"])
def test_bins_of_the_real_cohorts_are_those_of_the_field(cohort):
    patients = {row["case_id"]: row for row in read_slides(cohort)}.values()
    time = [float(row["survival_months"]) for row in patients]
    bins = fit_bins(time, [float(row["censorship"]) == 0 for row in patients])
    assert bins.edges == pytest.approx(KNOWN["cohorts"][cohort]["edges"], abs=1e-9)
    assert np.bincount(assign(bins, time)).tolist() == KNOWN["cohorts"][cohort]["patients"]


@given(st.lists(st.integers(1, 9000), min_size=8, max_size=40, unique=True), st.integers(1, 6))
def test_inner_edges_are_the_quantiles_of_pandas(days, n_bins):
    time = np.array(days) / 30.44
    expected = pd.qcut(pd.Series(time), n_bins, retbins=True)[1][1:-1]
    np.testing.assert_allclose(fit_bins(time, np.ones(len(time)), n_bins=n_bins).edges[1:-1], expected, rtol=1e-12)


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=20))
def test_every_time_has_the_bin_it_lies_in(time):
    bins = TimeBins((0.0, 1.0, 5.0, 20.0))
    closed = np.array([-np.inf, 1, 5, np.inf])
    number = assign(bins, time)
    assert np.all((closed[number] <= time) & (time < closed[number + 1]))
    assert number.dtype == np.int64


def test_censored_patients_move_only_the_outer_edges():
    time, event = [2.0, 4, 6, 8, 10], [1, 1, 1, 1, 1]
    edges = fit_bins(time, event, n_bins=2).edges
    wider = fit_bins([*time, 0.5, 99], [*event, 0, 0], n_bins=2).edges
    assert wider == (0.5 - 1e-6, edges[1], 99 + 1e-6)


@pytest.mark.parametrize("deaths", [0, 3])
def test_fewer_deaths_than_bins_are_refused_with_both_numbers(deaths):
    with pytest.raises(DataError, match=f"{deaths} deaths cannot fill 4 time bins. Set n_bins to no more"):
        fit_bins(range(5), np.arange(5) < deaths)


def test_deaths_at_one_time_are_refused_with_the_quantiles():
    with pytest.raises(DataError, match=r"4 deaths are 1, 3, 3: .* smaller n_bins"):
        fit_bins([1, 3, 3, 3], [1, 1, 1, 1], n_bins=2)


def test_no_bins_are_refused():
    with pytest.raises(ConfigError, match="n_bins is 0"):
        fit_bins([1, 2], [1, 1], n_bins=0)


def test_a_missing_time_has_no_bin():
    with pytest.raises(DataError, match="1 of 2 patients, first at position 1"):
        assign(TimeBins((0.0, 1.0)), [0.5, np.nan])
