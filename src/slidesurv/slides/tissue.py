"""Where the tissue is: contours with holes, in level-0 pixels.

::

    tissue = find_tissue(slide)                                    # CLAM's procedure, preset "tcga"
    tissue = find_tissue(slide, segmenter="mine", preset=PRESETS["biopsy"])

    @segmenter("mine")                                             # in a file of segmenters/
    def mine(picture, preset): ...                                 # (h, w, 3) uint8 -> (h, w) bool

A segmenter only says which pixels of a small picture are tissue; contours, holes and the filters by area are the same
for all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slidesurv.errors import ConfigError, unknown
from slidesurv.slides.faults import PixelError
from slidesurv.slides.libraries import cv2
from slidesurv.slides.reader import Slide

__all__ = ["PRESETS", "Preset", "Tissue", "find_tissue", "outline_mask", "segmenter", "segmenters"]

Contour = NDArray[np.int32]
Segmenter = Callable[[NDArray[np.uint8], "Preset"], NDArray[np.bool_]]

FOLDER = "slidesurv.slides.segmenters"
DOWNSAMPLE = 64.0  # of the picture that is looked at
UNIT = 512**2  # level-0 pixels in one unit of area
PADDING, DARK = 8, 64  # of 255: what a scanner writes where it did not look, and what is no glass
_segmenters: dict[str, Segmenter] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The numbers of the procedure; these are the preset "tcga".

    Attributes:
        threshold: least saturation of tissue, exclusive, of 255.
        blur: aperture of the median filter, odd, pixels of the picture.
        close: side of the square that closes gaps, pixels of the picture; 0 closes none.
        otsu: let the picture choose the threshold.
        tissue_area: least area of a contour without its holes, exclusive, in units of 512² level-0 pixels.
        hole_area: least area of a hole, exclusive, in the same units.
        holes: most holes of a contour; the largest are looked at.
    """

    threshold: int = 8
    blur: int = 7
    close: int = 4
    otsu: bool = False
    tissue_area: float = 16.0
    hole_area: float = 4.0
    holes: int = 8

    def __post_init__(self) -> None:
        if self.blur < 1 or self.blur % 2 == 0:
            raise ConfigError(f"The median filter's aperture is {self.blur}: give an odd number, such as 7.")


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "tcga": Preset(),
        "published": Preset(tissue_area=100.0, hole_area=16.0),
        "biopsy": Preset(threshold=15, blur=11, close=2, tissue_area=1.0, hole_area=1.0, holes=2),
        "resection": Preset(threshold=15, blur=11, tissue_area=100.0, hole_area=16.0),
    }
)


@dataclass(frozen=True, slots=True)
class Tissue:
    """Pieces of tissue on one slide.

    Attributes:
        contours: one (K, 2) int32 outline a piece, level-0 pixels.
        holes: for each piece the (K, 2) int32 outlines of its holes.
        small: pieces that were found and left out because of their area.
    """

    contours: tuple[Contour, ...]
    holes: tuple[tuple[Contour, ...], ...]
    small: int = 0

    def __len__(self) -> int:
        return len(self.contours)


def segmenter(name: str) -> Callable[[Segmenter], Segmenter]:
    """Give a function that finds tissue its name. Used as a decorator."""

    def keep(function: Segmenter) -> Segmenter:
        if name in _segmenters and _segmenters[name].__module__ != function.__module__:
            raise ConfigError(f"Two segmenters are called '{name}': rename one of them.")
        _segmenters[name] = function
        return function

    return keep


def segmenters() -> Mapping[str, Segmenter]:
    """Every known segmenter: those of the folder, and of the entry points of that name."""
    for module in iter_modules(import_module(FOLDER).__path__):
        import_module(f"{FOLDER}.{module.name}")
    for entry in entry_points(group=FOLDER):
        entry.load()
    return MappingProxyType(_segmenters)


def find_tissue(slide: Slide, *, segmenter: str = "saturation", preset: Preset = PRESETS["tcga"]) -> Tissue:
    """Find the pieces of tissue.

    Args:
        slide: read at the level that is best for a downsample of 64.
        segmenter: a name of `segmenters`.
        preset: the numbers of the procedure.

    Returns:
        Pieces in OpenCV's order; none for a slide without tissue.

    Raises:
        ConfigError: no segmenter has this name.
        PixelError: the slide's background is dark: its colours are inverted, or it is no bright field.
        TileError: a part of the slide cannot be read.

    Source:
        The specification's section 2.1.
    Differs:
        A level of more than 10⁸ pixels is shrunk, not refused.
    """
    known = segmenters()
    if segmenter not in known:
        raise ConfigError(unknown("segmenter", segmenter, known))
    picture = slide.picture(DOWNSAMPLE)  # (h, w, 3)
    _refuse_inverted(picture, slide.name)
    width, height = slide.dimensions
    scale = width / picture.shape[1], height / picture.shape[0]
    return outline_mask(known[segmenter](picture, preset), scale, preset)


def _refuse_inverted(picture: NDArray[np.uint8], name: str) -> None:
    brightest = picture.max(axis=2)  # (h, w)
    scanned = brightest > PADDING
    dark = np.count_nonzero(scanned & (brightest < DARK))
    if dark > np.count_nonzero(scanned) / 2:
        raise PixelError(
            f"Slide '{name}' is dark on {dark / scanned.size:.0%} of its area: its colours are inverted, or it is not "
            "bright field. Invert it, or leave it out."
        )


def outline_mask(mask: NDArray[np.bool_], scale: tuple[float, float], preset: Preset) -> Tissue:
    """Turn a mask into pieces with holes, and keep the large ones.

    Args:
        mask: (h, w), True where tissue is.
        scale: (x, y) level-0 pixels per pixel of the mask.
        preset: the filters by area are read.

    Source:
        The specification's section 2.1, steps 5-9.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    found = [np.asarray(contour, np.int32) for contour in contours]
    unit = int(UNIT / (scale[0] * scale[1]))  # pixels of the mask in one unit of area
    nested = _nested(hierarchy)
    kept = [
        (found[number], _large_holes([found[hole] for hole in inner], preset, unit))
        for number, inner in nested.items()
        if _net_area(found[number], [found[hole] for hole in inner]) > preset.tissue_area * unit
    ]
    return Tissue(
        tuple(_scaled(contour, scale) for contour, _ in kept),
        tuple(tuple(_scaled(hole, scale) for hole in holes) for _, holes in kept),
        small=len(nested) - len(kept),
    )


def _nested(hierarchy: ArrayLike | None) -> dict[int, list[int]]:
    """The holes of every outer contour, by number."""
    parents = [] if hierarchy is None else np.asarray(hierarchy)[0, :, 3].tolist()
    nested: dict[int, list[int]] = {number: [] for number, parent in enumerate(parents) if parent == -1}
    for number, parent in enumerate(parents):
        if parent != -1:
            nested[parent].append(number)
    return nested


def _net_area(contour: NDArray[np.int32], holes: list[NDArray[np.int32]]) -> float:
    return float(cv2.contourArea(contour) - sum(cv2.contourArea(hole) for hole in holes))


def _large_holes(holes: list[NDArray[np.int32]], preset: Preset, unit: int) -> list[NDArray[np.int32]]:
    largest = sorted(holes, key=cv2.contourArea, reverse=True)[: preset.holes]
    return [hole for hole in largest if cv2.contourArea(hole) > preset.hole_area * unit]


def _scaled(contour: NDArray[np.int32], scale: tuple[float, float]) -> Contour:
    """(K, 2) int32 level-0 pixels, cut to whole ones."""
    return (contour[:, 0] * np.asarray(scale)).astype(np.int32)
