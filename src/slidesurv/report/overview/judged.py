"""Every method's C-index in every cohort; all methods of a cohort meet the same resamples of its patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidesurv.report.estimate import Estimate
from slidesurv.report.jury import Jury
from slidesurv.report.run import Method, Run
from slidesurv.survival.evidence import Metric
from slidesurv.survival.resampling import interval

__all__ = ["Row", "judge", "names"]


@dataclass(frozen=True, slots=True)
class Row:
    """One method over the cohorts.

    Attributes:
        cohorts: their names.
        methods: the method in each; None where the run lacks it.
        indices: its pooled C-index; None where it has no complete fold.
    """

    cohorts: tuple[str, ...]
    methods: tuple[Method | None, ...]
    indices: tuple[Metric | None, ...]

    @property
    def method(self) -> Method:
        """The method where it first stands."""
        return next(method for method in self.methods if method is not None)

    @property
    def lack(self) -> str:
        """Why there is no mean over the cohorts; "" when there is one."""
        there = [(cohort, each) for cohort, each in zip(self.cohorts, self.indices, strict=True) if each is not None]
        some = f"complete in {len(there)} of {len(self.indices)} cohorts" if len(there) < len(self.indices) else ""
        undefined = [f"undefined in {cohort}: {each.note}" for cohort, each in there if math.isnan(each.value)]
        return "; ".join(filter(None, (some, *undefined)))

    @property
    def mean(self) -> Estimate:
        """Over the cohorts; the note says why there is none."""
        if self.lack:
            return Estimate(note=self.lack)
        whole = [each for each in self.indices if each is not None]
        samples = np.mean([each.samples for each in whole], axis=0)
        return Estimate(float(np.mean([each.value for each in whole])), *interval(samples))

    def minus(self, other: "Row") -> Metric:
        """The mean over the cohorts minus that of a row of the same resamples; the note says why there is none."""
        if lack := self.lack or (other.lack and f"{other.method.label} is {other.lack}"):
            return Metric(math.nan, np.empty(0), lack)
        pairs = [(a, b) for a, b in zip(self.indices, other.indices, strict=True) if a is not None and b is not None]
        samples = np.mean([a.samples - b.samples for a, b in pairs], axis=0)
        return Metric(float(np.mean([a.value - b.value for a, b in pairs])), samples)


def judge(runs: Sequence[Run]) -> dict[str, Row]:
    """Judge every method in each of several runs, by slug."""
    juries = [Jury(run) for run in runs]
    known: dict[str, list[Method | None]] = {}
    for place, run in enumerate(runs):
        for method in run.methods:
            known.setdefault(method.slug, [None] * len(runs))[place] = method
    return {
        slug: Row(names(runs), tuple(row), tuple(_index(*pair) for pair in zip(juries, row, strict=True)))
        for slug, row in known.items()
    }


def names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Name the cohorts; by their experiments where two cohorts are called alike."""
    called = tuple(str(run.cohort.get("name") or run.experiment) for run in runs)
    return called if len(set(called)) == len(called) else tuple(run.experiment for run in runs)


def _index(jury: Jury, method: Method | None) -> Metric | None:
    return jury.index(method) if method is not None and method.complete else None
