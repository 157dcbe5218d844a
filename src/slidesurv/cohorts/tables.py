"""Tables that people made: any of the usual separators and line ends, UTF-8 with or without its mark."""

import csv
import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

from slidesurv.errors import DataError, MissingExtra, listing
from slidesurv.files import separator

__all__ = ["read_rows"]

LARGEST = 500_000_000  # bytes of text; a cohort table has thousands of rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read every cell as text, by the name of its column.

    Args:
        path: ``.csv`` or ``.tsv``, plain or ``.gz``; the separator (comma, tab, semicolon) is found in the first line.
            Or ``.parquet``, where nothing is an empty cell.

    Raises:
        DataError: the file is missing, too large, no UTF-8 text, or its rows do not fit its header.
        MissingExtra: the table is Parquet and pyarrow is not installed.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    text = _read_text(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator(first), strict=True)
    try:
        header, *cells = [row for row in reader if row]
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"Cannot read the table '{path}': it is empty or a quote is not closed ({error}). Save it again as CSV."
        ) from error
    header = [name.strip() for name in header]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(f"'{path}' has more than one column called {listing(twice)}. Rename one of them.")
    if ragged := [number for number, row in enumerate(cells, start=2) if len(row) != len(header)]:
        raise DataError(f"'{path}' has {len(header)} columns, but rows {listing(ragged)} do not. Mend them.")
    return [dict(zip(header, row, strict=True)) for row in cells]


def _read_parquet(path: Path) -> list[dict[str, str]]:
    try:
        table = pd.read_parquet(path, engine="pyarrow", dtype_backend="numpy_nullable")  # whole numbers stay whole
    except ImportError as error:
        raise MissingExtra(
            f"'{path}' is Parquet, which needs pyarrow: 'pip install pyarrow', or save the table as CSV."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read '{path}' as Parquet: {error}. Save it again, or as CSV.") from error
    cells = table.astype(object).where(table.notna(), "")
    return [{str(name): str(cell) for name, cell in row.items()} for row in cells.to_dict("records")]


def _read_text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"Cannot read the table '{path}': {error}. Check the path, and that the file is whole."
        ) from error
    if len(raw) > LARGEST:
        raise DataError(f"'{path}' holds more than {LARGEST // 10**6} MB: that is no table of patients. Name another.")
    try:
        if b"\0" in raw:
            raise DataError(f"'{path}' is not UTF-8 text (UTF-16 or a spreadsheet?). Save it as 'CSV UTF-8'.")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{path}' is not UTF-8 text: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from None
