"""What a TIFF says of its tiles: where they stand, and whether they can be what it claims.

A file is looked at before a library decodes it: its chain of directories is walked, its sizes are held against caps,
and its last tile must lie inside it. No pixel is read, so labels and macro images stay closed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from slidesurv.slides.faults import PixelError, ReadError
from slidesurv.slides.libraries import tifffile

__all__ = ["TileTable", "read_tables"]

MOST_PIXELS = 2**38  # a slide of 500,000 × 500,000; the largest scanners stay below a third of it
MOST_TILE_PIXELS = 2**26
MOST_DIRECTORIES = 1000
RGB, YCBCR = 2, 6  # the field's values of "photometric"


@dataclass(frozen=True, slots=True)
class TileTable:
    """One level of tiles, row by row.

    Attributes:
        size: (width, height) of the level, pixels.
        tile: (width, height) of a tile, pixels.
        offsets: (tiles,) int64 byte at which each tile begins.
        counts: (tiles,) int64 bytes of each tile; 0 is a tile that was never scanned.
        compression: the TIFF tag's number.
        ycbcr: whether the colours are stored as luma and chroma.
        tables: JPEG tables that all tiles share, or nothing.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    compression: int
    ycbcr: bool
    tables: bytes

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.size[0] // self.tile[0])


def read_tables(path: Path) -> tuple[TileTable, ...]:
    """Read where the tiles of every tiled level stand; striped pages, such as labels, are passed over.

    Raises:
        ReadError: the file is cut short, or its directories run in a circle.
        PixelError: a level is too large, or its pixels are not 8-bit RGB.
    """
    with path.open("rb") as file:
        for _ in _directories(file, path):
            pass
    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
            tables = tuple(_table(page, path) for page in pages)
    except (tifffile.TiffFileError, struct.error, IndexError) as error:
        raise ReadError(f"'{path}' has a damaged TIFF directory: {error}. Fetch the slide again.") from error
    _check_end(tables, path)
    return tables


def _directories(file: BinaryIO, path: Path) -> Iterator[int]:
    """Walk the chain of directories and give the byte at which each stands."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    count, entry, pointer = ("Q", 20, "Q") if big else ("H", 12, "I")
    seen: set[int] = set()
    offset = struct.unpack_from(order + pointer, head.ljust(16, b"\0"), 8 if big else 4)[0]
    while offset:
        if offset in seen or len(seen) == MOST_DIRECTORIES:
            raise ReadError(f"'{path}': its TIFF directories run in a circle at byte {offset}. Fetch the slide again.")
        seen.add(offset)
        yield offset
        entries = _number(file, path, offset, order + count)
        offset = _number(file, path, offset + struct.calcsize(count) + entries * entry, order + pointer)


def _number(file: BinaryIO, path: Path, offset: int, form: str) -> int:
    size = struct.calcsize(form)
    file.seek(offset)
    content = file.read(size)
    if len(content) < size:
        raise ReadError(_cut_short(path, offset + size, "a TIFF directory"))
    return int(struct.unpack(form, content)[0])


def _cut_short(path: Path, end: int, what: str) -> str:
    return (
        f"'{path}' is cut short: {what} should reach to byte {end}, the file ends at {path.stat().st_size}. "
        "Fetch the slide again."
    )


def _table(page: Any, path: Path) -> TileTable:
    size, tile = (page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength)
    _check_pixels(page, size, tile, path)
    table = TileTable(
        size,
        tile,
        np.asarray(page.dataoffsets, np.int64),
        np.asarray(page.databytecounts, np.int64),
        int(page.compression),
        int(page.photometric) == YCBCR,
        page.jpegtables or b"",
    )
    needed = table.columns * -(-size[1] // tile[1])
    if not len(table.offsets) == len(table.counts) == needed:
        raise ReadError(
            f"'{path}': a level of {size[0]} × {size[1]} needs {needed} tiles, its directory names "
            f"{len(table.offsets)}. Fetch the slide again."
        )
    return table


def _check_pixels(page: Any, size: tuple[int, int], tile: tuple[int, int], path: Path) -> None:
    if not all(size) or not all(tile) or size[0] * size[1] > MOST_PIXELS or tile[0] * tile[1] > MOST_TILE_PIXELS:
        raise PixelError(
            f"'{path}' claims {size[0]} × {size[1]} pixels in tiles of {tile[0]} × {tile[1]}. At most {MOST_PIXELS:,} "
            f"pixels, in tiles of {MOST_TILE_PIXELS:,}, are read: check the file."
        )
    bits = page.bitspersample
    if bits != 8 or page.samplesperpixel not in (3, 4) or int(page.photometric) not in (RGB, YCBCR):
        raise PixelError(
            f"'{path}' has {page.samplesperpixel} channels of {bits} bits ({page.photometric!s}). Slides are 8-bit "
            "RGB: convert it, for example with 'vips'."
        )


def _check_end(tables: tuple[TileTable, ...], path: Path) -> None:
    ends = [int((table.offsets + table.counts)[table.counts > 0].max(initial=0)) for table in tables]
    if max(ends, default=0) > path.stat().st_size:
        raise ReadError(_cut_short(path, max(ends), "the last tile"))
