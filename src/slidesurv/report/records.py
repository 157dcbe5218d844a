"""The metrics of a run as files, for those who go on from there."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slidesurv.files import write_csv, write_json
from slidesurv.report.accuracy import Accuracy
from slidesurv.report.differences import Difference
from slidesurv.report.estimate import Estimate
from slidesurv.report.table import Comparison, row_of

__all__ = ["write_metrics"]


def write_metrics(
    comparison: Sequence[Comparison], differences: Sequence[Difference], accuracy: Accuracy, folder: Path
) -> None:
    """Write ``metrics.csv``, a row a method and metric, and ``metrics.json``, an entry a method.

    A value that is not defined is an empty cell or null; the reason stands in the notes.
    """
    rows = [
        {"label": row.label, "slug": row.slug, "metric": column.key, "title": column.title}
        | _plain(row.estimates[column.key])
        | {"stamp": accuracy.stamp}
        for row in accuracy.rows
        for column in accuracy.columns
    ]
    write_csv(folder / "metrics.csv", rows, list(rows[0]))
    tested = {difference.slug: difference for difference in differences}
    entries = [
        {**row_of(row), "notes": row.notes, "noise": _told(tested.get(row.slug))}
        | {"metrics": {key: _plain(estimate) for key, estimate in measured.estimates.items()}}
        | {"d_calibration_shares": [_plain(share) for share in measured.shares]}
        for row, measured in zip(comparison, accuracy.rows, strict=True)
    ]
    write_json(folder / "metrics.json", entries)


def _told(difference: Difference | None) -> dict[str, Any] | None:
    """A difference as plain values; nothing for the reference."""
    if difference is None:
        return None
    numbers = {"p_holm": difference.p, "detectable": difference.detectable}
    return _defined(numbers) | {"over_folds": _defined(asdict(difference.over_folds))}


def _plain(estimate: Estimate) -> dict[str, Any]:
    return _defined(asdict(estimate))


def _defined(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in values.items()}
