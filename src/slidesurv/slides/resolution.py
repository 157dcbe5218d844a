"""Micrometres per pixel: what a slide has, what is asked for, and how to get from one to the other.

A tile is a piece of tissue of ``px × mpp`` micrometres, not a number of pixels at a magnification: 256 px at
0.5 µm/px is 128 µm on every slide, whether it was scanned at 0.25, at 0.2628 or at 0.5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError
from slidesurv.slides.faults import ResolutionError
from slidesurv.slides.libraries import cv2

__all__ = ["Level", "Sampling", "Target", "best_level", "mpp_at", "resize", "sample", "settle_mpp"]

PLAUSIBLE = (0.05, 10.0)  # µm/px; 250 is nanometres, 352.8 is the 72 dpi of a screen
ANISOTROPY = 0.05
ENLARGED = 1.2  # a 20× slide of some scanners has 0.55 µm/px
AT_ONE = 10.0  # µm/px of magnification 1
COLUMNS = {
    "manifest": "the manifest",
    "metadata": "the slide's metadata",
    "default": "--default-mpp",
}


@dataclass(frozen=True, slots=True)
class Level:
    """One picture of the pyramid.

    Attributes:
        width: pixels.
        height: pixels.
        downsample: level-0 pixels per pixel, 1 at level 0.
    """

    width: int
    height: int
    downsample: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a tile should be.

    Attributes:
        mpp: µm per pixel of the tile.
        px: its side, pixels.
        overlap: pixels that neighbours share.

    Raises:
        ConfigError: a value is out of range.
    """

    mpp: float = 0.5
    px: int = 256
    overlap: int = 0

    def __post_init__(self) -> None:
        if not PLAUSIBLE[0] <= self.mpp <= PLAUSIBLE[1]:
            raise ConfigError(f"Tiles cannot have {self.mpp} µm per pixel: give {PLAUSIBLE[0]} to {PLAUSIBLE[1]}.")
        if not 0 <= self.overlap < self.px:
            raise ConfigError(f"Tiles of {self.px} px cannot overlap by {self.overlap} px: give 0 to {self.px - 1}.")

    @property
    def um(self) -> float:
        """The side of a tile, µm."""
        return self.px * self.mpp

    @property
    def folder(self) -> str:
        """The name of a folder of such tiles, as TRIDENT has it, such as ``20x_256px_0px_overlap``."""
        return f"{AT_ONE / self.mpp:g}x_{self.px}px_{self.overlap}px_overlap"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to cut the tiles of one slide.

    Attributes:
        size: (width, height) of a tile, level-0 pixels.
        step: (x, y) from a tile to the next, level-0 pixels.
        level: where it is read.
        region: (width, height) to read there, pixels of that level.
        px: the side it is resized to.
    """

    size: tuple[int, int]
    step: tuple[int, int]
    level: int
    region: tuple[int, int]
    px: int


def mpp_at(magnification: float) -> float:
    """The µm per pixel that a magnification stands for: 0.5 at 20, 0.25 at 40, 1.0 at 10."""
    if not magnification > 0:
        raise ConfigError(f"Magnification {magnification} is none: give 20, 40 or 10, or say --mpp.")
    return AT_ONE / magnification


def settle_mpp(
    name: str,
    *,
    manifest: float | None,
    metadata: tuple[float, float] | None,
    default: float | None,
    anisotropic: bool = False,
    power: float | None = None,
) -> tuple[tuple[float, float], str]:
    """Decide the µm per pixel of a slide: the manifest's, else its own, else the default.

    Args:
        name: of the slide, for messages.
        manifest: what the user says of this slide.
        metadata: (x, y) as the file says.
        default: for slides that say nothing.
        anisotropic: accept x and y that differ by more than 5 %; tiles stay square in µm.
        power: the objective the file names, as a hint in the message; never used for arithmetic.

    Returns:
        (x, y) and where they come from: "manifest", "metadata" or "default".

    Raises:
        ResolutionError: there is none, it is implausible, or x and y differ.
    """
    stated = {"manifest": _both(manifest), "metadata": metadata, "default": _both(default)}
    source = next((source for source, value in stated.items() if value is not None), None)
    if source is None:
        hint = f" (its objective is called {power:g}×, which often means {AT_ONE / power:g})" if power else ""
        raise ResolutionError(
            f"Slide '{name}' does not say its µm per pixel{hint}. Write it in the column 'mpp' of the manifest, "
            "give --default-mpp for all slides that say nothing, or repair the file's metadata."
        )
    x, y = stated[source] or (math.nan, math.nan)
    if not all(PLAUSIBLE[0] <= value <= PLAUSIBLE[1] for value in (x, y)):
        raise ResolutionError(
            f"Slide '{name}' has {x:g} × {y:g} µm per pixel, says {COLUMNS[source]}. Plausible is {PLAUSIBLE[0]} to "
            f"{PLAUSIBLE[1]}: write the right value in the column 'mpp' of the manifest."
        )
    if abs(x - y) > ANISOTROPY * min(x, y) and not anisotropic:
        raise ResolutionError(
            f"Slide '{name}' has {x:g} µm per pixel across and {y:g} down, says {COLUMNS[source]}. They may differ by "
            f"{ANISOTROPY:.0%}: write one value in the column 'mpp' of the manifest, or give --anisotropic."
        )
    return (x, y), source


def _both(mpp: float | None) -> tuple[float, float] | None:
    return None if mpp is None else (mpp, mpp)


def best_level(levels: Sequence[Level], downsample: float) -> int:
    """The smallest picture that still has at least the detail of a downsample; level 0 if none has."""
    fine = [number for number, level in enumerate(levels) if level.downsample <= downsample]
    return max(fine, default=0, key=lambda number: levels[number].downsample)


def sample(levels: Sequence[Level], mpp: tuple[float, float], target: Target, *, name: str = "") -> Sampling:
    """Plan the tiles of one slide so that their physical size is exact to half a pixel.

    A tile is rounded to level-0 pixels. It is read from the smallest level on which it is still as many pixels wide
    as it should become, to half a pixel, and resized.

    Raises:
        ResolutionError: the slide is too coarse: tiles would be enlarged by more than 1.2.
    """
    if max(mpp) > ENLARGED * target.mpp:
        raise ResolutionError(
            f"Slide '{name}' has {max(mpp):g} µm per pixel; tiles of {target.mpp:g} would be enlarged. "
            f"Ask for {max(mpp):g} or more, or leave the slide out."
        )
    exact = [target.um / m for m in mpp]  # level-0 pixels of a tile, across and down
    level = best_level(levels, min(exact) / (min(target.px, *exact) - 0.5))
    step = (target.px - target.overlap) * target.mpp
    return Sampling(
        size=(round(exact[0]), round(exact[1])),
        step=(max(1, round(step / mpp[0])), max(1, round(step / mpp[1]))),
        level=level,
        region=(round(exact[0] / levels[level].downsample), round(exact[1] / levels[level].downsample)),
        px=target.px,
    )


def resize(pixels: NDArray[np.uint8], px: int) -> NDArray[np.uint8]:
    """Resize regions (M, h, w, 3) to (M, px, px, 3): by area when they shrink, linearly when they grow.

    Regions that have the size already are handed back as they are.
    """
    count, height, width = pixels.shape[:3]
    if (height, width) == (px, px):
        return pixels
    way = cv2.INTER_AREA if min(height, width) >= px else cv2.INTER_LINEAR
    resized = np.empty((count, px, px, 3), np.uint8)
    for region, tile in zip(pixels, resized, strict=True):
        cv2.resize(region, (px, px), dst=tile, interpolation=way)
    return resized
