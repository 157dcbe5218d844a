"""Time every metric with its bootstrap, and race some against the peers' loops; every race begins with equal answers.

OMP_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/evaluation.py
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pprint import pprint

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from numpy.typing import NDArray
from race import peak_megabytes, race
from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc, integrated_brier_score
from sksurv.util import Surv
from threadpoolctl import threadpool_info

from slidesurv.survival.calibration import brier, calibration_slope, d_calibration, integrated_brier, skill
from slidesurv.survival.discrimination import dynamic_auc, harrell_c, uno_c
from slidesurv.survival.effects import hazard_ratio, log_hazard_ratio, restricted_mean_difference
from slidesurv.survival.evidence import Evidence, Metric, fit_reference, gather

Floats = NDArray[np.float64]
TAU = 60.0
MONTHS = np.arange(1.0, TAU)


@dataclass(frozen=True)
class Cohort:
    """Follow-up that a known risk made: about six in ten die, and the C-index is near 0.67."""

    time: Floats
    event: NDArray[np.bool_]
    risk: Floats

    @classmethod
    def invent(cls, patients: int, seed: int) -> "Cohort":
        """Draw a cohort."""
        rng = np.random.default_rng(seed)
        risk = rng.normal(size=patients)
        death, watched = rng.exponential(30 * np.exp(-0.7 * risk)), rng.uniform(5, 120, patients)
        return cls(np.minimum(death, watched), death <= watched, risk)

    def alive(self, months: Floats) -> Floats:
        """(B, M) true survival."""
        survival: Floats = np.exp(-np.asarray(months) / 30 * np.exp(0.7 * self.risk)[:, None])
        return survival


def every_metric(cohort: Cohort, evidence: Evidence) -> dict[str, Callable[[], object]]:
    alive, own = cohort.alive(MONTHS), cohort.alive(np.ones(1))[:, 0] ** cohort.time
    score = integrated_brier(evidence, alive, MONTHS)
    null = integrated_brier(evidence, evidence.expected(MONTHS), MONTHS)
    return {
        "Harrell C": lambda: harrell_c(evidence, cohort.risk),
        "Uno C": lambda: uno_c(evidence, cohort.risk, tau=TAU),
        **{f"AUC at {at} months": lambda at=at: dynamic_auc(evidence, cohort.risk, at=at) for at in (12, 36, 59)},
        "Brier at 36 months": lambda: brier(evidence, alive[:, 35], at=36),
        "integrated Brier, 59 months": lambda: integrated_brier(evidence, alive, MONTHS),
        "the same of Kaplan-Meier": lambda: integrated_brier(evidence, evidence.expected(MONTHS), MONTHS),
        "skill": lambda: skill(score, null),
        "calibration slope": lambda: calibration_slope(evidence, alive[:, 35], at=36),
        "D-calibration": lambda: d_calibration(evidence, own),
        "hazard ratio per SD": lambda: hazard_ratio(evidence, cohort.risk),
        "restricted means": lambda: restricted_mean_difference(evidence, cohort.risk > 0, tau=TAU),
    }


def time_all(resamples: int, patients: int, folds: int) -> None:
    """Print the seconds of each metric, the best of three, and of all with the draws."""
    cohort, training = Cohort.invent(patients, 2), fit_reference(*follow_up(Cohort.invent(patients, 1)))
    strata = np.arange(patients) % folds
    start = time.perf_counter()
    evidence = gather(cohort.time, cohort.event, training, strata=strata, resamples=resamples)
    total = time.perf_counter() - start
    print(
        f"\nall metrics, {resamples:,} resamples of {patients:,} patients, {folds} folds\n  {'draws':<30}{total:8.3f} s"
    )
    for name, call in every_metric(cohort, evidence).items():
        best = min(seconds(call) for _ in range(3))
        total += best
        print(f"  {name:<30}{best:8.3f} s")
    print(f"  {'together':<30}{total:8.3f} s; peak so far {peak_megabytes():.0f} MB")


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def follow_up(cohort: Cohort) -> tuple[Floats, NDArray[np.bool_]]:
    return cohort.time, cohort.event


def race_loops(resamples: int, patients: int, repeats: int) -> None:
    """Race each metric's bootstrap against the same resamples written out for a peer, one after another."""
    training, cohort = Cohort.invent(patients, 1), Cohort.invent(patients, 2)
    learnt, alive = Surv.from_arrays(training.event, training.time), cohort.alive(MONTHS)
    evidence = gather(*follow_up(cohort), fit_reference(*follow_up(training)), resamples=resamples)
    rows = [np.repeat(np.arange(patients), row.astype(int)) for row in evidence.counts[1:]]
    follow = [Surv.from_arrays(cohort.event[i], cohort.time[i]) for i in rows]

    def uno_loop() -> list[float]:
        return [
            concordance_index_ipcw(learnt, seen, cohort.risk[i], tau=TAU)[0]
            for seen, i in zip(follow, rows, strict=True)
        ]

    def auc_loop() -> list[float]:
        return [
            cumulative_dynamic_auc(learnt, seen, cohort.risk[i], [36.0])[0][0]
            for seen, i in zip(follow, rows, strict=True)
        ]

    def brier_loop() -> list[float]:
        return [integrated_brier_score(learnt, seen, alive[i], MONTHS) for seen, i in zip(follow, rows, strict=True)]

    def cox_loop() -> list[float]:
        table = pd.DataFrame({"time": cohort.time, "event": cohort.event, "risk": cohort.risk})
        return [float(CoxPHFitter().fit(table.iloc[i], "time", "event").params_["risk"]) for i in rows]

    bout(f"Uno C, {resamples} of {patients:,}", lambda: uno_c(evidence, cohort.risk, tau=TAU), uno_loop, 1e-12, repeats)
    bout(
        f"AUC, {resamples} of {patients:,}", lambda: dynamic_auc(evidence, cohort.risk, at=36), auc_loop, 1e-12, repeats
    )
    bout(
        f"integrated Brier, {resamples} of {patients:,}",
        lambda: integrated_brier(evidence, alive, MONTHS),
        brier_loop,
        1e-12,
        repeats,
    )
    bout(f"Cox, {resamples} of {patients:,}", lambda: log_hazard_ratio(evidence, cohort.risk), cox_loop, 1e-5, repeats)


def bout(title: str, ours: Callable[[], Metric], loop: Callable[[], list[float]], error: float, repeats: int) -> None:
    peer = "lifelines in a loop" if title.startswith("Cox") else "scikit-survival in a loop"
    assert np.allclose(ours().samples, loop(), rtol=error, atol=0)
    race(f"{title}: equal within {error:g}", ours, {peer: loop}, repeats=repeats)


def main() -> None:
    pprint(threadpool_info())
    time_all(2000, 1000, folds=1)
    time_all(2000, 1000, folds=5)
    race_loops(100, 1000, 3)


if __name__ == "__main__":
    main()
