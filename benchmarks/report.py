"""Time the report of a made run: 17 methods × 5 folds × 3 seeds × 450 patients, from saved predictions to the page.

OMP_NUM_THREADS=1 env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/report.py
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from race import peak_megabytes

from slidesurv.files import write_csv, write_json
from slidesurv.report.differences import judge_differences
from slidesurv.report.jury import Jury
from slidesurv.report.metrics import measure
from slidesurv.report.overview.files import write_overview
from slidesurv.report.overview.table import overview
from slidesurv.report.page import write_report
from slidesurv.report.read import read_run
from slidesurv.report.table import compare

FOLDS, SEEDS, EPOCHS = 5, (1, 2, 3), 20
EDGES = [0.0, 10.0, 20.0, 35.0, 120.0]


class Cohort:
    """Follow-up that a hidden risk made; a method is the risk and noise, the more the later it stands."""

    def __init__(self, patients: int) -> None:
        rng = np.random.default_rng(0)
        self.risk = rng.normal(size=patients)
        death, watched = rng.exponential(40 * np.exp(-0.5 * self.risk)), rng.uniform(5, 120, patients)
        self.time, self.event = np.minimum(death, watched), death <= watched

    def write(self, folder: Path, methods: int) -> Path:
        """Write a run folder as crossval does."""
        for method in range(methods):
            for seed in SEEDS:
                noise = np.random.default_rng([method, seed]).normal(size=len(self.risk)) * (0.5 + method / 4)
                for fold in range(FOLDS):
                    self._write_fold(folder / f"m{method}" / f"seed{seed}" / f"fold{fold}", fold, self.risk + noise)
        named = [
            {"label": f"Method {number}", "slug": f"m{number}", "model": "m", "slides": "always", "genomics": "never"}
            for number in range(methods)
        ]
        facts = {"name": folder.name, "patients": len(self.risk), "median_follow_up_months": 30.0}
        about = {"experiment": folder.name, "protocol": "leakfree", "seeds": SEEDS, "folds": FOLDS, "cohort": facts}
        write_json(folder / "run.json", about | {"methods": named})
        return folder

    def _write_fold(self, place: Path, fold: int, risk: NDArray[np.float64]) -> None:
        alive = np.exp(-np.outer(np.exp(0.5 * risk), EDGES[1:]) / 40)  # (B, T)
        test = np.arange(len(risk)) % FOLDS == fold
        rows = [
            {"patient_id": f"P{n:05d}", "fold": fold, "split": "test" if test[n] else "train", "risk": risk[n]}
            | {"time_months": self.time[n], "event": int(self.event[n]), "site": "A", "n_slides": 1, "n_tiles": 9}
            | {f"S_{k}": value for k, value in enumerate(alive[n])}
            for n in range(len(risk))
        ]
        history = [{"epoch": e, "train_nll": 2 / e, "tune_nll": 1 + 1 / e} for e in range(1, EPOCHS + 1)]
        write_csv(place / "predictions.csv", rows, list(rows[0]))
        write_csv(place / "history.csv", history, list(history[0]))
        write_json(place / "timing.json", {"seconds": 1.0})
        write_json(place / "fold.json", {"edges": EDGES, "epoch": 5})


def timed(name: str, call: Callable[[], object]) -> None:
    start, worked = time.perf_counter(), time.process_time()
    call()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    print(f"  {name:<36}{seconds:7.1f} s; of all processors {worked:6.1f} s; peak so far {peak_megabytes():.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", type=int, default=17)
    parser.add_argument("--patients", type=int, default=450)
    asked = parser.parse_args()
    print(f"{asked.methods} methods, {FOLDS} folds, {len(SEEDS)} seeds, {asked.patients} patients, 2,000 resamples")
    with tempfile.TemporaryDirectory() as place:
        cohort = Cohort(asked.patients)
        folders = [cohort.write(Path(place) / name, asked.methods) for name in ("one", "two")]
        timed("read", lambda: read_run(folders[0]))
        jury = Jury(read_run(folders[0]))
        timed("comparison and differences", lambda: judge_differences(jury, compare(jury)))
        timed("all metrics", lambda: measure(jury))
        timed("the whole report, with pictures", lambda: write_report(folders[0]))
        table = Path(place) / "table"
        timed("methods × two cohorts", lambda: write_overview(overview([read_run(f) for f in folders]), table))


if __name__ == "__main__":
    main()
