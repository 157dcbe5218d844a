"""Race the survival metrics against scikit-survival and lifelines; every race begins with equal answers.

OMP_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/survival.py
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pprint import pprint

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from race import peak_megabytes, race
from sksurv.compare import compare_survival
from sksurv.metrics import concordance_index_censored
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv
from threadpoolctl import threadpool_info

from slidesurv.survival.concordance import concordance
from slidesurv.survival.estimators import kaplan_meier, log_rank
from slidesurv.survival.resampling import bootstrap_concordance, draw

Cohort = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]


def make_cohort(patients: int) -> Cohort:
    """Invent event, time and risk: four in ten die, and a C-index near 0.6."""
    rng = np.random.default_rng(0)
    months = rng.exponential(30, patients)
    return rng.random(patients) < 0.4, months, rng.normal(size=patients) - months / 60


def race_concordance(patients: int, repeats: int) -> None:
    event, months, risk = make_cohort(patients)
    ours, exact = concordance(event, months, risk), concordance(event, months, risk, tied_tol=0)
    theirs = concordance_index_censored(event, months, risk)
    assert (ours.concordant, ours.discordant, ours.tied) == theirs[1:4]
    assert exact.index == concordance_index(months, -risk, event)
    race(
        f"C-index, n={patients:,}: C={ours.index:.4f}, same counts as scikit-survival, same index as lifelines",
        lambda: concordance(event, months, risk),
        {
            "scikit-survival concordance_index_censored": lambda: concordance_index_censored(event, months, risk),
            "lifelines concordance_index": lambda: concordance_index(months, -risk, event),
        },
        repeats=repeats,
    )


def race_bootstrap(resamples: int, patients: int, repeats: int) -> None:
    event, months, risk = make_cohort(patients)
    counts = draw(patients, resamples=resamples, seed=0).astype(int)

    def loop_sksurv() -> NDArray[np.float64]:
        drawn = (np.repeat(np.arange(patients), row) for row in counts)
        return np.array([concordance_index_censored(event[i], months[i], risk[i])[0] for i in drawn])

    def loop_lifelines() -> NDArray[np.float64]:
        drawn = (np.repeat(np.arange(patients), row) for row in counts)
        return np.array([concordance_index(months[i], -risk[i], event[i]) for i in drawn])

    ours = bootstrap_concordance(event, months, risk, resamples=resamples)
    assert np.array_equal(ours, loop_sksurv())
    assert np.array_equal(ours, loop_lifelines())
    race(
        f"bootstrap, {resamples:,} resamples of {patients:,}: difference 0 to both loops",
        lambda: bootstrap_concordance(event, months, risk, resamples=resamples),
        {"scikit-survival in a loop": loop_sksurv, "lifelines in a loop": loop_lifelines},
        repeats=repeats,
    )


def time_bootstrap(resamples: int, patients: int) -> None:
    event, months, risk = make_cohort(patients)
    start = time.perf_counter()
    bootstrap_concordance(event, months, risk, resamples=resamples)
    seconds = time.perf_counter() - start
    print(f"\nbootstrap, {resamples:,} of {patients:,}: {seconds:.2f} s; peak so far {peak_megabytes():.0f} MB")


def twenty(call: Callable[[], object]) -> Callable[[], None]:
    """Call twenty times: one call of some microseconds would time how cold its caches are."""

    def calls() -> None:
        for _ in range(20):
            call()

    return calls


def race_curves(patients: int, repeats: int) -> None:
    event, months, _ = make_cohort(patients)
    curve = kaplan_meier(months, event)
    _, survival, band = kaplan_meier_estimator(event, months, conf_type="log-log")
    assert np.allclose([curve.survival, curve.low, curve.high], [survival, *band], rtol=0, atol=1e-10)
    race(
        f"20 Kaplan-Meier curves, n={patients} (lifelines works out its band at once, the others when asked)",
        twenty(lambda: kaplan_meier(months, event)),
        {
            "scikit-survival kaplan_meier_estimator": twenty(lambda: kaplan_meier_estimator(event, months)),
            "lifelines KaplanMeierFitter": twenty(lambda: KaplanMeierFitter().fit(months, event)),
        },
        repeats=repeats,
    )

    def our_band() -> object:
        curve = kaplan_meier(months, event)
        return curve.low, curve.high

    race(
        f"20 Kaplan-Meier curves with their 95 % bands, n={patients}",
        twenty(our_band),
        {"scikit-survival log-log": twenty(lambda: kaplan_meier_estimator(event, months, conf_type="log-log"))},
        repeats=repeats,
    )


def race_log_rank(patients: int, repeats: int) -> None:
    event, months, risk = make_cohort(patients)
    high = risk > np.median(risk)
    followed = Surv.from_arrays(event, months)
    groups = months[high], months[~high], event[high], event[~high]
    ours = log_rank(months, event, high)
    assert np.isclose(ours.statistic, compare_survival(followed, high)[0], rtol=1e-10)
    assert np.isclose(ours.statistic, logrank_test(*groups).test_statistic, rtol=1e-10)
    race(
        f"20 log-rank tests, n={patients}: chi-squared {ours.statistic:.4f} in all three",
        twenty(lambda: log_rank(months, event, high)),
        {
            "scikit-survival compare_survival": twenty(lambda: compare_survival(followed, high)),
            "lifelines logrank_test": twenty(lambda: logrank_test(*groups)),
        },
        repeats=repeats,
    )


def race_start() -> None:
    """Time a fresh interpreter that imports the metrics."""

    def start(module: str) -> None:
        subprocess.run([sys.executable, "-W", "ignore", "-c", f"import {module}"], check=True)

    race(
        "start-up: import and leave",
        lambda: start("slidesurv.survival.resampling, slidesurv.survival.estimators"),
        {"scikit-survival": lambda: start("sksurv.metrics"), "lifelines": lambda: start("lifelines")},
        repeats=3,
    )


def main() -> None:
    pprint(threadpool_info())
    race_concordance(500, 50)
    race_concordance(10_000, 5)
    race_concordance(100_000, 1)
    race_curves(500, 9)
    race_log_rank(500, 9)
    race_bootstrap(1000, 500, 2)
    race_bootstrap(2000, 1000, 1)
    time_bootstrap(2000, 5000)
    race_start()


if __name__ == "__main__":
    main()
