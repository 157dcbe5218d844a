"""tiffslide: tiled TIFF and SVS through tifffile and zarr, without OpenSlide's library."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import FormatError, TileError
from slidesurv.slides.libraries import need
from slidesurv.slides.reader import Reader, readers
from slidesurv.slides.resolution import Level

__all__ = ["TiffSlideReader"]


@readers.register("tiffslide")
class TiffSlideReader(Reader):
    """Regions through tiffslide."""

    def __init__(self, path: Path) -> None:
        library = need("tiffslide")
        self._path = path
        try:
            self._slide = library.TiffSlide(path)
        except (library.TiffFileError, ValueError, IndexError) as error:
            raise FormatError(f"'{path}' cannot be opened by tiffslide: {error}. Try --reader auto.") from error
        sizes = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        self.levels = tuple(Level(width, height, downsample) for (width, height), downsample in sizes)
        mpp = [self._slide.properties.get(f"tiffslide.mpp-{axis}") for axis in "xy"]
        self.stated_mpp = (float(mpp[0]), float(mpp[1])) if all(mpp) else None
        power = self._slide.properties.get("tiffslide.objective-power")
        self.power = float(power) if power else None

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        downsample = self.levels[level].downsample
        place = math.ceil(left * downsample), math.ceil(top * downsample)  # tiffslide rounds down
        try:
            out[:] = self._slide.read_region(place, level, (out.shape[1], out.shape[0]), as_array=True)
        except (ValueError, RuntimeError, OSError) as error:
            raise TileError(f"'{self._path}': the region at ({left}, {top}) of level {level}: {error}.") from error

    @override
    def close(self) -> None:
        self._slide.close()
