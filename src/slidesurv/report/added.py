"""What a method adds to the clinical baseline: the chart is there before the slide is scanned."""

import numpy as np

from slidesurv.report.accuracy import OWN
from slidesurv.report.estimate import Estimate
from slidesurv.report.jury import Jury, shared
from slidesurv.report.run import WITH_CLINICAL, FoldResult, Method, Numbers, Run
from slidesurv.survival.added_value import likelihood_ratio
from slidesurv.survival.effects import per_deviation

__all__ = ["added", "asked"]

CLINICAL = "baseline-clinical"


def asked(run: Run) -> bool:
    """Whether the run was to have a clinical baseline, alone or beside its methods."""
    named = "clinical" in (run.settings.get("baselines.names") or ())
    return named or bool(run.settings.get("baselines.with_clinical")) or _find(run, CLINICAL) is not None


def added(jury: Jury, method: Method) -> dict[str, Estimate]:
    """Say what a method adds to the clinical baseline.

    Args:
        jury: of a run for which `asked` is true.
        method: with a complete fold at least.

    Returns:
        ``added_c``, the C-index of both together minus that of the clinical baseline, on the same resamples;
        ``added_chi2`` and ``added_p``, the likelihood-ratio test on the test patients, of the method's risk in standard
        deviations of its fold, mean over seeds. Of a patient whom several folds judge, the first counts in the test.
    """
    clinical = _find(jury.run, CLINICAL)
    if method is clinical or method.slug.endswith(WITH_CLINICAL):
        return _nothing(OWN)
    if clinical is None:
        tried = "clinical" in (jury.run.settings.get("baselines.names") or ())
        return _nothing(
            f"no clinical baseline {'was fitted: see the failures' if tried else 'is in [baselines] names'}"
        )
    if not shared(method, clinical):
        return _nothing(f"no fold was finished by both this method and {clinical.label}")
    return {"added_c": _gain(jury, method, clinical), **_test(method, clinical)}


def _gain(jury: Jury, method: Method, clinical: Method) -> Estimate:
    both = _find(jury.run, method.slug + WITH_CLINICAL)
    if method.slug.startswith("baseline-"):
        return Estimate(note="baselines are not weighed with each other")
    if both is None or not shared(both, clinical):
        tried = bool(jury.run.settings.get("baselines.with_clinical"))
        mend = "see the failures" if tried else "set [baselines] with_clinical = true"
        return Estimate(note=f"it was not weighed with the clinical baseline: {mend}")
    return Estimate.of(jury.gap(both, clinical))


def _test(method: Method, clinical: Method) -> dict[str, Estimate]:
    folds = shared(method, clinical)
    places, _ = method.people(folds)
    time, event, fold = (column[places] for column in method.follow_up(folds))
    risk, known = (each.pool(_scaled, folds).mean(0)[places] for each in (method, clinical))
    found = likelihood_ratio(risk, known, time, event, strata=fold)
    some = "" if folds == method.complete else f"tested on folds {', '.join(map(str, folds))} only"
    note = "; ".join(filter(None, (found.note, some)))
    return {"added_chi2": Estimate(found.statistic, note=note), "added_p": Estimate(found.p, note=note)}


def _scaled(result: FoldResult) -> Numbers:
    """Risk in standard deviations of the fold, so that seeds of different scales can be averaged."""
    return per_deviation(result.risk, (np.arange(len(result.risk)),))


def _nothing(why: str) -> dict[str, Estimate]:
    return dict.fromkeys(("added_c", "added_chi2", "added_p"), Estimate(note=why))


def _find(run: Run, slug: str) -> Method | None:
    return next((method for method in run.methods if method.slug == slug), None)
