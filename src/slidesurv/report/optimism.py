"""The published protocol keeps the epoch that is best on the test fold. How much of its figure is that choice?"""

import math
from dataclasses import dataclass

import numpy as np

from slidesurv.report.run import Method, Numbers, Run

__all__ = ["Optimism", "judge_optimism"]

COLUMN = "test_c_index"


@dataclass(frozen=True, slots=True)
class Optimism:
    """C-indices of test folds, each the mean over seeds and finished folds. A larger C-index is better.

    Attributes:
        kept: of the epoch that was kept because it was the best here.
        last: of the last epoch, which nobody chose.
        typical: mean of all epochs.
        gained: kept minus last; 0 when the choice gave nothing, and never below.
        sd: of that gain, over seeds and folds; NaN for one.
        epochs: the most that a fold could choose from.
        folds: how many are counted, each once a seed: those whose C-index was defined after every epoch.
        finished: how many there are.
    """

    label: str
    kept: float
    last: float
    typical: float
    gained: float
    sd: float
    epochs: int
    folds: int
    finished: int


def judge_optimism(run: Run) -> list[Optimism]:
    """Measure what choosing the epoch on the test fold gave each method.

    An early epoch may be better in truth, so the gain is the most that the choice can have flattered a method whose
    later epochs do no harm.

    Args:
        run: of any protocol.

    Returns:
        One entry a method that was judged on its test folds after every epoch: none for a leak-free run.
    """
    if run.protocol != "paper":
        return []
    return [_measure(method, courses) for method in run.methods if (courses := _courses(method))]


def _courses(method: Method) -> list[Numbers]:
    """The C-index after every epoch of each fold in which it was always defined."""
    courses = [result.history.get(COLUMN, np.empty(0)) for result in method.results.values()]
    return [course for course in courses if len(course) and np.isfinite(course).all()]


def _measure(method: Method, courses: list[Numbers]) -> Optimism:
    kept = np.array([course.max() for course in courses])
    last = np.array([course[-1] for course in courses])
    return Optimism(
        label=method.label,
        kept=float(kept.mean()),
        last=float(last.mean()),
        typical=float(np.mean([course.mean() for course in courses])),
        gained=float((kept - last).mean()),
        sd=float(np.std(kept - last, ddof=1)) if len(courses) > 1 else math.nan,
        epochs=max(map(len, courses)),
        folds=len(courses),
        finished=len(method.results),
    )
