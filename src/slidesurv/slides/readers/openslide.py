"""OpenSlide: Aperio, Hamamatsu, Leica, MIRAX, Philips, Trestle, Ventana, Zeiss, DICOM and tiled TIFF."""

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.slides.faults import FormatError, ReadError, TileError
from slidesurv.slides.inspection import inspect
from slidesurv.slides.libraries import openslide
from slidesurv.slides.reader import Reader, on_white, readers
from slidesurv.slides.resolution import Level

__all__ = ["OpenSlideReader"]

# Parts of property names that may lead to a person or a day.
TELLING = ("patient", "name", "barcode", "user", "date", "time", "title", "serial", "comment", "description")


@readers.register("openslide")
class OpenSlideReader(Reader):
    """Every region through OpenSlide."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slide = _open(path)
        self._lock = Lock()
        self.vendor = self._slide.properties[openslide.PROPERTY_NAME_VENDOR]
        sizes = zip(self._slide.level_dimensions, self._slide.level_downsamples, strict=True)
        self.levels = tuple(Level(width, height, downsample) for (width, height), downsample in sizes)
        self.stated_mpp = self._pair(openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
        power = self._slide.properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
        self.power = float(power) if power else None
        names = [name for name in self._slide.properties if any(word in name.lower() for word in TELLING)]
        # The keys alone: a value would decode the picture.
        self.private = (*names, *(f"picture '{name}'" for name in self._slide.associated_images.keys()))  # noqa: SIM118

    def _pair(self, x: str, y: str) -> tuple[float, float] | None:
        values = self._slide.properties.get(x), self._slide.properties.get(y)
        return (float(values[0]), float(values[1])) if values[0] and values[1] else None

    @override
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        slide, downsample = self._slide, self.levels[level].downsample
        place = round(left * downsample), round(top * downsample)
        try:
            region = slide.read_region(place, level, (out.shape[1], out.shape[0]))
        except openslide.OpenSlideError as error:
            self._renew(slide)
            raise TileError(
                f"'{self._path}': the region at ({left}, {top}) of level {level} cannot be read: {error}. "
                "It is left out; fetch the slide again if there are many."
            ) from error
        out[:] = on_white(np.asarray(region))

    def _renew(self, broken: openslide.OpenSlide) -> None:
        """Open the slide again: after one error a handle refuses every region. Other threads may still use the old."""
        with self._lock:
            if self._slide is broken:
                self._slide = _open(self._path)

    @override
    def close(self) -> None:
        self._slide.close()


def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise FormatError(
            f"'{path}' is {inspect(path)}, which OpenSlide does not take. Give a slide that it does, or an 8-bit RGB "
            "picture as TIFF, PNG or JPEG."
        ) from error
    except openslide.OpenSlideError as error:
        raise ReadError(
            f"'{path}' cannot be opened: {error}. Fetch it again; for DICOM also try --reader wsidicom or pydicom."
        ) from error
