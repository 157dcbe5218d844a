"""Folders of STAR counts as the GDC's client leaves them, and the sample sheet that says whose they are.

A file stands in a folder of its own, named by its UUID; the sheet gives the patient and the tissue for each UUID.
"""

import csv
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError, listing
from slidesurv.files import inside, separator
from slidesurv.genomics.barcodes import Dropped, Sample, read_sample
from slidesurv.genomics.cells import opened

__all__ = ["SampleSheet", "find_samples", "read_files", "read_sheet"]

COUNTS = re.compile(r".*gene_counts.*\.tsv(\.gz)?", re.IGNORECASE)
TABLE = re.compile(r".*\.tsv(\.gz)?", re.IGNORECASE)
EXPRESSION = "gene expression quantification"
TISSUES = ("sample_type", "tissue_type", "tumor_descriptor", "specimen_type")
MOST_READERS = 8  # threads; a disk gives no more to more of them

Array = NDArray[np.float64]
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class SampleSheet:
    """What the GDC says of each file.

    Attributes:
        rows: sample by the UUID and by the name of its file.
        ids: sample by its own id, where one file alone has it.
    """

    rows: Mapping[str, Sample]
    ids: Mapping[str, Sample]

    def find(self, *names: str) -> Sample | None:
        """Find a sample by a UUID, a file's name or the sample's id; None if the sheet has none of them."""
        return next((found for name in names if (found := self.rows.get(name) or self.ids.get(name))), None)


def read_sheet(path: Path) -> SampleSheet:
    """Read a sample sheet, old or new, or a table with the columns ``file_id``, ``case_id`` and ``sample_id``.

    Args:
        path: TSV or CSV; rows of other data than gene expression are passed over.

    Raises:
        DataError: the file cannot be read or lacks a column, or a file is listed for two patients.
    """
    try:
        with opened(path) as stream:
            lines = stream.read().decode("utf-8-sig").splitlines()
        rows = list(csv.DictReader(lines, delimiter=separator(lines[0] if lines else ""), strict=True))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"Cannot read the sample sheet '{path}': {error}. Expected TSV, as the GDC gives it."
        ) from error
    cells = [{_column(name): (cell or "").strip() for name, cell in row.items() if name} for row in rows]
    needed = {"file_id", "case_id", "sample_id"}
    absent = needed - set(cells[0]) if cells else {"any row"}
    if absent:
        raise DataError(
            f"'{path}' is no sample sheet: it lacks {listing(sorted(absent))}. In the GDC's cart choose "
            "'Sample Sheet', and give that file with --samples."
        )
    return _sheet([row for row in cells if row.get("data_type", EXPRESSION).casefold() == EXPRESSION], path)


def _column(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().casefold())


def _sheet(rows: Sequence[Mapping[str, str]], path: Path) -> SampleSheet:
    by_file: dict[str, Sample] = {}
    by_id: dict[str, list[Sample]] = {}
    for row in rows:
        sample = read_sample(
            _only(row["sample_id"], path) or row["file_id"],
            patient=_only(row["case_id"], path),
            words=" ".join(row.get(column, "") for column in TISSUES),
            origin=row["file_id"],
        )
        by_id.setdefault(sample.name, []).append(sample)
        for key in filter(None, (row["file_id"], row.get("file_name", ""))):
            if (other := by_file.setdefault(key, sample)).patient != sample.patient or other.tissue != sample.tissue:
                raise DataError(
                    f"'{path}' lists file '{key}' for '{other.name}' and for '{sample.name}'. "
                    "Keep the row that is right."
                )
    return SampleSheet(by_file, {name: samples[0] for name, samples in by_id.items() if len(samples) == 1})


def _only(cell: str, path: Path) -> str:
    """Take the one id of a cell, which may name it several times."""
    names = sorted({name.strip() for name in cell.split(",")})
    if len(names) != 1:
        raise DataError(
            f"'{path}' lists one file for {listing(names)}. A file of expression has one patient and sample."
        )
    return names[0]


def find_samples(folder: Path, sheet: SampleSheet | None) -> tuple[list[Sample], list[Dropped]]:
    """Find the counts files in a folder and in the folders in it, and whose they are.

    Args:
        folder: as ``gdc-client download`` fills it.
        sheet: None takes the patient from the file's name, up to its first point.

    Returns:
        A sample for each file; and downloads that have not ended, folders without counts, files that are not in the
        sheet, and samples of the sheet that have no file.

    Raises:
        DataError: the folder has no counts file, or a link in it leads out.
    """
    files, dropped = _find_files(folder)
    if not files:
        raise DataError(
            f"'{folder}' has no STAR counts files: neither it nor the folders in it hold a '.tsv'. Give the folder "
            "that gdc-client downloaded to."
        )
    samples: list[Sample] = []
    for file in files:
        path = Path(file)
        stem = path.name.split(".", maxsplit=1)[0]
        found = sheet.find(path.parent.name, path.name, stem) if sheet else read_sample(stem)
        if found is None:
            dropped.append(Dropped(stem, "", "not in the sample sheet", file))
        else:
            samples.append(replace(found, origin=file))
    return samples, [*dropped, *(_absent(sheet, files) if sheet else ())]


def _find_files(folder: Path) -> tuple[list[str], list[Dropped]]:
    """List files relative to a folder: counts that lie in it, and the one table of each folder in it."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"Cannot read the folder '{folder}': {error.strerror}. Check the path.") from error
    files, dropped = [], []
    for entry in entries:
        inside(folder, entry.name)
        if entry.is_file() and COUNTS.fullmatch(entry.name):
            files.append(entry.name)
        elif entry.name.endswith(".partial"):
            dropped.append(_unfinished(entry.name))
        elif entry.is_dir() and not entry.name.startswith("."):
            found = _find_in(entry)
            files.extend([found] if isinstance(found, str) else [])
            dropped.extend([found] if isinstance(found, Dropped) else [])
    return files, dropped


def _find_in(folder: Path) -> str | Dropped:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    tables = [name for name in names if COUNTS.fullmatch(name)] or [name for name in names if TABLE.fullmatch(name)]
    if tables:
        inside(folder, tables[0])
        return f"{folder.name}/{tables[0]}"
    if partial := [name for name in names if name.endswith(".partial")]:
        return _unfinished(f"{folder.name}/{partial[0]}")
    return Dropped(folder.name, "", "no table of counts in its folder", folder.name)


def _unfinished(file: str) -> Dropped:
    return Dropped(Path(file).name.split(".", maxsplit=1)[0], "", "the download has not ended", file, failed=True)


def _absent(sheet: SampleSheet, files: Sequence[str]) -> Iterator[Dropped]:
    """Samples of the sheet that none of the files is of."""
    paths = [Path(file) for file in files]
    names = {name for path in paths for name in (path.parent.name, path.name, path.name.split(".", maxsplit=1)[0])}
    here = {id(sheet.find(name)) for name in names}
    for sample in {id(sample): sample for sample in sheet.rows.values() if id(sample) not in here}.values():
        yield Dropped(sample.name, sample.patient, "in the sample sheet, but has no file", sample.origin)


def read_files(
    folder: Path,
    samples: Sequence[Sample],
    read: Callable[[Path], Read],
    take: Callable[[Path, Read], Array],
    report: Callable[[int, int], None],
) -> tuple[list[tuple[Sample, Array]], list[Dropped]]:
    """Read the files of samples, several at once, and take what was read in the order of the samples.

    Args:
        folder: where they are.
        samples: whose origin is their file.
        read: reads one file; called from several threads.
        take: makes the row of a file of what was read of it; called from this thread alone.
        report: called with how many files are read, and of how many.

    Returns:
        The rows, in order; and the samples whose file cannot be used, with the reason.
    """
    rows, dropped = [], []
    paths = [folder / sample.origin for sample in samples]
    pool = ThreadPoolExecutor(min(MOST_READERS, os.cpu_count() or 1))
    try:
        readings = deque(pool.submit(read, path) for path in paths)
        for number, (sample, path) in enumerate(zip(samples, paths, strict=True), start=1):
            try:
                rows.append((sample, take(path, readings.popleft().result())))
            except DataError as error:
                reason = str(error).replace(f"{folder}/", "")  # the account of a run names no place of this machine
                dropped.append(Dropped(sample.name, sample.patient, reason, sample.origin, failed=True))
            report(number, len(samples))
    finally:
        pool.shutdown(cancel_futures=True)
    return rows, dropped
