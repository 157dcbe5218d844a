"""What a set of splits can show: how many deaths judge, and whether the test patients come from the training sites."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slidesurv.types import Cohort, Patient, Split

__all__ = ["AUDIT_COLUMNS", "audit", "verdict"]

AUDIT_COLUMNS = (
    "fold", "part", "patients", "events", "events_by_bin", "median_months", "sites", "shared_sites", "shared_share"
)  # fmt: skip
FEW = 10  # deaths in a test part; below, one fold's C-index moves by more than a tenth on chance alone


def audit(cohort: Cohort, splits: Sequence[Split], *, n_bins: int = 4) -> list[dict[str, Any]]:
    """Count what stands in each part of each fold.

    Args:
        cohort: everybody.
        splits: the folds.
        n_bins: time bins, cut at quantiles of the training deaths' times.

    Returns:
        A row a part, with `AUDIT_COLUMNS`: patients, events (deaths), events_by_bin (``7 9 8 8``; None where nobody
        died in training), median_months of follow-up as observed, sites,
        shared_sites (sites that training has too) and shared_share (of the part's patients from those sites). The last
        two are None for training, and where no site is known.
    """
    rows = []
    for fold, split in enumerate(splits):
        training = cohort.subset(split.train)
        taught, edges = {patient.site for patient in training} - {""}, _edges(training, n_bins)
        for part in ("train", "tune", "test"):
            patients = cohort.subset(getattr(split, part)).patients
            sites = {patient.site for patient in patients} - {""}
            compared = part != "train" and bool(sites)
            rows.append(
                {
                    "fold": fold,
                    "part": part,
                    "patients": len(patients),
                    "events": sum(patient.event for patient in patients),
                    "events_by_bin": _count(patients, edges),
                    "median_months": float(np.median([p.time for p in patients])) if patients else None,
                    "sites": len(sites),
                    "shared_sites": len(sites & taught) if compared else None,
                    "shared_share": sum(p.site in taught for p in patients) / len(patients) if compared else None,
                }
            )
    return rows


def _edges(training: Cohort, n_bins: int) -> Sequence[float]:
    """The inner edges of the time bins; none where nobody died."""
    deaths = [patient.time for patient in training if patient.event]
    return np.quantile(deaths, np.linspace(0, 1, n_bins + 1)[1:-1]).tolist() if deaths else ()


def _count(patients: Sequence[Patient], edges: Sequence[float]) -> str | None:
    if not edges:
        return None
    bins = np.searchsorted(edges, [patient.time for patient in patients if patient.event], side="right")
    return " ".join(map(str, np.bincount(bins, minlength=len(edges) + 1)))


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say in sentences what an audit means for the results."""
    tests = [row for row in rows if row["part"] == "test"]
    events = [row["events"] for row in tests]
    said = [f"{len(tests)} fold{'s' * (len(tests) > 1)} with {_span(events)} deaths in the test part."]
    if few := [str(row["fold"]) for row in tests if row["events"] < FEW]:
        said.append(f"Fewer than {FEW} deaths judge fold {', '.join(few)}: read the pooled C-index, not the folds'.")
    shares = [round(100 * row["shared_share"]) for row in tests if row["shared_share"] is not None]
    if not shares:
        return [*said, "No site is known, so nobody can tell whether a model recognises the laboratory."]
    said.append(f"{_span(shares)} % of test patients come from a site that training has too.")
    if max(shares) > 0:
        said.append("A model can gain by recognising the laboratory: compare it with a site-only baseline.")
    return said


def _span(values: Sequence[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"
