"""What a manifest of the Genomic Data Commons lists, held against what lies in a folder."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slidesurv.cohorts.tables import read_rows
from slidesurv.errors import DataError, listing
from slidesurv.files import check_id, inside

__all__ = ["Entry", "Finding", "find_manifests", "md5", "read_gdc_manifest", "verify"]

COLUMNS = ("id", "filename", "md5", "size")
UNFINISHED = (".partial", ".part")  # of gdc-client, and ours
BESIDE = ("annotations.txt",)  # what gdc-client writes beside a file


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a manifest.

    Attributes:
        md5: 32 hexadecimal digits.
        size: bytes.
    """

    id: str
    name: str
    md5: str
    size: int

    @property
    def place(self) -> str:
        """Where it lies in the folder."""
        return f"{self.id}/{self.name}"


def read_gdc_manifest(path: Path) -> list[Entry]:
    """Read a manifest of GDC, ours or the data portal's.

    Args:
        path: id, filename, md5 and size, parted by tabs.

    Raises:
        DataError: a column is missing, a cell cannot be meant, or an id stands there twice; names the row.
    """
    rows = read_rows(path)
    if absent := [column for column in COLUMNS if not rows or column not in rows[0]]:
        raise DataError(f"'{path}' has no {listing(absent)} for any file: it is no manifest of GDC. Give another.")
    entries = [_entry(row["id"], row["filename"], row["md5"], row["size"], n) for n, row in enumerate(rows, start=2)]
    if twice := [name for name, count in Counter(entry.id for entry in entries).items() if count > 1]:
        raise DataError(f"'{path}' lists {listing(twice)} more than once. Keep one row of each.")
    return entries


def _entry(name: str, filename: str, md5: str, size: str, row: int) -> Entry:
    if not re.fullmatch("[0-9a-f]{32}", md5) or not re.fullmatch("[0-9]{1,15}", size):
        raise DataError(f"Row {row} of the manifest has md5 {md5!r} and size {size!r}. Get the manifest again.")
    bare = filename.removeprefix(f"{name}/")  # manifests inside GDC's archives give the folder too
    return Entry(check_id(name, what="id", row=row), check_id(bare, what="file name", row=row), md5, int(size))


@dataclass(frozen=True, slots=True)
class Finding:
    """One file, and what is the matter with it.

    Attributes:
        place: in the folder.
        status: "ok"; "missing"; "partial", an unfinished download; "wrong", not what the manifest says; "unlisted".
        reason: in words; "" when there is nothing the matter.
    """

    place: str
    status: Literal["ok", "missing", "partial", "wrong", "unlisted"]
    reason: str = ""


def find_manifests(folder: Path) -> list[Path]:
    """The manifests that lie in a folder, by name.

    Raises:
        DataError: the folder or a manifest in it is not there.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder. Give the one that gdc-client or 'slidesurv fetch' filled.")
    found = sorted(path for path in folder.glob("*.t[xs][tv]") if "manifest" in path.name.casefold())
    if not found:
        raise DataError(f"'{folder}' has no manifest (*manifest*.txt). Name it: --manifest FILE.")
    return found


def verify(folder: Path, entries: Sequence[Entry]) -> Iterator[Finding]:
    """Check every file of a folder that gdc-client or `download` filled; nothing is changed.

    Args:
        folder: with a folder a file, called after its id.
        entries: of its manifest.

    Yields:
        A finding an entry, in order, then one for each unfinished or unlisted file beside them.
    """
    listed = set()
    for entry in entries:
        listed.add(entry.place)
        yield _check(folder, entry)
    for path in sorted(folder.glob("*/*")):
        place = path.relative_to(folder).as_posix()
        if place in listed or path.name in BESIDE or path.name.endswith(".part.json") or not path.is_file():
            continue
        if path.suffix in UNFINISHED:
            yield Finding(place, "partial", "an unfinished download; download again, or remove it")
        else:
            yield Finding(place, "unlisted", "no manifest lists it")


def _check(folder: Path, entry: Entry) -> Finding:
    path = inside(folder, entry.place)
    if not path.is_file():
        return Finding(entry.place, "missing", "it is not there")
    size = path.stat().st_size
    if size != entry.size:
        return Finding(entry.place, "wrong", f"it has {size:,} bytes instead of {entry.size:,}{_looks(path)}")
    if (found := md5(path)) != entry.md5:
        return Finding(entry.place, "wrong", f"its md5 is {found} instead of {entry.md5}{_looks(path)}")
    return Finding(entry.place, "ok")


def _looks(path: Path) -> str:
    """Say of what is no slide and no table what it seems to be."""
    with path.open("rb") as file:
        beginning = file.read(512).lstrip().lower()
    return ", and is an HTML page" if beginning.startswith((b"<!doctype html", b"<html")) else ""


def md5(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
