"""Follow-up of the TCGA Clinical Data Resource, curated by hand where GDC's is not."""

from pathlib import Path

import pandas as pd

from slidesurv.cohorts.columns import plain
from slidesurv.cohorts.tables import read_rows
from slidesurv.errors import ConfigError, DataError, MissingExtra, listing, unknown
from slidesurv.files import is_number

__all__ = ["ENDPOINTS", "FollowUp", "read_endpoints"]

ENDPOINTS = ("OS", "DSS", "DFI", "PFI")
SHEET = "TCGA-CDR"

FollowUp = tuple[float | None, int | None]  # days, and 1 = it happened; None where not known


def read_endpoints(path: Path, endpoint: str) -> dict[str, FollowUp]:
    """Read one endpoint of the TCGA Clinical Data Resource.

    Args:
        path: its supplemental table 1, as the journal gives it (.xlsx), or that sheet as CSV or TSV.
        endpoint: of `ENDPOINTS`.

    Returns:
        Days and event (1 = it happened) of each patient; None where the table has none.

    Raises:
        ConfigError: the endpoint is not known.
        DataError: the table has not the columns.
        MissingExtra: the table is .xlsx and openpyxl is not installed.

    Source:
        Liu et al., Cell 2018.
    """
    if endpoint not in ENDPOINTS:
        raise ConfigError(unknown("endpoint", endpoint, ENDPOINTS))
    rows = _read_sheet(path) if path.suffix == ".xlsx" else read_rows(path)
    wanted = ("bcr_patient_barcode", endpoint, f"{endpoint}.time")
    if absent := [name for name in wanted if not rows or name not in rows[0]]:
        raise DataError(f"'{path}' has no columns {listing(absent)}. Give table S1 of Liu et al., Cell 2018.")
    patient, event, time = wanted
    return {row[patient].strip(): (_number(row[time]), {"1": 1, "0": 0}.get(plain(row[event]))) for row in rows}


def _number(cell: str) -> float | None:
    return float(cell) if is_number(cell) else None


def _read_sheet(path: Path) -> list[dict[str, str]]:
    try:
        table = pd.read_excel(path, sheet_name=SHEET, dtype=str, engine="openpyxl").fillna("")
    except ImportError as error:
        raise MissingExtra(
            f"'{path}' is a spreadsheet, which needs openpyxl: 'pip install openpyxl', or save sheet '{SHEET}' as CSV."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the sheet '{SHEET}' of '{path}': {error}. Get the table again.") from error
    return [{str(name): str(cell) for name, cell in row.items()} for row in table.to_dict("records")]
