"""Whether patients of some sites die sooner, so that a model can seem to read tumours while it reads the laboratory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidesurv.cohorts.baselines import site_hazards
from slidesurv.cohorts.splits import rounds
from slidesurv.survival.estimators import LogRank, log_rank
from slidesurv.survival.resampling import bootstrap_concordance, interval, pooled_concordance
from slidesurv.types import Cohort, Split

__all__ = ["SiteEffect", "site_effect"]

EXPECTED = 5.0  # deaths by the number of patients; sites with fewer are tested together, as the test asks for
SMALL = "the small sites together"
LEVEL = 0.05
NAMED = 3  # sites


@dataclass(frozen=True, slots=True)
class SiteEffect:
    """What the site tells of the outcome.

    Attributes:
        p: of the log-rank test between sites inside the training part of each fold.
        index: C-index, inside the folds, of a model that knows of each test patient the site alone.
        low: end of its 95 % interval by the bootstrap of patients.
        high: end of the same.
        shared: share of the test patients whose site training has; the others are one to this model.
        unlike: sites whose deaths are least like those of the others, with how many were seen and expected in the
            training part of the first fold.
    """

    p: tuple[float, ...]
    index: float
    low: float
    high: float
    shared: float
    unlike: tuple[tuple[str, int, float], ...]

    @property
    def tested(self) -> bool:
        """Whether sites differ in the training part of every fold."""
        return max(self.p) < LEVEL

    @property
    def misleads(self) -> bool:
        """Whether a model can gain by recognising the site."""
        return self.shared > 0 and (self.tested or self.low > 0.5)

    def __str__(self) -> str:
        p = f"log-rank in training, p {'=' if len(set(self.p)) == 1 else '≤'} {max(self.p):.2g}"
        named = ", ".join(f"'{site}' ({seen} deaths, {expected:.1f} expected)" for site, seen, expected in self.unlike)
        reach = f"the site alone has a C-index of {self.index:.3f} ({self.low:.3f} to {self.high:.3f}) on test patients"
        if self.shared == 0:
            reach = "training and test share no site, so that it predicts nothing"
        if self.tested:
            return f"The outcome depends on the site ({p}): {named}; {reach}."
        if self.misleads:
            return f"The site predicts the outcome: {reach}, though sites do not differ by the test ({p})."
        return f"The outcome is not shown to depend on the site ({p}); {reach}."


def site_effect(cohort: Cohort, splits: Sequence[Split], *, resamples: int = 1000, seed: int = 0) -> SiteEffect | None:
    """Test whether the outcome depends on the site, and how far the site alone predicts it.

    Args:
        cohort: everybody.
        splits: the folds; of repeated ones the first repeat is looked at.
        resamples: of the bootstrap.
        seed: of the same.

    Returns:
        None where the training part of a fold has no death, or no two sites with deaths enough to be told apart.
    """
    folds = [split for split, number in zip(splits, rounds(splits), strict=True) if number == 0]
    tests = [_test(cohort.subset(split.train)) for split in folds]
    found = [test for test in tests if test is not None]
    if len(found) < len(folds):
        return None
    judged = [(fold, cohort[patient]) for fold, split in enumerate(folds) for patient in split.test]
    rates = [site_hazards(cohort.subset(split.train)) for split in folds]
    risk = np.array([rates[fold][0].get(patient.site, rates[fold][1]) for fold, patient in judged])
    fold_of = np.array([fold for fold, _ in judged])
    event, time = (np.array([getattr(patient, name) for _, patient in judged]) for name in ("event", "time"))
    samples = bootstrap_concordance(event, time, risk, resamples=resamples, seed=seed, strata=fold_of)
    known = [patient.site in rates[fold][0] for fold, patient in judged]
    index = pooled_concordance(event, time, risk, fold_of).index
    return SiteEffect(
        tuple(test.p for test in found), index, *interval(samples), float(np.mean(known)), _unlike(found[0])
    )


def _test(training: Cohort) -> LogRank | None:
    """Compare sites, small ones together."""
    known = [patient for patient in training if patient.site]
    time, event = [patient.time for patient in known], [patient.event for patient in known]
    if not any(event):
        return None
    patients = Counter(patient.site for patient in known)
    share = sum(event) / len(event)
    group = [patient.site if share * patients[patient.site] >= EXPECTED else SMALL for patient in known]
    if len(set(group)) < 2:
        return None
    test = log_rank(time, event, group)
    return None if np.isnan(test.p) else test


def _unlike(test: LogRank) -> tuple[tuple[str, int, float], ...]:
    """The sites that add most to the test's statistic, by rising chance."""
    strange = (test.observed - test.expected) ** 2 / test.expected
    rows = zip(test.groups, test.observed.tolist(), test.expected.tolist(), strict=True)
    falling = [row for _, row in sorted(zip(-strange, rows, strict=True))]
    return tuple(row for row in falling if row[0] != SMALL)[:NAMED]
