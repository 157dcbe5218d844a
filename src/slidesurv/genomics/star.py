"""One STAR counts file of the GDC: genes, and one column of values, read to the last digit.

All files of one gene model have the same genes in the same rows. So the genes are understood once, with pandas, and of
every further file it is only made sure, byte by byte, that they are the same; its numbers, decimals of fixed length,
are then put together from their digits by whole columns. What does not look so goes the slow way, to the same values.
"""

import csv
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, listing, unknown
from slidesurv.files import is_number
from slidesurv.genomics.cells import opened
from slidesurv.genomics.genes import plain

__all__ = ["COLUMNS", "Genes", "StarReader"]

COLUMNS = (
    "unstranded",
    "stranded_first",
    "stranded_second",
    "tpm_unstranded",
    "fpkm_unstranded",
    "fpkm_uq_unstranded",
)
MOST_KNOWN = 8  # gene models; a cohort has one
MOST_DIGITS = 15  # of an integer that float64 holds exactly
TAB, NEWLINE, POINT, ZERO = b"\t\n.0"

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Genes:
    """The genes of a file, which files of one gene model share.

    Attributes:
        ids: G Ensembl ids without versions; None for a twin on the Y chromosome.
        symbols: G names; None for a twin.
    """

    ids: tuple[str | None, ...]
    symbols: tuple[str | None, ...]


class _Grid(NamedTuple):
    """Where the cells of a file are: R rows of C cells."""

    buffer: Bytes
    begins: Places  # (R,) of rows
    ends: Places  # (R, C) of cells


class _Heads(NamedTuple):
    """The bytes by which a file's genes are known: the first two cells of each row.

    Attributes:
        widths: (R,) bytes of a head.
        own: (R, W) 255 where a byte belongs to a head, right-aligned to the widest, and 0 where it lies before it.
        bytes: (R, W), 0 where they are not a head's own.
    """

    widths: Places
    own: Bytes
    bytes: Bytes

    @classmethod
    def of(cls, grid: _Grid) -> "_Heads":
        begins, ends = grid.begins, grid.ends[:, 1]
        rows, own = _right_aligned(grid.buffer, begins, ends)
        mask = np.where(own, np.uint8(255), np.uint8(0))
        return cls(ends - begins, mask, rows & mask)

    def stand_in(self, grid: _Grid) -> bool:
        """Whether a file has these heads and no others."""
        ends = grid.ends[:, 1]
        if not np.array_equal(ends - grid.begins, self.widths):
            return False
        return np.array_equal(_windows(grid.buffer, ends, self.own.shape[1]) & self.own, self.bytes)


class StarReader:
    """Reads files, from several threads if need be, and remembers their genes.

    Args:
        column: one of `COLUMNS`.

    Raises:
        ConfigError: there is no such column.
    """

    def __init__(self, column: str) -> None:
        if column not in COLUMNS:
            raise ConfigError(unknown("column of STAR counts", column, COLUMNS))
        self.column = column
        self._known: list[tuple[_Heads | None, Genes]] = []
        self._learning = Lock()  # two threads must not take the same genes for two

    def read(self, path: Path) -> tuple[Genes, Array]:
        """Read the values of one file.

        Returns:
            The genes, the same object for files whose genes are the same; and (G,) values.

        Raises:
            DataError: the file cannot be read, is no STAR counts file, or has a cell that is no number from 0.
        """
        data = _content(path)
        header, start = _header(data, path, self.column)
        grid = _grid(data, start, len(header))
        if grid is not None and (known := self._recognise(grid)):
            values = _column(grid, header.index(self.column))
            if values is not None:
                return known, values
        genes, values = _read_slowly(data, header, path, self.column)
        heads = _Heads.of(grid) if grid is not None and len(grid.begins) == len(values) else None
        return self._remember(heads, genes), values

    def _recognise(self, grid: _Grid) -> Genes | None:
        return next((genes for heads, genes in self._known if heads is not None and heads.stand_in(grid)), None)

    def _remember(self, heads: _Heads | None, genes: Genes) -> Genes:
        """Keep genes for further files; if they are known already, in whatever layout, give the known ones."""
        with self._learning:
            known = next(
                (known for _, known in self._known if (known.ids, known.symbols) == (genes.ids, genes.symbols)), genes
            )
            if len(self._known) < MOST_KNOWN:
                self._known.append((heads, known))
            return known


def _content(path: Path) -> bytes:
    try:
        with opened(path) as stream:
            return stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read '{path}': {error}. Download the file again.") from error


def _header(data: bytes, path: Path, column: str) -> tuple[list[str], int]:
    """Find the names of the columns, and where the rows of genes begin: after comments and the four summary rows."""
    start = 0
    header: list[str] = []
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        line = data[start:end]
        if header and not line.startswith(b"N_"):
            return header, start
        if not header and not line.startswith(b"#"):
            header = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
            _check_header(header, path, column)
        start = end
    raise DataError(f"'{path}' has no row for any gene: it is empty or cut off. Download it again.")


def _check_header(header: list[str], path: Path, column: str) -> None:
    if header[:2] != ["gene_id", "gene_name"] or column not in header:
        raise DataError(
            f"'{path}' is no STAR counts file of the GDC: its columns are {listing(header)[:120]}, and 'gene_id', "
            f"'gene_name' and '{column}' are needed. Download files of the workflow 'STAR - Counts'."
        )


def _grid(data: bytes, start: int, columns: int) -> _Grid | None:
    """Find the cells; None where rows differ in their number, the last is not ended, or one is strangely long."""
    buffer = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(buffer[start:] <= NEWLINE) + start  # tabs, line ends, and what has no place in a table
    if len(marks) == 0 or len(marks) % columns:
        return None
    ends = marks.reshape(-1, columns)  # (R, C)
    tabs = np.count_nonzero(buffer[start:] == TAB)
    if tabs != len(marks) - len(ends) or ends[-1, -1] != len(data) - 1 or (buffer[ends[:, -1]] != NEWLINE).any():
        return None
    begins = np.concatenate([[start], ends[:-1, -1] + 1])  # (R,)
    # Windows end with a cell and reach back by the widest one: the lines above the genes must have room for it.
    return _Grid(buffer, begins, ends) if (ends[:, -1] - begins).max() < start else None


def _windows(buffer: Bytes, ends: Places, width: int) -> Bytes:
    """Copy the (R, W) bytes that end where cells end."""
    return sliding_window_view(buffer, width)[ends - width]


def _right_aligned(buffer: Bytes, begins: Places, ends: Places) -> tuple[Bytes, NDArray[np.bool_]]:
    """Copy cells (R,) into rows (R, W) as wide as the widest, and say which bytes are their own."""
    width = max(int((ends - begins).max()), 1)
    own = np.arange(width, dtype=np.int16) >= (width - (ends - begins)).astype(np.int16)[:, None]
    return _windows(buffer, ends, width), own


def _column(grid: _Grid, place: int) -> Array | None:
    begins, ends = grid.ends[:, place - 1] + 1, grid.ends[:, place]
    if (begins == ends).any():  # an empty cell, which is not the zero that it would be filled with
        return None
    cells, own = _right_aligned(grid.buffer, begins, ends)
    return _decimals(np.where(own, cells, np.uint8(ZERO)))


def _decimals(cells: Bytes) -> Array | None:
    """Read numbers that all have their point in the same place (R, W); None where they do not, or are no numbers.

    An integer below 10^15 divided by a power of ten, both exact, is the float64 nearest to the decimal.
    """
    width = cells.shape[1]
    points = np.flatnonzero(cells[0] == POINT)
    point = int(points[0]) if len(points) else width
    if width > MOST_DIGITS or (point < width and (cells[:, point] != POINT).any()):
        return None
    digits = np.delete(cells, point, axis=1) - np.uint8(ZERO) if point < width else cells - np.uint8(ZERO)
    if (digits > 9).any():
        return None
    total = np.zeros(len(cells), np.int64)
    for column in digits.T:
        total = total * 10 + column
    return total / 10.0 ** max(width - point - 1, 0)


def _read_slowly(data: bytes, header: list[str], path: Path, column: str) -> tuple[Genes, Array]:
    """Read any table of the right columns; rows without an id or a name, such as the summary, are left out."""
    try:
        table = pd.read_csv(
            io.BytesIO(data[data.index("\t".join(header[:2]).encode()) :]),
            sep="\t",
            usecols=["gene_id", "gene_name", column],
            dtype=str,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read '{path}': {str(error).strip()}. Download the file again.") from error
    table = table[(table["gene_id"].fillna("") != "") & (table["gene_name"].fillna("") != "")]
    ids = tuple(map(plain, table["gene_id"]))
    names = tuple(None if gene is None else name for gene, name in zip(ids, table["gene_name"], strict=True))
    return Genes(ids, names), _numbers(table[column], table["gene_id"], path)


def _numbers(cells: "pd.Series[str]", ids: "pd.Series[str]", path: Path) -> Array:
    values = np.array([float(cell) if is_number(cell) else np.nan for cell in cells.fillna("")], np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise DataError(
            f"'{path}' has {len(bad)} cells in column '{cells.name}' that are no numbers from 0; the first is "
            f"{cells.iloc[bad[0]]!r} of gene '{ids.iloc[bad[0]]}'. Download the file again."
        )
    return values
