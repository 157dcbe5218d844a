"""The main job from Python: a cohort in, a report out.

    python examples/01_from_python.py

``slidesurv crossval`` does the same from a TOML file; here every step is a call.
"""

from pathlib import Path

from slidesurv.cohorts.synthetic import Truth, write_synthetic
from slidesurv.config.experiment import Experiment
from slidesurv.report.page import write_report
from slidesurv.training.crossval import plan, run_jobs

FOLDER = Path("runs/from-python")


def main() -> None:
    write_synthetic(FOLDER / "data", Truth(patients=60), seed=0)
    experiment = Experiment.model_validate(
        {
            "name": "from-python",
            "cohort": {
                "table": FOLDER / "data/cohort.csv",
                "features": FOLDER / "data/features",
                "expression": FOLDER / "data/expression.csv",
            },
            "features": {"standardise": True},
            "training": {"epochs": 3, "learning_rate": 1e-3},
            "models": [{"name": "attnmil", "dim": 64}, {"name": "snn"}],
        }
    )
    run_jobs(plan(experiment, FOLDER / "run"), report=lambda outcome: print(outcome.name, outcome.status))
    print(f"Report: {write_report(FOLDER / 'run')}")


if __name__ == "__main__":
    main()
