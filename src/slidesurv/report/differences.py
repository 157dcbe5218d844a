"""Whether the differences of a comparison are larger than the noise, and how small a one its patients could show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slidesurv.report.estimate import Estimate, p_text
from slidesurv.report.jury import Jury, shared
from slidesurv.report.run import Method
from slidesurv.report.table import Comparison
from slidesurv.survival.comparison import CorrectedTest, bootstrap_p, corrected_t_test, detectable, holm

__all__ = ["Difference", "by_folds", "judge_differences", "verdict"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A method against the reference.

    Attributes:
        p: two-sided, by the paired bootstrap of patients, adjusted by Holm for the number of methods; NaN when there is
            no difference to test.
        detectable: the difference in C-index that a test at 0.05 would find four times in five with these patients. A
            larger value means that the design sees less.
        over_folds: the corrected t-test over the folds both finished, each the mean over its seeds.
    """

    label: str
    slug: str
    p: float
    detectable: float
    over_folds: CorrectedTest


def judge_differences(jury: Jury, comparison: Sequence[Comparison]) -> list[Difference]:
    """Test every method of a comparison against its reference.

    Args:
        jury: of the run.
        comparison: of the run.

    Returns:
        One for every other method that shares a fold with the reference.
    """
    pairs = list(zip(comparison, jury.run.methods, strict=True))
    first, reference = next(pair for pair in pairs if pair[0].is_reference)
    others = [pair for pair in pairs if pair[0] is not first and shared(pair[1], reference)]
    tested = [_test(jury, row, method, first, reference) for row, method in others]
    adjusted = holm([difference.p for difference in tested])
    return [replace(difference, p=float(p)) for difference, p in zip(tested, adjusted, strict=True)]


def _test(jury: Jury, row: Comparison, method: Method, first: Comparison, reference: Method) -> Difference:
    samples = jury.gap(method, reference).samples
    folds = shared(method, reference)
    gaps = [row.folds[fold].value - first.folds[fold].value for fold in folds]
    results = [reference.results[reference.seeds[0], fold] for fold in folds]
    taught = float(np.mean([len(result.training_time) for result in results]))
    tested = float(np.mean([len(result.time) for result in results]))
    over_folds = corrected_t_test(gaps, train=taught, test=tested)
    return Difference(row.label, row.slug, bootstrap_p(samples), detectable(samples), over_folds)


def verdict(differences: Sequence[Difference], reference: str, *, level: float = 0.05) -> list[str]:
    """Say which differences remain, and how small a one could have been found.

    Args:
        differences: from `judge_differences`.
        reference: its label.
        level: of the tests.
    """
    known = [difference for difference in differences if not math.isnan(difference.p)]
    if not known:
        return []
    found = [f"{difference.label} ({p_text(difference.p)})" for difference in known if difference.p < level]
    tests = f"adjusted by Holm for {len(known)} comparison{'s' * (len(known) > 1)}"
    least, most = (f"{end(difference.detectable for difference in known):.3f}" for end in (min, max))
    span = least if least == most else f"{least} to {most}, depending on the method,"
    return [
        f"Different from {reference} at the level of {level:g}, {tests}: {'; '.join(found) or 'none'}.",
        f"With these patients, a test of one difference finds a true one of {span} four times in five. "
        "Smaller ones are mostly missed, and exaggerated where they are found.",
    ]


def by_folds(differences: Sequence[Difference], reference: str) -> list[str]:
    """Say what the folds tell of every difference, with its interval or the reason why there is no test.

    Args:
        differences: from `judge_differences`.
        reference: its label.
    """
    if not differences:
        return []
    told = "; ".join(f"{difference.label} {_tested(difference.over_folds)}" for difference in differences)
    test = "the t-test corrected for shared training patients (Nadeau and Bengio), 95 % CI, not adjusted"
    return [f"Difference to {reference} by folds, with {test}: {told}."]


def _tested(test: CorrectedTest) -> str:
    text = Estimate(test.difference, test.low, test.high).text(signed=True)
    return f"{text} — {test.note}" if math.isnan(test.p) else f"{text}, {p_text(test.p)}"
