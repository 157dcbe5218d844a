"""The rows of a cohort table, understood one by one, then held against each other."""

import logging
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from slidesurv.cohorts.columns import EventRule, event_rule, find_column, patient_column, slide_name, time_column
from slidesurv.errors import DataError, listing
from slidesurv.files import check_id, is_number

__all__ = ["CLINICAL", "COVARIATES", "Row", "parse_rows", "refuse_contradictions", "refuse_invalid"]

log = logging.getLogger(__name__)

PATHS = ("slide_path", "wsi", "FILENAME")  # columns that hold files, not ids
CLINICAL = ("age", "sex", "is_female", "stage", "grade", "oncotree_code")  # what a physician knows of the outlook
COVARIATES = (*CLINICAL, "rna_id", "race", "ethnicity", "ancestry", "year", "date")
TEXTS = ("rna_id",)  # covariates that are names, though some look like numbers
LONGEST = 1200.0  # months; a longer follow-up is a table in days
MISSING = {"", "na", "nan", "n/a", "none", "null", "not available", "not reported"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        number: as a spreadsheet counts: the header is row 1.
        slide: "" when the row has none.
        time: months; NaN when the cell is empty.
        event: True = death seen; None when the cell is empty.
        site: "" when the cell is empty.
    """

    number: int
    patient: str
    slide: str
    time: float
    event: bool | None
    site: str
    covariates: Mapping[str, float | str | None]


def parse_rows(
    rows: Sequence[Mapping[str, str]], event: EventRule | None, time_unit: str | None, columns: Mapping[str, str]
) -> list[Row]:
    """Understand every row; the arguments are those of `read_manifest`.

    Raises:
        DataError: a column is missing or ambiguous, or a cell cannot be understood; names row and value.
    """
    header = list(rows[0])
    slide, site = (find_column(what, header, columns) for what in ("slide_id", "site"))
    patient = patient_column(rows, columns)
    rule = event_rule(rows, event)
    time, months = time_column(header, columns, time_unit)
    return [
        Row(
            number=number,
            patient=check_id(row[patient].strip(), what="patient id", row=number),
            slide=_slide(row, slide, number),
            time=_number(row[time], number, time) * months,
            event=rule.read(row[rule.column]),
            site=row[site].strip() if site else "",
            covariates={name: _covariate(name, row[name]) for name in COVARIATES if name in row},
        )
        for number, row in enumerate(rows, start=2)
    ]


def _slide(row: Mapping[str, str], column: str | None, number: int) -> str:
    cell = row[column].strip() if column else ""
    if not cell:
        return ""
    is_path = re.search(r"[/\\]", cell) is not None
    name = cell if is_path and column not in PATHS else slide_name(cell)  # a path among ids is refused, not shortened
    return check_id(name, what="slide id", row=number)


def _number(cell: str, row: int, column: str) -> float:
    if cell.strip().casefold() in MISSING:
        return math.nan
    if not is_number(cell):
        raise DataError(f"Row {row}: '{column}' is {cell!r}, which is no number. Write decimals with a point.")
    return float(cell)


def _covariate(name: str, cell: str) -> float | str | None:
    word = cell.strip()
    if word.casefold() in MISSING:
        return None
    return float(word) if is_number(word) and name not in TEXTS else word


def refuse_contradictions(rows: Sequence[Row]) -> None:
    """Refuse rows that cannot all be true, naming two of each.

    Raises:
        DataError: a patient has two follow-ups or two sites, a slide stands there twice, or ids differ only in case.
    """
    _refuse_clash(
        rows, "patient ids that differ only in case", lambda row: row.patient.casefold(), lambda row: row.patient
    )
    _refuse_clash(rows, "patients with two follow-ups", lambda row: row.patient, lambda row: (str(row.time), row.event))
    placed = [row for row in rows if row.site]
    _refuse_clash(placed, "patients with two sites", lambda row: row.patient, lambda row: row.site)
    slides = [row for row in rows if row.slide]
    _refuse_clash(slides, "slides that stand there twice", lambda row: row.slide.casefold(), lambda row: row.number)
    bare = [row for row in rows if not row.slide]
    _refuse_clash(bare, "patients that stand there twice", lambda row: row.patient, lambda row: row.number)


def _refuse_clash(rows: Sequence[Row], what: str, key: Callable[[Row], str], value: Callable[[Row], Hashable]) -> None:
    """Refuse rows that share a key but not its value."""
    seen: dict[str, dict[Hashable, Row]] = {}
    for row in rows:
        seen.setdefault(key(row), {}).setdefault(value(row), row)
    clashes = [list(found.values()) for found in seen.values() if len(found) > 1]
    if clashes:
        shown = [f"{row[0].slide or row[0].patient} (rows {row[0].number} and {row[1].number})" for row in clashes]
        raise DataError(f"The table has {len(clashes)} {what}: {listing(shown)}. Keep the row that is right.")


def refuse_invalid(rows: Sequence[Row], *, drop: bool) -> dict[str, str]:
    """Refuse patients without usable follow-up, or log that they are to be dropped.

    Returns:
        The reason for each patient to drop, in table order.

    Raises:
        DataError: there are such patients and drop is False, or nobody else is left.
    """
    reasons = {row.patient: reason for row in rows if (reason := _invalid(row))}
    if reasons:
        counts = ", ".join(f"{list(reasons.values()).count(kind)} {kind}" for kind in sorted(set(reasons.values())))
        found = f"{len(reasons)} patients have no usable follow-up ({counts}): {listing(reasons)}."
        if not drop or len(reasons) == len({row.patient for row in rows}):
            raise DataError(
                f"{found} Mend the table, or leave them out: set [cohort] drop_invalid = true, or add --set "
                "cohort.drop_invalid=true to the command."
            )
        log.warning("%s They were left out.", found)
    return reasons


def _invalid(row: Row) -> str:
    if row.event is None:
        return "without an event"
    if not math.isfinite(row.time):
        return "without a finite time"
    if row.time <= 0:
        return "with a time of zero or less"
    return f"with more than {LONGEST:.0f} months (are they days?)" if row.time > LONGEST else ""
