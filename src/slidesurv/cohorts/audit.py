"""What a set of splits can show: how many deaths judge, and whether the test patients come from the training sites."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slidesurv.types import Cohort, Split

__all__ = ["AUDIT_COLUMNS", "audit", "verdict"]

AUDIT_COLUMNS = ("fold", "part", "patients", "events", "median_months", "sites", "shared_sites", "shared_share")
FEW = 10  # deaths in a test part; below, one fold's C-index moves by more than a tenth on chance alone


def audit(cohort: Cohort, splits: Sequence[Split]) -> list[dict[str, Any]]:
    """Count what stands in each part of each fold.

    Returns:
        A row a part, with `AUDIT_COLUMNS`: patients, events (deaths), median_months of follow-up as observed, sites,
        shared_sites (sites that training has too) and shared_share (of the part's patients from those sites). The last
        two are None for training, and where no site is known.
    """
    rows = []
    for fold, split in enumerate(splits):
        taught = {patient.site for patient in cohort.subset(split.train)} - {""}
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
                    "median_months": float(np.median([p.time for p in patients])) if patients else None,
                    "sites": len(sites),
                    "shared_sites": len(sites & taught) if compared else None,
                    "shared_share": sum(p.site in taught for p in patients) / len(patients) if compared else None,
                }
            )
    return rows


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say in sentences what an audit means for the results."""
    tests = [row for row in rows if row["part"] == "test"]
    events = [row["events"] for row in tests]
    said = [f"{len(tests)} folds with {_span(events)} deaths in the test part."]
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
