"""fastslide: a reader in C++. Its pixels differ from OpenSlide's by up to 25 grey levels, by chroma."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import FormatError, TileError
from slidesurv.slides.libraries import need
from slidesurv.slides.reader import Reader, readers
from slidesurv.slides.resolution import Level

__all__ = ["FastSlideReader"]


@readers.register("fastslide")
class FastSlideReader(Reader):
    """Regions through fastslide."""

    def __init__(self, path: Path) -> None:
        library = need("fastslide")
        self._path = path
        try:
            self._slide = library.FastSlide.from_file_path(str(path))
        except (RuntimeError, ValueError, OSError) as error:
            raise FormatError(f"'{path}' cannot be opened by fastslide: {error}. Try --reader auto.") from error
        sizes = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        self.levels = tuple(Level(width, height, downsample) for (width, height), downsample in sizes)
        x, y = self._slide.mpp
        self.stated_mpp = (x, y) if x and y else None

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        try:
            out[:] = self._slide.read_region((left, top), level, (out.shape[1], out.shape[0])).numpy()[..., :3]
        except (RuntimeError, ValueError, OSError) as error:
            raise TileError(f"'{self._path}': the region at ({left}, {top}) of level {level}: {error}.") from error

    @override
    def close(self) -> None:
        self._slide.close()
