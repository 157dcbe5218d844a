"""How accurate each method is: order, size and calibration, each with its interval, or the reason why there is none."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from slidesurv.report.accuracy import Accuracy, Column, Measured, columns_at
from slidesurv.report.added import added, asked
from slidesurv.report.estimate import Estimate
from slidesurv.report.jury import Jury
from slidesurv.report.run import FoldResult, Method, Numbers, Run
from slidesurv.survival.accuracy import survival_at
from slidesurv.survival.calibration import (
    DCalibration,
    brier,
    calibration_slope,
    d_calibration,
    integrated_brier,
    skill,
)
from slidesurv.survival.discrimination import dynamic_auc, uno_c
from slidesurv.survival.effects import hazard_ratio, restricted_mean_difference
from slidesurv.survival.evidence import Evidence, Metric, gather

__all__ = ["measure"]

YEARS = (12.0, 36.0, 60.0)  # months
POINTS = 61  # of the integral: one a month when it runs over five years
CURVELESS = "it gives a hazard ratio, not a survival curve"
UNFINISHED = "no fold was finished for every seed"


def measure(jury: Jury) -> Accuracy:
    """Measure every method of a run.

    Args:
        jury: of the run.
    """
    months, note = _horizons(jury)
    columns = columns_at(months, clinical=asked(jury.run))
    with ThreadPoolExecutor() as threads:  # numpy lets others run
        rows = tuple(threads.map(lambda method: _measure(jury, method, months, columns), jury.run.methods))
    return Accuracy(columns, rows, months, note, _last_bin(jury.run, months), jury.run.stamp)


def _horizons(jury: Jury) -> tuple[tuple[float, ...], str]:
    """One, three and five years, as far as patients were watched; the middle of their times when not even one."""
    most = max(jury.run.methods, key=lambda method: len(method.complete))
    if not most.complete:
        return YEARS, ""
    evidence = jury.evidence(most)
    seen = tuple(month for month in YEARS if month < evidence.known_until)
    if len(seen) == len(YEARS):
        return YEARS, ""
    left_out = ", ".join(f"{month:g}" for month in YEARS if month not in seen)
    why = f"Nothing is judged at {left_out} months: patients were watched for {evidence.known_until:.3g} months only"
    if seen:
        return seen, f"{why}."
    middle = float(np.median(evidence.time))
    return (middle,), f"{why}. The middle of their times, {middle:.3g} months, stands in."


def _last_bin(run: Run, months: Sequence[float]) -> str:
    """Warn of months inside the last time bin, which is as long as the longest follow-up."""
    curved = [result.edges for method in run.methods if method.has_curves for result in method.results.values()]
    start, end = min((edges[-2] for edges in curved), default=math.inf), max((e[-1] for e in curved), default=math.inf)
    if not (late := [f"{month:.3g}" for month in months if month > start]):
        return ""
    return (
        f"Beware of {' and '.join(late)} months: the last time bin begins at {start:.3g} months and ends at {end:.3g}. "
        "Curves are straight lines inside a bin, so that part of the error is that of the bins."
    )


def _measure(jury: Jury, method: Method, months: Sequence[float], columns: Sequence[Column]) -> Measured:
    if not method.complete:
        return Measured(method.label, method.slug, {column.key: Estimate(note=UNFINISHED) for column in columns})
    estimates = {column.key: Estimate(note=CURVELESS) for column in columns if column.about == "survival"}
    estimates |= _order(jury, method, months)
    estimates |= added(jury, method) if asked(jury.run) else {}
    shares: tuple[Estimate, ...] = ()
    if method.has_curves:
        estimates |= _survival(jury, method, months)
        tests = _d_calibrated(jury, method)
        estimates["d_calibration_p"] = Estimate(float(np.median([test.p for test in tests])), note=tests[0].note)
        shares = _shares(tests)
    done, folds = len(method.complete), jury.run.folds
    return Measured(method.label, method.slug, estimates, shares, f"on {done} of {folds} folds" if done < folds else "")


def _order(jury: Jury, method: Method, months: Sequence[float]) -> dict[str, Estimate]:
    """Metrics of the risk alone."""
    metrics = {
        "harrell_c": jury.index(method),
        "uno_c": jury.ask(method, partial(uno_c, tau=months[-1]), _risk),
        **{f"auc_{month:.3g}": jury.ask(method, partial(dynamic_auc, at=month), _risk) for month in months},
        "months_ahead": jury.ask(method, partial(restricted_mean_difference, tau=months[-1]), _called_high),
    }
    ratio = Estimate.of(_changed(jury.ask(method, _log_ratio, _risk), np.exp))
    return {name: Estimate.of(metric) for name, metric in metrics.items()} | {"hazard_ratio": ratio}


def _survival(jury: Jury, method: Method, months: Sequence[float]) -> dict[str, Estimate]:
    """Metrics of the predicted survival curves."""
    span = np.linspace(0, months[-1], POINTS)
    evidence = jury.evidence(method)
    score = jury.ask(method, partial(integrated_brier, months=span), partial(_alive, at=span))
    null = integrated_brier(evidence, evidence.expected(span), span)
    slope = jury.ask(method, partial(calibration_slope, at=months[-1]), partial(_alive, at=months[-1]))
    metrics = {
        **{f"brier_{m:.3g}": jury.ask(method, partial(brier, at=m), partial(_alive, at=m)) for m in months},
        "integrated_brier": score,
        "kaplan_meier_brier": null,
        "skill": skill(score, null),
        "calibration_slope": slope,
    }
    return {name: Estimate.of(metric) for name, metric in metrics.items()}


def _d_calibrated(jury: Jury, method: Method) -> list[DCalibration]:
    """D-calibration of every seed; of a patient whom several folds judge, the first counts."""
    first, _ = method.people()
    time, event, fold = method.first()
    references = dict(zip(method.complete, jury.evidence(method).references, strict=True))
    once = gather(time, event, references, strata=fold, resamples=jury.resamples, seed=jury.seed)
    own = method.pool(lambda result: survival_at(result.edges, result.survival, result.time).diagonal())[:, first]
    return [d_calibration(once, alive) for alive in own]


def _shares(tests: Sequence[DCalibration]) -> tuple[Estimate, ...]:
    """Per cent of the patients in every group, mean over seeds; nothing where nobody died."""
    if math.isnan(tests[0].statistic):
        return ()
    share, samples = (100 * np.mean([getattr(test, name) for test in tests], axis=0) for name in ("share", "samples"))
    return tuple(Estimate.of(Metric(float(value), drawn)) for value, drawn in zip(share, samples.T, strict=True))


def _risk(result: FoldResult) -> Numbers:
    return result.risk


def _called_high(result: FoldResult) -> Any:
    return result.risk >= result.cut


def _alive(result: FoldResult, at: Any) -> Numbers:
    return survival_at(result.edges, result.survival, at)


def _log_ratio(evidence: Evidence, risk: Numbers) -> Metric:
    """The logarithm, so that the mean over seeds of a ratio and of its inverse are each other's inverse."""
    return _changed(hazard_ratio(evidence, risk), np.log)


def _changed(metric: Metric, change: Callable[[Any], Any]) -> Metric:
    return Metric(float(change(metric.value)), change(metric.samples), metric.note)
