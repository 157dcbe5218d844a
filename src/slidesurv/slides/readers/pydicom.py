"""A DICOM file by itself: frames of JPEG laid side by side, for files that no slide library takes.

The standard lays frames row by row. A file that does not say so (no "TILED_FULL") is laid column by column where the
seams between frames fit better that way. Its µm per pixel are read where they stand, else they must be stated.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import FormatError, PixelError, TileError
from slidesurv.slides.libraries import need, simplejpeg
from slidesurv.slides.mosaic import lay
from slidesurv.slides.reader import Reader, readers
from slidesurv.slides.resolution import Level

__all__ = ["PydicomReader"]

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
SEAMS = 64  # pairs of neighbours looked at


@readers.register("pydicom")
class PydicomReader(Reader):
    """One level; the compressed frames are held in memory."""

    def __init__(self, path: Path) -> None:
        header = _header(path)
        self._path = path
        self._frames = _frames(header)
        self._tile = int(header.Columns), int(header.Rows)
        width, height = int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows)
        self.levels = (Level(width, height, 1.0),)
        self.stated_mpp = _spacing(header)
        self._grid = -(-width // self._tile[0]), -(-height // self._tile[1])  # columns, rows
        if len(self._frames) != self._grid[0] * self._grid[1]:
            raise FormatError(
                f"'{path}' has {len(self._frames)} frames where {self._grid[0]} × {self._grid[1]} are needed. "
                "Try --reader wsidicom."
            )
        full = header.get("DimensionOrganizationType") == "TILED_FULL"
        self._by_rows = full or self._misfit(by_rows=True) <= self._misfit(by_rows=False)

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        lay(out, (left, top), self._tile, partial(self._frame, by_rows=self._by_rows))

    def _frame(self, column: int, row: int, *, by_rows: bool) -> NDArray[np.uint8]:
        number = row * self._grid[0] + column if by_rows else column * self._grid[1] + row
        try:
            return simplejpeg.decode_jpeg(self._frames[number], "RGB", strict=True)
        except ValueError as error:
            raise TileError(f"'{self._path}': frame {number} cannot be decoded: {error}.") from error

    def _misfit(self, *, by_rows: bool) -> float:
        """Mean difference of colours across the seams between frames that would lie side by side."""
        columns, rows = self._grid
        pairs = [(column, row) for column in range(columns - 1) for row in range(rows)][:SEAMS]
        seams = [
            (self._frame(column, row, by_rows=by_rows)[:, -1], self._frame(column + 1, row, by_rows=by_rows)[:, 0])
            for column, row in pairs
        ]
        return float(np.mean([np.abs(a.astype(np.int16) - b).mean() for a, b in seams])) if seams else 0.0


def _header(path: Path) -> Any:
    pydicom = need("pydicom")
    try:
        header = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError as error:
        raise FormatError(f"'{path}' is not DICOM: {error}. Try --reader auto.") from error
    if "TotalPixelMatrixColumns" not in header or header.file_meta.TransferSyntaxUID != JPEG_BASELINE:
        raise FormatError(f"'{path}' is no slide of JPEG frames. Try --reader wsidicom.")
    if header.SamplesPerPixel != 3 or header.BitsAllocated != 8:
        raise PixelError(
            f"'{path}' has {header.SamplesPerPixel} channels of {header.BitsAllocated} bits. Slides are 8-bit RGB."
        )
    return header


def _frames(header: Any) -> list[bytes]:
    encaps = need("pydicom.encaps")
    return list(encaps.generate_frames(header.PixelData, number_of_frames=int(header.NumberOfFrames)))


def _spacing(header: Any) -> tuple[float, float] | None:
    """(x, y) µm, from the millimetres of (row, column) that all frames share."""
    for group in header.get("SharedFunctionalGroupsSequence", ()):
        for measures in group.get("PixelMeasuresSequence", ()):
            down, across = measures.PixelSpacing
            return 1000 * float(across), 1000 * float(down)
    return None
