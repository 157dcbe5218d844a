"""The tables of MCAT and its descendants, ``*_all_clean.csv[.zip]``, read as they are.

One row per slide; survival, then thousands of genomic columns that end in ``_rnaseq``, ``_cnv`` or ``_mut``.

Differs: genomic columns are chosen by these endings alone. The published loader takes every column but the first
twelve, which hands ``censorship``, the outcome itself, to the model on one cohort.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slidesurv.cohorts.clinical import build_cohort
from slidesurv.cohorts.rows import COVARIATES
from slidesurv.errors import ConfigError, DataError, listing
from slidesurv.genomics.expression import Expression, numbers
from slidesurv.types import Cohort

__all__ = ["read_mcat", "read_mcat_genomics"]

ENDINGS = ("_rnaseq", "_cnv", "_mut")
CLINICAL = ("case_id", "slide_id", "survival_months", "censorship", *COVARIATES)
LARGEST = 2_000_000_000  # bytes, unpacked
MOST_PACKED = 200  # times smaller than unpacked; these tables pack 3 to 30 times


def read_mcat(
    path: Path, *, name: str, suffixes: Sequence[str] = ("_rnaseq",), clip: float = 10.0, drop_invalid: bool = False
) -> tuple[Cohort, Expression | None]:
    """Read a cohort and its genomics.

    Args:
        path: the table, packed or not.
        name: what the cohort is called.
        suffixes: which genomic columns to take, of ``_rnaseq``, ``_cnv`` and ``_mut``.
        clip: values are limited to [-clip, clip]; the tables' z-scores reach tens of thousands.
        drop_invalid: leave out patients without usable follow-up, and list them in `Cohort.dropped`, instead of
            refusing.

    Returns:
        The cohort, with sites from the patients' barcodes, and the genomics, None when no column has the suffixes.

    Raises:
        DataError: the table contradicts itself, or the archive is no honest one.
    """
    table = _read_table(path, suffixes)
    rows = table[[column for column in CLINICAL if column in table]].to_dict("records")
    cells = [{str(key): str(cell) for key, cell in row.items()} for row in rows]
    cohort = build_cohort(cells, name=name, columns={}, drop_invalid=drop_invalid)
    return cohort, _genomics(table, path, suffixes, clip)


def read_mcat_genomics(path: Path, *, suffixes: Sequence[str] = ("_rnaseq",), clip: float = 10.0) -> Expression:
    """Read the genomics alone, one row per patient; column names keep their suffix.

    Raises:
        DataError: no column has the suffixes, or two slides of a patient disagree.
    """
    found = _genomics(_read_table(path, suffixes), path, suffixes, clip)
    if found is None:
        raise DataError(
            f"'{path}' has no column that ends in {listing(suffixes)}. Choose others of {listing(ENDINGS)}."
        )
    return found


def _genomics(table: pd.DataFrame, path: Path, suffixes: Sequence[str], clip: float) -> Expression | None:
    genes = table.loc[:, [column.endswith(tuple(suffixes)) for column in table.columns]]
    if genes.shape[1] == 0:
        return None
    ids = table["case_id"].str.strip().tolist()
    values = numbers(genes, ids, where=f"'{path}'")
    first = _first_rows(ids, values)
    return Expression(tuple(first), tuple(genes.columns), values[list(first.values())].clip(-clip, clip))


def _first_rows(ids: Sequence[str], values: NDArray[np.float64]) -> dict[str, int]:
    """Find each patient's first row, and make sure that the other rows say the same."""
    first: dict[str, int] = {}
    for row, patient in enumerate(ids):
        first.setdefault(patient, row)
    differ = (values != values[[first[patient] for patient in ids]]).any(1)
    if differ.any():
        patients = sorted({patient for patient, other in zip(ids, differ, strict=True) if other})
        raise DataError(
            f"{len(patients)} patients have rows with different genomics: {listing(patients)}. Keep one sample."
        )
    return first


def _read_table(path: Path, suffixes: Sequence[str]) -> pd.DataFrame:
    """Read clinical columns as text and the genomic columns as they are; all others stay unread."""
    if strangers := [suffix for suffix in suffixes if suffix not in ENDINGS]:
        raise ConfigError(f"Genomic columns end in {listing(ENDINGS)}, not in {listing(strangers)}.")
    endings = tuple(suffixes)
    try:
        with _opened(path) as stream:
            table = pd.read_csv(
                stream,
                usecols=lambda name: name in CLINICAL or name.endswith(endings),
                dtype=dict.fromkeys(CLINICAL, str),
                keep_default_na=False,
                float_precision="round_trip",
                low_memory=False,
            )
    except (OSError, ValueError, BadZipFile, zlib.error, NotImplementedError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"Cannot read '{path}': {error}. Get the table from its source again.") from error
    if absent := [column for column in CLINICAL[:4] if column not in table]:
        raise DataError(
            f"'{path}' has no columns {listing(absent)}: it is no table of this family. "
            'Read it with [cohort] format = "manifest".'
        )
    return table


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a table, or the one in a zip, as a stream; nothing is unpacked to disk, so no path in it is followed."""
    if not is_zipfile(path):
        with path.open("rb") as stream:
            yield stream
        return
    with ZipFile(path) as archive, archive.open(_only_member(archive, path)) as member:
        yield member


def _only_member(archive: ZipFile, path: Path) -> ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise DataError(
            f"'{path}' holds {len(members)} files. Expected one table: {listing(m.filename for m in members)}. "
            "Unpack it yourself and give the table."
        )
    member = members[0]
    if member.flag_bits & 1:
        raise DataError(f"'{path}' is encrypted. Unpack it yourself and give the table.")
    if member.file_size > LARGEST or member.file_size > MOST_PACKED * max(member.compress_size, 1):
        raise DataError(
            f"'{path}' would unpack from {member.compress_size} to {member.file_size} bytes, as no cohort table does. "
            "It was not opened; get the table from its source again."
        )
    return member
