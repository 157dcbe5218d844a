"""A cohort from a table with one row per slide."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from slidesurv.cohorts.columns import EventRule, find_column, patient_column, slide_name
from slidesurv.cohorts.rows import Row, parse_rows, refuse_contradictions, refuse_invalid
from slidesurv.cohorts.tables import read_rows
from slidesurv.errors import DataError, listing
from slidesurv.files import check_id
from slidesurv.survival.estimators import median_follow_up
from slidesurv.types import Cohort, Patient

__all__ = ["build_cohort", "describe", "read_manifest", "read_slides"]


def read_manifest(
    path: Path,
    *,
    name: str,
    event: EventRule | None = None,
    time_unit: str | None = None,
    columns: Mapping[str, str] | None = None,
    drop_invalid: bool = False,
) -> Cohort:
    """Read a cohort from a table with one row per slide (or per patient, when it has no slides).

    Args:
        path: UTF-8 CSV or TSV, plain or ``.gz``; comma, tab or semicolon; or ``.parquet``.
        name: what the cohort is called.
        event: how deaths are told; not needed for ``event`` (1 = death) and ``censorship`` (1 = alive).
        time_unit: "months", "days" or "years"; not needed where the column's name tells.
        columns: the table's names of "patient_id", "slide_id", "time" and "site", where they are none of the usual.
        drop_invalid: leave out patients without usable follow-up, and list them in `Cohort.dropped`, instead of
            refusing.

    Returns:
        Patients in table order, times in months; site from its column, else from a TCGA barcode.

    Raises:
        DataError: the table cannot be read without guessing, or contradicts itself; names rows and values.
        MissingExtra: the table is Parquet and pyarrow is not installed.
    """
    rows = read_rows(path)
    return build_cohort(
        rows, name=name, event=event, time_unit=time_unit, columns=columns or {}, drop_invalid=drop_invalid
    )


def build_cohort(
    rows: Sequence[Mapping[str, str]],
    *,
    name: str,
    event: EventRule | None = None,
    time_unit: str | None = None,
    columns: Mapping[str, str],
    drop_invalid: bool = False,
) -> Cohort:
    """Make a cohort of a table's rows; `read_manifest` explains the rest."""
    if not rows:
        raise DataError(f"The table of cohort '{name}' has no rows. Give a row for each slide.")
    parsed = parse_rows(rows, event, time_unit, columns)
    refuse_contradictions(parsed)
    dropped = refuse_invalid(parsed, drop=drop_invalid)
    own: dict[str, list[Row]] = {}
    for row in parsed:
        own.setdefault(row.patient, []).append(row)
    patients = tuple(_patient(found) for patient, found in own.items() if patient not in dropped)
    return Cohort(name, patients, tuple(dropped.items()))


def read_slides(path: Path) -> dict[str, tuple[str, ...]]:
    """Read which slides each patient has, from a table without follow-up.

    Args:
        path: as for `read_manifest`; its columns for patient and slide may have any of the usual names.

    Raises:
        DataError: a column or an id is missing, or a slide belongs to two patients.
    """
    rows = read_rows(path)
    if not rows:
        raise DataError(f"'{path}' has no rows. Give a row for each slide.")
    patient, slide = patient_column(rows, {}), find_column("slide_id", list(rows[0]), {})
    if slide is None:
        raise DataError(f"'{path}' has the columns {listing(rows[0])}, and none for slides. Call one 'slide_id'.")
    owners: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        name = check_id(slide_name(row[slide]), what="slide id", row=number)
        owner = check_id(row[patient].strip(), what="patient id", row=number)
        if owners.setdefault(name, owner) != owner:
            raise DataError(f"'{path}' gives slide '{name}' to patients '{owners[name]}' and '{owner}'. Keep one row.")
    slides: dict[str, tuple[str, ...]] = {}
    for name, owner in owners.items():
        slides[owner] = (*slides.get(owner, ()), name)
    return slides


def describe(cohort: Cohort) -> dict[str, str | int | float]:
    """Sum a cohort up.

    Returns:
        name, patients, slides, deaths, event_share, median_follow_up_months (reverse Kaplan–Meier), sites, and how many
        patients of the table were dropped.
    """
    time = [patient.time for patient in cohort]
    events = [patient.event for patient in cohort]
    return {
        "name": cohort.name,
        "patients": len(cohort),
        "slides": len(cohort.slides),
        "deaths": sum(events),
        "event_share": sum(events) / len(events) if events else math.nan,
        "median_follow_up_months": median_follow_up(time, events) if events else math.nan,
        "sites": len({patient.site for patient in cohort} - {""}),
        "dropped": len(cohort.dropped),
    }


def _patient(rows: Sequence[Row]) -> Patient:
    """Join the rows of one patient: the site of whichever has one, else of a TCGA barcode; the rest of the first."""
    first, slides = rows[0], tuple(row.slide for row in rows if row.slide)
    barcode = re.match(r"TCGA-(\w\w)-\w{4}", first.patient)
    site = next((row.site for row in rows if row.site), barcode[1] if barcode else "")
    return Patient(first.patient, slides, first.time, first.event is True, site, first.covariates)
