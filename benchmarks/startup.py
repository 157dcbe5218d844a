"""How long a fresh interpreter takes to answer, in processor time: the front door, and what evaluation imports.

    python benchmarks/startup.py

Empty Python and NumPy alone are timed in turn with it: the first is the floor of the front door, the second of
evaluation.
"""

import subprocess
import sys
from collections.abc import Callable

from race import race


def start(*words: str) -> Callable[[], None]:
    def call() -> None:
        subprocess.run([sys.executable, *words], capture_output=True, check=False)

    return call


def main() -> None:
    door = ("-m", "slidesurv.cli")
    race(
        "front door, ours: --help",
        start(*door, "--help"),
        {
            "--version": start(*door, "--version"),
            "a wrong verb": start(*door, "crossvall"),
            "a verb's --help": start(*door, "crossval", "--help"),
            "a verb without its argument": start(*door, "crossval"),
            "python -c pass": start("-c", "pass"),
            "import typer": start("-c", "import typer"),
            "import argparse": start("-c", "import argparse"),
        },
        repeats=9,
    )
    race(
        "evaluation, ours: C-index, bootstrap, Kaplan-Meier and log-rank are imported",
        start("-c", "import slidesurv.survival.resampling, slidesurv.survival.estimators"),
        {
            "import numpy": start("-c", "import numpy"),
            "scikit-survival": start("-W", "ignore", "-c", "import sksurv.metrics"),
            "lifelines": start("-W", "ignore", "-c", "import lifelines"),
        },
        repeats=5,
    )


if __name__ == "__main__":
    main()
