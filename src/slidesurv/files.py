"""Atomic files: what stands under its final name is complete.

Every writer goes through ``replacing``: a temporary file in the same folder, flushed to the disk,
then renamed. A run that is killed leaves the old file or the new one, never half of one.
"""

import csv
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from slidesurv.errors import DataError

__all__ = [
    "check_id",
    "inside",
    "is_number",
    "read_csv",
    "read_json",
    "replacing",
    "separator",
    "sha256",
    "write_csv",
    "write_json",
    "write_text",
]

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
# ASCII alone: float() also takes 5_0 for 50, and the digits of every script.
NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf)", re.ASCII | re.IGNORECASE)
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it takes ``path``'s place, on failure it is removed.

    Raises:
        DataError: the disk refuses (full, read-only, no permission); nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise DataError(
            f"Cannot write '{path}': {error.strerror or error}. Nothing was left half-written; "
            "make room or choose another folder, then run the same command again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, atomically; the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"Cannot read '{path}' as JSON: {error}. Give the file as it was written, or make it again."
        ) from error


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a table, atomically. Floats keep every digit; a cell that a spreadsheet would run is quoted with '."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else value
    runs = value.startswith(("=", "+", "@", "\t", "\r")) or (value.startswith("-") and not is_number(value))
    return f"'{value}" if runs else value


def is_number(text: str) -> bool:
    """Say whether text is a plain number: ``-1.5``, ``3e2`` or ``inf``, but not ``5_0``, ``1,5`` or ``nan``."""
    return NUMBER.fullmatch(text.strip()) is not None


def separator(header: str) -> str:
    """Find what parts the cells of a table by its first line: a tab, a semicolon or a comma."""
    return max("\t;,", key=header.count)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a table that ``write_csv`` wrote: one dictionary a row, every value as text.

    Raises:
        DataError: the file is missing or is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            return list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"Cannot read the table '{path}': {error}. Expected UTF-8 text, separated by commas."
        ) from error


def sha256(*contents: bytes | Path) -> str:
    """Hash bytes and the contents of files, one after the other."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content.read_bytes() if isinstance(content, Path) else content)
    return digest.hexdigest()


def check_id(value: str, *, what: str, row: int | None = None) -> str:
    """Return an id that is safe as a file name.

    Raises:
        DataError: it could escape a folder, hide, or be refused by a file system.
    """
    if SAFE_ID.fullmatch(value) and value.split(".", maxsplit=1)[0].upper() not in RESERVED:
        return value
    where = f" in row {row}" if row is not None else ""
    shown = repr(value if len(value) <= 60 else value[:57] + "…")
    raise DataError(
        f"The {what}{where} is {shown}: ids are 1 to 200 letters, digits, '.', '_' and '-', begin with a letter "
        "or digit, and are no device name. Rename it in the table and on disk."
    )


def inside(root: Path, name: str) -> Path:
    """Join a name to a folder and make sure that the result stays in it.

    Raises:
        DataError: the path, or the link it goes through, leaves the folder.
    """
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"'{name}' leads out of '{root}'. Use names that stay inside the folder.")
    return path
