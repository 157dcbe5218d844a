"""Look at a file before a reader does: what it is, and what would make a reader hang, burst or lie."""

import os
import stat
from pathlib import Path

from slidesurv.slides.faults import FormatError, ReadError

__all__ = ["inspect"]

UNFINISHED = (".partial", ".part", ".crdownload", ".download", ".aria2", ".tmp")
MAGIC = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"PK\3\4", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF"),
)
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def inspect(path: Path) -> str:
    """Say what a file is by its first bytes, without trusting its name.

    Returns:
        "TIFF", "PNG", "JPEG", "DICOM", "a web page", "a zip archive" … or "an unknown format".

    Raises:
        FormatError: it is empty, unfinished, no regular file, or misses its companion folder.
        ReadError: it is not there, or may not be read.
    """
    _check_place(path)
    if path.suffix.lower() in UNFINISHED:
        raise FormatError(f"'{path}' is an unfinished download. Let the download end, or fetch the slide again.")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise FormatError(f"'{path}' has 0 bytes. Fetch the slide again.")
    if path.suffix.lower() == ".mrxs" and not path.with_suffix("").is_dir():
        raise FormatError(
            f"'{path}' has no companion folder '{path.with_suffix('').name}' beside it, where MIRAX keeps the pixels. "
            "Copy the folder to the same place."
        )
    return _name(head)


def _check_place(path: Path) -> None:
    """Stat before anything is opened: opening a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = "is a link that leads nowhere" if path.is_symlink() else f"cannot be found: {error.strerror}"
        raise ReadError(f"'{path}' {what}. Check the path in the manifest.") from error
    if stat.S_ISDIR(mode):
        raise FormatError(f"'{path}' is a folder. Name the file of the slide in it.")
    if not stat.S_ISREG(mode):
        raise FormatError(f"'{path}' is {KINDS.get(stat.S_IFMT(mode), 'no file')}. Slides are regular files.")
    if not os.access(path, os.R_OK):
        raise ReadError(f"'{path}' may not be read by this user. Change its permissions.")


def _name(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "a web page"
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((name for magic, name in MAGIC if head.startswith(magic)), "an unknown format")
