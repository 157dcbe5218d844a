"""Tables with one row per patient and one column per gene, checked cell by cell."""

import csv
import gzip
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from slidesurv.errors import DataError, listing
from slidesurv.files import replacing
from slidesurv.genomics.cells import needs_pyarrow, read_cells

__all__ = ["Expression", "numbers", "read_embeddings", "read_expression", "write_expression"]

NORMAL_TISSUE = re.compile(r"TCGA-\w\w-\w{4}-1\d[A-Z]?\b.*")  # sample types 10 to 19 of a TCGA barcode
FORMULA = tuple("=+@-\t\r")  # a spreadsheet would run a cell that begins so


@dataclass(frozen=True)
class Expression:
    """One vector per patient.

    Attributes:
        ids: B patient ids, each once.
        genes: G names of the columns, each once; of any columns, where the vectors are embeddings.
        values: (B, G) finite numbers.
    """

    ids: tuple[str, ...]
    genes: tuple[str, ...]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.ids), len(self.genes)):
            raise DataError(
                f"{len(self.ids)} patients and {len(self.genes)} genes do not fit values of shape {self.values.shape}. "
                "Give a row for each patient and a column for each gene."
            )

    def __contains__(self, patient: str) -> bool:
        return patient in self._row

    @cached_property
    def _row(self) -> dict[str, int]:
        return {patient: row for row, patient in enumerate(self.ids)}

    def rows(self, patients: Iterable[str]) -> NDArray[np.float64]:
        """Pick the vectors of patients, in the order given.

        Returns:
            (B', G) a copy.

        Raises:
            DataError: a patient has no row.
        """
        wanted = list(patients)
        if strangers := [patient for patient in wanted if patient not in self]:
            raise DataError(
                f"{len(strangers)} patients have no row in the table: {listing(strangers)}. "
                "Add their rows, or leave these patients out."
            )
        return self.values[[self._row[patient] for patient in wanted]]


def read_expression(path: Path, *, clip: float | None = None) -> Expression:
    """Read a table of expression: one column names the patient, every other column is a gene.

    Args:
        path: as for `read_cells`.
        clip: values are limited to [-clip, clip]; None keeps them.

    Raises:
        DataError: names the row and the column of a cell that is empty, not a number or not finite, and
            patients or genes that stand there twice.
    """
    cells = read_cells(path)
    ids, genes = tuple(cells.index), tuple(cells.columns)
    _refuse_twice(genes, f"genes of '{path}'")
    values = numbers(cells, ids, where=f"'{path}'")
    _check_patients(ids, path)
    return Expression(ids, genes, values if clip is None else values.clip(-clip, clip))


def write_expression(path: Path, table: Expression) -> None:
    """Write a table that `read_expression` reads back to the last digit, atomically; the same table, the same bytes.

    Args:
        path: ``.csv``, ``.csv.gz`` or ``.parquet``.
        table: patients become rows.

    Raises:
        DataError: the disk refuses, or a gene's name is one that a spreadsheet would run.
        MissingExtra: Parquet is asked for and pyarrow is not installed.
    """
    if formulas := [gene for gene in table.genes if gene.startswith(FORMULA)]:
        raise DataError(f"{len(formulas)} genes are named like formulas: {listing(formulas)}. Rename these columns.")
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, table, path)
            return
        with temporary.open("wb") as raw:
            if path.suffix != ".gz":
                _write_text(raw, table)
                return
            with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
                _write_text(packed, table)


def _write_text(stream: IO[bytes] | gzip.GzipFile, table: Expression) -> None:
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(["patient_id", *table.genes])
    stream.write(header.getvalue().encode())
    whole = _fits_integers(table.values)
    for patient, row in zip(table.ids, table.values, strict=True):
        numbers = (row.astype(np.int64) if whole else row).tolist()
        stream.write(f"{patient},{','.join(map(repr, numbers))}\n".encode())


def _fits_integers(values: NDArray[np.float64]) -> bool:
    return bool((np.abs(values) < 2**53).all() and (values == np.round(values)).all())


def _write_parquet(temporary: Path, table: Expression, path: Path) -> None:
    frame = pd.DataFrame(table.values, columns=list(table.genes))
    frame.insert(0, "patient_id", list(table.ids))
    try:
        frame.to_parquet(temporary, engine="pyarrow", index=False)
    except ImportError as error:
        raise needs_pyarrow(path) from error


def read_embeddings(path: Path) -> Expression:
    """Read one vector per patient, made elsewhere, such as an expression encoder's.

    Args:
        path: a table as for `read_expression`, or ``.safetensors`` with one (D_g,) tensor named after each patient.

    Raises:
        DataError: a cell, a patient or the file cannot be used.
    """
    if path.suffix != ".safetensors":
        return read_expression(path)
    try:
        with safe_open(path, "np") as file:
            vectors = {patient: np.asarray(file.get_tensor(patient), np.float64) for patient in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"Cannot read '{path}' as safetensors: {error}. Write the file again.") from error
    shapes = {vector.shape for vector in vectors.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise DataError(
            f"'{path}' has tensors of shapes {listing(sorted(shapes)) or 'none'}. "
            "Write one tensor (D_g,) for each patient, all of one length."
        )
    _check_patients(tuple(vectors), path)
    table = pd.DataFrame(vectors).T
    table.columns = table.columns.map(str)
    return Expression(tuple(vectors), tuple(table.columns), numbers(table, tuple(vectors), where=f"'{path}'"))


def numbers(table: pd.DataFrame, ids: Sequence[str], *, where: str) -> NDArray[np.float64]:
    """Take finite numbers from a table read with ``keep_default_na=False``.

    Args:
        table: (B, G) cells.
        ids: the patient of each row, for messages.
        where: the file, for messages.

    Returns:
        (B, G) float64.

    Raises:
        DataError: names the first cell that is not a finite number, and how many there are.
    """
    plain = all(kind.kind in "iuf" for kind in table.dtypes)
    cells = table if plain else table.astype(str).apply(pd.to_numeric, errors="coerce")
    values = cells.to_numpy(np.float64)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{where}: {len(bad)} cells are not finite numbers; the first is {str(table.iloc[row, column])!r} for "
            f"patient '{ids[row]}' in column '{table.columns[column]}'. Fill or remove it; nothing is filled silently."
        )
    return values


def _check_patients(ids: Sequence[str], path: Path) -> None:
    if not ids:
        raise DataError(f"'{path}' has a header but no patients. Add a row for each.")
    _refuse_twice(ids, f"patients of '{path}'")
    if normal := [patient for patient in ids if NORMAL_TISSUE.fullmatch(patient)]:
        raise DataError(
            f"'{path}' has samples of normal tissue: {listing(normal)}. Keep tumour samples, named by patient."
        )


def _refuse_twice(names: Sequence[str], what: str) -> None:
    twice = [name for name, count in pd.Series(names, dtype=str).value_counts(sort=False).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} {what} stand there twice: {listing(twice)}. Keep one row or column of each.")
