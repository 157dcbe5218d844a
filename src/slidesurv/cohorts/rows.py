"""The rows of a cohort table, understood one by one, then held against each other."""

import logging
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from slidesurv.cohorts.columns import EventRule, event_rule, find_column, slide_name, time_column
from slidesurv.errors import DataError, listing
from slidesurv.files import check_id

__all__ = ["COVARIATES", "Row", "parse_rows", "refuse_contradictions", "refuse_invalid"]

log = logging.getLogger(__name__)

PATHS = ("slide_path", "wsi", "FILENAME")  # columns that hold files, not ids
COVARIATES = ("age", "sex", "is_female", "stage", "grade", "oncotree_code")
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
    patient, slide, site = (find_column(what, header, columns) for what in ("patient_id", "slide_id", "site"))
    if patient is None:
        raise DataError(
            f"No column names the patient; the table has {listing(header, most=12)}. Call one 'patient_id'."
        )
    rule = event_rule(rows, event)
    time, months = time_column(header, columns, time_unit)
    parsed = []
    for number, row in enumerate(rows, start=2):
        who = check_id(row[patient].strip(), what="patient id", row=number)
        parsed.append(
            Row(
                number,
                who,
                _slide(row, slide, number),
                _number(row[time], number, time) * months,
                rule.read(row[rule.column]),
                _site(row[site].strip() if site else "", who),
                {name: _covariate(row[name]) for name in COVARIATES if name in row},
            )
        )
    return parsed


def _slide(row: Mapping[str, str], column: str | None, number: int) -> str:
    cell = row[column].strip() if column else ""
    if not cell:
        return ""
    is_path = re.search(r"[/\\]", cell) is not None
    name = cell if is_path and column not in PATHS else slide_name(cell)  # a path among ids is refused, not shortened
    return check_id(name, what="slide id", row=number)


def _site(cell: str, patient: str) -> str:
    barcode = re.match(r"TCGA-(\w\w)-\w{4}", patient)
    return cell or (barcode[1] if barcode else "")


def _number(cell: str, row: int, column: str) -> float:
    if cell.strip().casefold() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise DataError(
            f"Row {row}: '{column}' is {cell!r}, which is no number. Write decimals with a point."
        ) from None


def _covariate(cell: str) -> float | str | None:
    word = cell.strip()
    if word.casefold() in MISSING:
        return None
    try:
        return float(word)
    except ValueError:
        return word


def refuse_contradictions(rows: Sequence[Row]) -> None:
    """Refuse rows that cannot all be true, naming two of each.

    Raises:
        DataError: a patient has two follow-ups, a slide stands there twice, or ids differ only in case.
    """
    _refuse_clash(
        rows, "patient ids that differ only in case", lambda row: row.patient.casefold(), lambda row: row.patient
    )
    _refuse_clash(rows, "patients with two follow-ups", lambda row: row.patient, lambda row: (str(row.time), row.event))
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


def refuse_invalid(rows: Sequence[Row], *, drop: bool) -> list[Row]:
    """Refuse, or drop and log, patients without usable follow-up."""
    reasons = {row.patient: reason for row in rows if (reason := _invalid(row))}
    if reasons:
        counts = ", ".join(f"{list(reasons.values()).count(kind)} {kind}" for kind in sorted(set(reasons.values())))
        found = f"{len(reasons)} patients have no usable follow-up ({counts}): {listing(reasons)}."
        if not drop or len(reasons) == len({row.patient for row in rows}):
            raise DataError(f"{found} Mend the table, or set drop_invalid = true to leave them out.")
        log.warning("%s They were left out.", found)
    return [row for row in rows if row.patient not in reasons]


def _invalid(row: Row) -> str:
    if row.event is None:
        return "without an event"
    if not math.isfinite(row.time):
        return "without a finite time"
    if row.time <= 0:
        return "with a time of zero or less"
    return f"with more than {LONGEST:.0f} months (are they days?)" if row.time > LONGEST else ""
