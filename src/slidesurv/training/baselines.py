"""Baselines in the form of a method, so that they stand in every table.

::

    runs/<name>/baseline-<baseline>/seed<s>/fold<k>/  predictions.csv  timing.json  fold.json
    runs/<name>/<method>-with-clinical/ …             the same

Nothing of a baseline is random, so every seed has the same files; what is added to a method has that method's seeds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidesurv.cohorts.baselines import BASELINES, fit_baseline, fit_combined
from slidesurv.cohorts.covariates import Covariates
from slidesurv.cohorts.dataset import FoldView
from slidesurv.errors import DataError
from slidesurv.files import read_csv, read_json, sha256, write_csv, write_json
from slidesurv.registry import models
from slidesurv.seeds import seed_for
from slidesurv.survival.bins import fit_bins
from slidesurv.types import Cohort, TimeBins, Use

if TYPE_CHECKING:
    from slidesurv.cohorts.baselines import Baseline, Combined
    from slidesurv.cohorts.study import Study

__all__ = ["beside", "named", "write_baselines", "write_combined"]

log = logging.getLogger(__name__)

LABELS = {
    "null": "null",
    "site": "site only",
    "clinical": "clinical Cox",
    "mean-tiles": "mean tiles + Cox",
    "expression": "expression + Cox",
}
READS = {"mean-tiles": ("slides",), "expression": ("genomics",)}
WANTS = {
    "site": "patients of two sites",
    "clinical": "a clinical covariate in which patients differ",
    "mean-tiles": "a method that reads slides",
    "expression": "a table of expression",
}


Told = tuple[list[dict[str, Any]], list[dict[str, str]]]


def beside(study: Study, folder: Path, methods: Sequence[Mapping[str, Any]]) -> Iterator[Told]:
    """Write every baseline that the experiment asks for beside its methods.

    Args:
        study: open.
        folder: of the run, where the methods have finished.
        methods: their rows in ``run.json``.

    Yields:
        What `write_baselines` and `write_combined` return.
    """
    asked, names = study.experiment.baselines, named(study)
    if asked.names is None and (absent := [f"'{name}' wants {WANTS[name]}" for name in BASELINES if name not in names]):
        log.warning("Baselines are left out: %s.", "; ".join(absent))
    if names:
        yield write_baselines(study, folder, names)
    if asked.with_clinical:
        for method in methods:
            yield write_combined(study, folder, method)


def named(study: Study) -> tuple[str, ...]:
    """The baselines that an experiment asks for; where it names none, those for which its cohort has the data."""
    asked = study.experiment.baselines.names
    return asked if asked is not None else tuple(name for name in BASELINES if _has_data(study, name))


def _has_data(study: Study, name: str) -> bool:
    data = study.dataset
    if name == "site":
        return len({patient.site for patient in data.cohort}) > 1
    if name == "clinical":
        return _differs(data.cohort)
    if name == "mean-tiles":  # reads every bag, which is little beside a method that does, and much beside none
        return any(models[row.name].slides is Use.ALWAYS for row in study.experiment.models)
    return name != "expression" or data.expression is not None


def _differs(cohort: Cohort) -> bool:
    """Whether patients differ in a clinical covariate."""
    try:
        Covariates.fit(cohort)
    except DataError:
        return False
    return True


def write_baselines(
    study: Study, folder: Path, names: Sequence[str] = tuple(BASELINES)
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Fit baselines on every fold and write what they say.

    Args:
        study: open, as for a cross-validation.
        folder: of the run.
        names: of `BASELINES`.

    Returns:
        For ``run.json``: a row of ``methods`` for each baseline that could be fitted, and one of ``failures`` for each
        fold of which this could not be done.

    Raises:
        ConfigError: a name is not known.
    """
    methods, failures = [], []
    for name in names:
        slug, reads = f"baseline-{name}", READS.get(name, ())
        missed = _each_fold(study, LABELS.get(name, name), partial(_write_baseline, study, name, folder / slug))
        failures += missed
        if len(missed) < len(study.splits):
            sees = (Use.ALWAYS.value if what in reads else Use.NEVER.value for what in ("slides", "genomics"))
            methods.append(_describe(LABELS.get(name, name), slug, *sees))
    return methods, failures


def write_combined(
    study: Study, folder: Path, method: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Write what a method and the clinical baseline say together, weighed on the tuning part.

    A method's risks of its training patients are too good to be true. On the tuning part none of its weights was
    fitted, though its epoch was chosen there. The protocol "paper" keeps none: then there is a reason instead.

    Args:
        study: open.
        folder: of the run, where the method has finished.
        method: its row of ``methods`` in ``run.json``.

    Returns:
        As `write_baselines`, of one row at most.
    """
    label, slug = f"{method['label']} + clinical", f"{method['slug']}-with-clinical"
    missed = _each_fold(study, label, partial(_write_combined, study, folder / method["slug"], folder / slug))
    if len(missed) == len(study.splits):
        return [], missed
    return [_describe(label, slug, method["slides"], method["genomics"])], missed


def _describe(label: str, slug: str, slides: str, genomics: str) -> dict[str, Any]:
    sees = {"slides": slides, "genomics": genomics}
    return {"label": label, "slug": slug, "model": slug, **sees, "parameters": 0, "choices": {}}


def _each_fold(study: Study, label: str, write: Callable[[int], None]) -> list[dict[str, str]]:
    """Write fold after fold; one that cannot be fitted is told with its reason, and the others go on."""
    missed = []
    for fold in range(len(study.splits)):
        try:
            write(fold)
        except DataError as error:
            missed.append({"name": f"{label}, fold {fold}", "reason": str(error)})
    return missed


def _fit(study: Study, name: str, fold: int) -> Baseline:
    seed = seed_for(study.experiment.splits.seed, fold)
    return fit_baseline(name, FoldView(study.dataset, study.splits[fold]), seed=seed)


def _write_baseline(study: Study, name: str, place: Path, fold: int) -> None:
    start, split = time.monotonic(), study.splits[fold]
    fitted, patients = _fit(study, name, fold), (*split.train, *split.tune, *split.test)
    risks = dict(zip(patients, fitted.log_hazard(study.dataset, patients).tolist(), strict=True))
    for seed in study.experiment.training.seeds:
        _write(study, fold, place / f"seed{seed}" / f"fold{fold}", fitted, risks, start=start)


def _write_combined(study: Study, method: Path, place: Path, fold: int) -> None:
    clinical = _fit(study, "clinical", fold)
    for seed in study.experiment.training.seeds:
        start, below = time.monotonic(), f"seed{seed}/fold{fold}"
        rows = read_csv(method / below / "predictions.csv")
        honest = {row["patient_id"]: float(row["risk"]) for row in rows if row["split"] == "tune"}
        if not honest:
            raise DataError(
                f"Fold {fold} keeps no tuning part, so '{method.name}' has no risk of anybody on whom it was not "
                'fitted, and nothing can be weighed. Set [splits] tune above 0, and protocol = "leakfree".'
            )
        fitted = fit_combined(clinical, study.dataset, honest)
        risks = {row["patient_id"]: float(row["risk"]) for row in rows}
        judged = fitted.log_hazard(study.dataset, risks).tolist()
        _write(study, fold, place / below, fitted, dict(zip(risks, judged, strict=True)), start=start)


def _write(
    study: Study, fold: int, place: Path, fitted: Baseline | Combined, risks: Mapping[str, float], *, start: float
) -> None:
    """Write the files of one fold, ``fold.json`` last."""
    split, bins = study.splits[fold], _bins(study, fold)
    digest = sha256(fitted.coefficients.tobytes(), fitted.hazard.cumulative.tobytes())
    parts = {patient: part for part in ("train", "tune", "test") for patient in getattr(split, part)}
    rows = []
    for (patient, risk), curve in zip(risks.items(), fitted.survival(list(risks.values()), bins).tolist(), strict=True):
        known = study.dataset.cohort[patient]
        said = {"patient_id": patient, "fold": fold, "split": parts[patient], "risk": risk, "model_hash": digest}
        seen = {"time_months": known.time, "event": int(known.event), "site": known.site}
        rows.append(said | seen | {f"S_{k}": alive for k, alive in enumerate(curve)} | {"n_slides": 0, "n_tiles": 0})
    write_csv(place / "predictions.csv", rows, list(rows[0]))
    if not _fitted_before(place, digest):  # the same command again leaves the same files
        write_json(place / "timing.json", {"seconds": time.monotonic() - start})
    write_json(place / "fold.json", {"epoch": 0, "epochs": 0, "edges": bins.edges, "model_hash": digest})


def _fitted_before(place: Path, digest: str) -> bool:
    """Whether a fold stands here with these very coefficients."""
    told = place / "fold.json"
    return (place / "timing.json").exists() and told.exists() and read_json(told).get("model_hash") == digest


def _bins(study: Study, fold: int) -> TimeBins:
    """The time bins of the fold's methods, so that curves can be laid side by side."""
    training, cohort = study.experiment.training, study.dataset.cohort
    told = cohort if training.protocol == "paper" else cohort.subset(study.splits[fold].train)
    return fit_bins([p.time for p in told], [p.event for p in told], n_bins=training.n_bins)
