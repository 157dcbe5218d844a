"""Whether a planted programme was found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from slidesurv.report.planted import find, picture
from slidesurv.report.read import read_run
from slidesurv.report.run import Run
from slidesurv.report.words import found


@pytest.fixture(scope="module")
def run(clean_run: Path) -> Run:
    return read_run(clean_run)


def test_the_correlation_is_spearmans_over_places_inside_the_folds(run: Run) -> None:
    good = run.methods[0]
    places, planted = [], []
    for fold in range(3):
        both = [good.results[seed, fold].risk.argsort().argsort() for seed in (0, 1)]
        places += list(np.mean(both, axis=0))
        planted += [run.programme[patient] for patient in good.results[0, fold].patients]
    assert find(run, good).value == pytest.approx(spearmanr(planted, places).statistic)


def test_the_close_method_found_the_programme_and_noise_did_not(run: Run) -> None:
    good = run.methods[0]
    noise = {
        key: replace(r, risk=np.random.default_rng(3).permutation(20.0 + r.risk)) for key, r in good.results.items()
    }
    assert found(find(run, good)) == "found"
    assert found(find(run, replace(good, results=noise))).startswith("not found")
    backwards = {key: replace(result, risk=-result.risk) for key, result in good.results.items()}
    assert found(find(run, replace(good, results=backwards))).startswith("not found")


def test_the_interval_is_bonett_and_wrights(run: Run) -> None:
    truth = find(run, run.methods[0])
    half = 1.96 * np.sqrt((1 + truth.value**2 / 2) / 57)
    assert (truth.low, truth.high) == pytest.approx(np.tanh(np.arctanh(truth.value) + np.array([-half, half])))


def test_what_cannot_be_known_is_said(run: Run) -> None:
    flat = {key: replace(result, risk=np.zeros(20)) for key, result in run.methods[0].results.items()}
    assert "same for every patient" in find(run, replace(run.methods[0], results=flat)).note
    assert find(replace(run, programme={}), run.methods[0]).note == "only 0 test patients with a planted value"
    assert picture(replace(run, programme={}), run.methods[0], "p").svg == ""
