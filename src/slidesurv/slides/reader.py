"""Open a slide: one small interface over every library that reads one.

::

    with open_slide("a.svs") as slide:
        slide.dimensions, slide.mpp, slide.mpp_source
        slide.read(x, y, level, width, height)          # (height, width, 3) uint8

A reader is a file in ``readers/``: a class that knows its levels and fills an array. Labels and macro images are
never opened; outside the picture, and where nothing was scanned, a slide is white.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from slidesurv.registry import Registry
from slidesurv.slides.faults import SlideError, TileError
from slidesurv.slides.inspection import inspect
from slidesurv.slides.libraries import cv2, openslide
from slidesurv.slides.resolution import Level, best_level, settle_mpp
from slidesurv.slides.tiff import read_tables

__all__ = ["Reader", "Slide", "on_white", "open_slide", "readers"]

FULL = 100_000_000  # pixels held at once: 300 MB
BLOCK = 4096  # pixels a side, of what is read at once of a slide that is too large
SMALLEST = 64  # pixels a side, of what is given up as unreadable in the picture of a slide
TISSUE = (200, 80, 160)  # eosin and haematoxylin, well above the threshold of saturation


class Reader(ABC):
    """A library behind the interface.

    Attributes:
        levels: the pyramid, largest first.
        stated_mpp: (x, y) µm per pixel as the file says; None when it says nothing.
        power: the objective as the file says, such as 40; None when it says nothing.
        private: names of properties and pictures that may say who the patient is; never their content.
    """

    levels: tuple[Level, ...]
    stated_mpp: tuple[float, float] | None = None
    power: float | None = None
    private: tuple[str, ...] = ()

    @abstractmethod
    def __init__(self, path: Path) -> None: ...

    @abstractmethod
    def fill(self, out: NDArray[np.uint8], left: int, top: int, level: int) -> None:
        """Fill ``out`` (h, w, 3) with a region that lies inside a level.

        Threads may call it at the same time.

        Args:
            out: to fill; rows may lie apart in memory.
            left: pixels of the level, as ``top``.
            top: the upper edge.
            level: of the pyramid.

        Raises:
            TileError: a part of the region cannot be read; ``out`` is then of no use.
        """

    def close(self) -> None:  # noqa: B027 - some have nothing to give back
        """Give back what the library holds."""


readers: Registry[Reader] = Registry("reader", "slidesurv.slides.readers")


@final
class Slide:
    """A slide that is open.

    Attributes:
        path: its file.
        mpp: (x, y) µm per level-0 pixel.
        mpp_source: "manifest", "metadata" or "default".
        reader: the library behind it.
    """

    def __init__(self, path: Path, reader: Reader, mpp: tuple[float, float], mpp_source: str) -> None:
        self.path = path
        self.reader = reader
        self.mpp = mpp
        self.mpp_source = mpp_source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reader.close()

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def levels(self) -> tuple[Level, ...]:
        """The pyramid, largest first."""
        return self.reader.levels

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height), level-0 pixels."""
        return self.levels[0].width, self.levels[0].height

    def read(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a region.

        Args:
            x: left edge, level-0 pixels; rounded to a pixel of the level, as ``y``.
            y: top edge.
            level: of the pyramid.
            width: pixels of that level, as ``height``.
            height: of the region.

        Returns:
            (height, width, 3) RGB; white outside the slide.

        Raises:
            TileError: a part of the region cannot be read.
        """
        out = np.empty((height, width, 3), np.uint8)
        self.fill(out, x, y, level)
        return out

    def fill(self, out: NDArray[np.uint8], x: int, y: int, level: int) -> None:
        """Read a region into ``out`` (height, width, 3); otherwise as `read`."""
        picture = self.levels[level]
        x, y = round(x / picture.downsample), round(y / picture.downsample)
        left, top = max(0, x), max(0, y)
        right, bottom = min(x + out.shape[1], picture.width), min(y + out.shape[0], picture.height)
        inside = out[max(0, top - y) : max(0, bottom - y), max(0, left - x) : max(0, right - x)]
        if inside.shape != out.shape:
            out[:] = 255
        if inside.size:
            self.reader.fill(inside, left, top, level)

    def picture(self, downsample: float = 64.0, *, most: int = FULL) -> NDArray[np.uint8]:
        """The whole slide from the level that is best for a downsample, as that level has it.

        A level of more than ``most`` pixels is read in blocks and shrunk to the downsample by area, so that the
        memory stays bounded whatever the slide. What cannot be read has the colour of tissue, so that its tiles are
        laid, found unreadable, and counted.

        Returns:
            (h, w, 3) RGB; a pixel stands for ``width / w`` level-0 pixels.
        """
        number = best_level(self.levels, downsample)
        level = self.levels[number]
        if level.width * level.height <= most:
            return self._legible(0, 0, number, level.width, level.height)
        factor = max(2, round(downsample / level.downsample))
        picture = np.empty((-(-level.height // factor), -(-level.width // factor), 3), np.uint8)
        for top, left, block in self._blocks(number, side=max(1, BLOCK // factor) * factor, factor=factor):
            picture[top : top + len(block), left : left + block.shape[1]] = block
        return picture

    def _legible(self, x: int, y: int, number: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a region as `read` does, and halve it until only what cannot be read is left."""
        try:
            return self.read(x, y, number, width, height)
        except TileError:
            if max(width, height) <= SMALLEST:
                return np.full((height, width, 3), TISSUE, np.uint8)
        scale = self.levels[number].downsample
        if width >= height:
            half = width // 2
            parts = (x, half), (x + round(half * scale), width - half)
            return np.hstack([self._legible(left, y, number, part, height) for left, part in parts])
        half = height // 2
        parts = (y, half), (y + round(half * scale), height - half)
        return np.vstack([self._legible(x, top, number, width, part) for top, part in parts])

    def _blocks(self, number: int, *, side: int, factor: int) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        """Give the level block by block, each shrunk by a whole factor, with its place in the shrunk picture."""
        level = self.levels[number]
        for y in range(0, level.height, side):
            for x in range(0, level.width, side):
                width, height = (-(-min(side, left) // factor) for left in (level.width - x, level.height - y))
                place = round(x * level.downsample), round(y * level.downsample)
                block = self._legible(*place, number, width * factor, height * factor)
                yield y // factor, x // factor, _shrunk(block, width, height)

    def thumbnail(self, most: int = 1024) -> NDArray[np.uint8]:
        """The whole slide with a long side of ``most`` pixels, or its own where that is less."""
        shrink = max(1.0, max(self.dimensions) / most)
        width, height = (max(1, round(side / shrink)) for side in self.dimensions)
        return _shrunk(self.picture(shrink), width, height)


def open_slide(
    path: Path | str,
    *,
    reader: str = "auto",
    mpp: float | None = None,
    default_mpp: float | None = None,
    anisotropic: bool = False,
) -> Slide:
    """Open a slide, after a look at what it is.

    Args:
        path: its file.
        reader: a name of `readers`; "auto" is "turbo" (OpenSlide, and a fast way for TIFFs) or "plain".
        mpp: µm per pixel as the manifest says; wins over the file.
        default_mpp: for a file that says nothing.
        anisotropic: accept pixels that are not square.

    Raises:
        FormatError: it is no slide that the reader takes.
        ReadError: it is cut short, or may not be read.
        PixelError: its pixels are not 8-bit RGB, or are too many.
        ResolutionError: its µm per pixel are missing or implausible.
        MissingExtra: the reader's library is not installed.
        ConfigError: no reader has this name.
    """
    path = Path(path)
    kind = inspect(path)
    vendor = openslide.OpenSlide.detect_format(path) if kind == "TIFF" else None
    if kind == "TIFF" and vendor in (None, "aperio", "generic-tiff"):
        read_tables(path)
    plain = kind in ("PNG", "JPEG") or (kind == "TIFF" and vendor is None)
    opened = readers[("plain" if plain else "turbo") if reader == "auto" else reader](path)
    try:
        settled = settle_mpp(
            path.stem,
            manifest=mpp,
            metadata=opened.stated_mpp,
            default=default_mpp,
            anisotropic=anisotropic,
            power=opened.power,
        )
    except SlideError:
        opened.close()
        raise
    return Slide(path, opened, *settled)


def _shrunk(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The same picture, smaller: every pixel is the mean of the area it stands for."""
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay (…, 4) RGBA on white."""
    alpha = pixels[..., 3:]
    if alpha.size == 0 or alpha.min() == 255:
        return pixels[..., :3]
    mixed = pixels[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16))
    return ((mixed + 127) // 255).astype(np.uint8)
