"""TIFF tiles straight from the file through libjpeg-turbo or OpenJPEG; everything else through OpenSlide.

OpenSlide spends five sixths of a read on composing pictures. Here a tile is found by its offset, read with one
system call and decoded into its place. The pixels are OpenSlide's to the last bit, and a tile that OpenSlide refuses
is refused. Other formats, and colours stored in a rare way, go to OpenSlide.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import TileError
from slidesurv.slides.libraries import imagecodecs, simplejpeg
from slidesurv.slides.mosaic import lay
from slidesurv.slides.reader import readers
from slidesurv.slides.readers.openslide import OpenSlideReader
from slidesurv.slides.tiff import TileTable, read_tables

__all__ = ["TurboReader"]

JPEG, JPEG2000_RGB = 7, 33005  # compressions; the chroma of Aperio's 33003 is enlarged in OpenSlide's own way
KEPT = 64_000_000  # bytes of decoded tiles, so that a tile which two regions share is decoded once
START = b"\xff\xd8"
# Adobe's marker, which says how colours are stored; without it a decoder would guess.
COLOURS = {ycbcr: b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([ycbcr]) for ycbcr in (False, True)}

Decode = Callable[[bytes, TileTable, NDArray[np.uint8]], NDArray[np.uint8]]


@readers.register("turbo")
class TurboReader(OpenSlideReader):
    """OpenSlide, with a fast way to the tiles of Aperio's and generic TIFFs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        tables = read_tables(path) if self.vendor in ("aperio", "generic-tiff") else ()
        by_size = {table.size: table for table in tables if table.compression in DECODERS}
        self._tables = [by_size.get((level.width, level.height)) for level in self.levels]
        self._handle = os.open(path, os.O_RDONLY)
        self._kept: dict[tuple[int, int], NDArray[np.uint8]] = {}
        self._guard = Lock()

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        table = self._tables[level]
        if table is None:
            return super().fill(out, left, top, level)
        column, row = left // table.tile[0], top // table.tile[1]
        aligned = (column * table.tile[0], row * table.tile[1]) == (left, top)
        if aligned and out.shape[:2] == table.tile[::-1] and out.flags.c_contiguous:
            return self._decode(out, level, table, row * table.columns + column)
        return lay(out, (left, top), table.tile, partial(self._tile, level, table))

    def _tile(self, level: int, table: TileTable, column: int, row: int) -> NDArray[np.uint8]:
        """A decoded tile, kept for the regions beside it."""
        number = row * table.columns + column
        kept = self._kept.get((level, number))
        if kept is None:
            kept = np.empty((table.tile[1], table.tile[0], 3), np.uint8)
            self._decode(kept, level, table, number)
            with self._guard:
                while self._kept and (len(self._kept) + 1) * kept.nbytes > KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[level, number] = kept
        return kept

    def _decode(self, out: NDArray[np.uint8], level: int, table: TileTable, number: int) -> None:
        count = int(table.counts[number])
        if count == 0:  # never scanned
            out[:] = 255
            return
        content = os.pread(self._handle, count, int(table.offsets[number]))
        try:
            decoded = DECODERS[table.compression](content, table, out)
            if decoded.shape != out.shape:  # then what lies in ``out`` is of no use
                raise ValueError(f"it has {decoded.shape[1]} × {decoded.shape[0]} pixels")
        except (ValueError, imagecodecs.Jpeg2kError) as error:
            raise TileError(
                f"'{self._path}': tile {number} of level {level} cannot be decoded: {error}. "
                "It is left out; fetch the slide again if there are many."
            ) from error

    @override
    def close(self) -> None:
        os.close(self._handle)
        self._kept.clear()
        super().close()


def _jpeg(content: bytes, table: TileTable, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode a JPEG; damage that libjpeg would paper over with grey is an error, as it is for OpenSlide."""
    tables = table.tables[len(START) : -len(START)]  # without its start and end
    whole = START + COLOURS[table.ycbcr] + tables + content[len(START) :]
    return simplejpeg.decode_jpeg(whole, "RGB", strict=True, buffer=out)


def _jpeg2000(content: bytes, table: TileTable, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return imagecodecs.jpeg2k_decode(content, out=out)


DECODERS: dict[int, Decode] = {JPEG: _jpeg, JPEG2000_RGB: _jpeg2000}
