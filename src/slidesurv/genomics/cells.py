"""Tables of numbers as files: any usual separator, packed or not, Parquet; what they hold is checked elsewhere."""

import csv
import gzip
import io
import warnings
import zlib
from pathlib import Path
from typing import IO, Any

import pandas as pd
from typing_extensions import override

from slidesurv.errors import DataError, MissingExtra
from slidesurv.files import separator

__all__ = ["needs_pyarrow", "opened", "read_cells"]

LABEL = "identifier"  # the column that names the sample in published tables, wherever it stands
MOST_PACKED = 200  # times smaller than unpacked; these tables pack 3 to 30 times
SMALL = 100_000_000  # bytes that any file may unpack to


def read_cells(path: Path) -> pd.DataFrame:
    """Read a table as it stands: nothing is checked but that it is one.

    Args:
        path: ``.csv`` or ``.tsv``, plain or ``.gz``, whose separator (comma, tab, semicolon) is found in the first
            line; or ``.parquet``. The labels of the rows are the column ``identifier``, else the first.

    Returns:
        Cells by label and by the name of the column, both as text without blanks around it; a name may come twice.

    Raises:
        DataError: the file is missing, no such table, or a bomb.
        MissingExtra: the table is Parquet and pyarrow is not installed.
    """
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    table.index = pd.Index([str(label).strip() for label in table.index], dtype=object)
    table.columns = pd.Index([str(name).strip() for name in table.columns], dtype=object)
    return table


def _read_text(path: Path) -> pd.DataFrame:
    try:
        parted_by, header = _read_header(path)
        label = header.index(LABEL) if LABEL in header else 0
        with opened(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows longer than the header
            table = pd.read_csv(
                stream,
                sep=parted_by,
                dtype={label: str},
                encoding="utf-8-sig",
                keep_default_na=False,
                float_precision="round_trip",
                on_bad_lines="error",
                index_col=False,
                low_memory=False,
            )
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(f"Cannot read the table '{path}': {error}. Expected UTF-8 text, as CSV or TSV.") from error
    table.columns = pd.Index(header, dtype=object)
    return _labelled(table, label)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except ImportError as error:
        raise needs_pyarrow(path) from error
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read '{path}' as Parquet: {error}. Save it again, or as CSV.") from error
    if not isinstance(table.index, pd.RangeIndex):
        return table
    if table.shape[1] < 2:
        raise DataError(f"'{path}' has no column beside the patient. Give a table with a column for each gene.")
    return _labelled(table, list(table.columns).index(LABEL) if LABEL in table.columns else 0)


def _labelled(table: pd.DataFrame, label: int) -> pd.DataFrame:
    """Make one column the labels of the rows; names may come twice, so columns go by place."""
    cells = table.iloc[:, [place for place in range(table.shape[1]) if place != label]]
    return cells.set_axis(pd.Index(table.iloc[:, label]), axis=0)


def needs_pyarrow(path: Path) -> MissingExtra:
    """Say that a Parquet file cannot be read or written here."""
    return MissingExtra(f"'{path}' is Parquet, which needs pyarrow: 'pip install pyarrow', or use a CSV.")


def _read_header(path: Path) -> tuple[str, list[str]]:
    """Find the separator and the column names in the first line."""
    with opened(path) as stream:
        line = stream.readline().decode("utf-8-sig")
    parted_by = separator(line)
    header = next(csv.reader([line], delimiter=parted_by), [])
    if len(header) < 2:
        raise DataError(f"'{path}' has no column beside the patient. Give CSV or TSV with a header line.")
    return parted_by, [name.strip() for name in header]


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading; one that ends in ``.gz`` is unpacked on the way, as far as honest files unpack.

    Raises:
        OSError: the file is missing, or is damaged.
        DataError: while reading, if it unpacks to far more than such files do.
    """
    if path.suffix != ".gz":
        return path.open("rb")
    return io.BufferedReader(_Unpacked(path))


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, up to 200 times its size."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._stream, self._path = gzip.GzipFile(path), path
        self._room = max(SMALL, MOST_PACKED * path.stat().st_size)

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        count = self._stream.readinto(buffer)
        self._room -= count
        if self._room < 0:
            raise DataError(
                f"'{self._path}' unpacks to more than {MOST_PACKED} times its size, as no table does. "
                "Reading was stopped; get it from its source again."
            )
        return count

    @override
    def close(self) -> None:
        self._stream.close()
        super().close()
