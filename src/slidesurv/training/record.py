"""What a run needs before it begins, and what is written down about it at the end."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidesurv.cohorts.audit import audit, verdict
from slidesurv.cohorts.leaks import examine
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.files import read_json
from slidesurv.registry import models
from slidesurv.report.words import without_folders
from slidesurv.training.baselines import named
from slidesurv.training.device import pick_device
from slidesurv.training.provenance import hashes
from slidesurv.training.search import require_search
from slidesurv.training.tracking import given_up
from slidesurv.types import Sizes, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidesurv.cohorts.study import Study
    from slidesurv.config.row import ModelSection
    from slidesurv.engine import Outcome

__all__ = ["describe_run", "obstacle", "require_data"]

PACKAGES = ("slidesurv", "torch", "numpy")
SMALL = Sizes(tile=8, bins=2, embedding=8, expression=8, groups=(8,) * 6)
READS = {Use.ALWAYS: "reads", Use.TRAINING: "is taught by"}
WORDS = {"groups": "gene groups", "embedding": "a genomic embedding", "expression": "expression"}
REMEDIES = {
    "groups": "set [genomics] signatures",
    "embedding": "set [cohort] expression or embeddings",
    "expression": "set [cohort] expression",
}


def require_data(study: Study) -> None:
    """Check before any training that every model can be built and has what it reads.

    Raises:
        ConfigError: a model reads slides or genomics that the experiment does not name, or the device is not there.
        DataError: patients lack the genomics that a model cannot do without; names them. Or see `require_search`.
        MissingExtra: choices are to be searched and Optuna is not installed.
    """
    pick_device(study.experiment.training.device)
    require_search(study)
    for row in study.experiment.models:
        if reason := obstacle(study, row):
            raise reason


def obstacle(study: Study, row: ModelSection) -> ConfigError | DataError | None:
    """Why a model cannot be fitted on these data; None when it can."""
    try:
        model = models.build(row.name, SMALL, **row.choices())
    except ConfigError as error:
        return error
    if model.slides is Use.ALWAYS and study.dataset.store is None:
        return ConfigError(f"'{row.title}' reads slides: set [cohort] features, or leave it out.")
    if model.genomics is Use.NEVER or model.view is None:
        return None
    if model.view not in study.views:
        return ConfigError(
            f"'{row.title}' {READS[model.genomics]} {WORDS[model.view]}, and there is none: {REMEDIES[model.view]}, or "
            "leave it out."
        )
    if model.genomics is Use.ALWAYS and (lacking := study.lacking(model.view)):
        return DataError(
            f"{len(lacking)} of {len(study.dataset.cohort)} patients have no {model.view}, which '{row.title}' cannot "
            f'do without: {listing(lacking)}. Set [genomics] missing = "drop" to leave them out for every model.'
        )
    return None


def describe_run(study: Study, folder: Path, command: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What ``run.json`` holds; no path of this machine is among it."""
    experiment, cohort = study.experiment, study.dataset.cohort
    planted = experiment.cohort.table.parent / "planted.json"
    return {
        "experiment": experiment.name,
        "protocol": experiment.training.protocol,
        "seeds": experiment.training.seeds,
        "folds": len(study.splits),
        "methods": [_describe_method(row, folder) for row in experiment.models],
        "cohort": study.facts(),
        "dropped": [{"patient_id": patient, "reason": reason} for patient, reason in cohort.dropped],
        "audit_verdict": verdict(audit(cohort, study.splits)),
        "findings": [asdict(finding) for finding in examine(cohort, study.splits)],  # files may hold many gigabytes
        "planted": read_json(planted) if planted.exists() else None,
        "settings": _settings(study),
        "hashes": hashes(study, folder),
        "versions": {package: version(package) for package in (*PACKAGES, *(["optuna"] if experiment.search else []))},
        "command": command,
        "failures": [
            *({"name": o.name, "reason": without_folders(o.reason)} for o in outcomes if o.status == "failed"),
            *_untracked(experiment.models, folder),
        ],
    }


def _untracked(rows: Sequence[ModelSection], folder: Path) -> list[dict[str, str]]:
    """The finished folds whose tracker was given up."""
    told = {
        f"tracking of {row.title}, {place.parent.name} {place.name}": given_up(place)
        for row in rows
        for place in sorted((folder / row.slug).glob("seed*/fold*"))
    }
    return [{"name": name, "reason": reason} for name, reason in told.items() if reason]


def _describe_method(row: ModelSection, folder: Path) -> dict[str, Any]:
    model = models[row.name]
    finished = sorted((folder / row.slug).glob("seed*/fold*/fold.json"))
    known = read_json(finished[0]) if finished else {"parameters": 0, "genomics": model.genomics.value}
    return {
        "label": row.title,
        "slug": row.slug,
        "model": row.name,
        "slides": model.slides.value,
        "genomics": known["genomics"],
        "parameters": known["parameters"],
        "choices": row.plain_choices(),
    }


def _settings(study: Study) -> dict[str, Any]:
    """The experiment as it was resolved, files by their names alone, and the hash of what they held."""
    searched = study.experiment.search is not None
    settings = study.experiment.model_dump(mode="json", exclude={"models"} if searched else {"models", "search"})
    for section in ("cohort", "genomics", "splits"):
        for key, value in settings[section].items():
            if isinstance(value, str) and "/" in value:
                settings[section][key] = Path(value).name
    settings["genomics"]["embedding"] = study.embedding
    settings["baselines"]["names"] = list(named(study))
    return {**settings, "data_sha256": study.fingerprint}
