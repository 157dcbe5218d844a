"""Which tiles: a grid over every piece of tissue, and the file that keeps it.

The order is the field's: pieces one after the other, in each x is the slow index and y the fast one. Methods that
fold the bag into a square depend on it.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, unknown
from slidesurv.files import replacing, sha256
from slidesurv.slides.libraries import cv2
from slidesurv.slides.reader import Slide
from slidesurv.slides.resolution import AT_ONE, Sampling, Target
from slidesurv.slides.tissue import Contour, Tissue

__all__ = ["RULES", "grid", "read_coords", "write_coords"]

Ints = NDArray[np.int64]
Offsets = Callable[[int, int], list[tuple[int, int]]]
OBJECTIVES = (5, 10, 20, 40, 80)


def _corner(width: int, height: int) -> list[tuple[int, int]]:
    return [(0, 0)]


def _center(width: int, height: int) -> list[tuple[int, int]]:
    return [(width // 2, height // 2)]


def _four(width: int, height: int) -> list[tuple[int, int]]:
    """The corners of a square of half the side around the centre."""
    (x, y), right, down = _center(width, height)[0], int(0.5 * (width // 2)), int(0.5 * (height // 2))
    return [(x + a, y + b) for a in (-right, right) for b in (-down, down)]


# name: the points of a tile that are looked at, and whether all of them must lie inside
RULES: Mapping[str, tuple[Offsets, bool]] = MappingProxyType(
    {
        "basic": (_corner, True),
        "center": (_center, True),
        "four_pt": (_four, False),
        "four_pt_hard": (_four, True),
    }
)


def grid(
    tissue: Tissue,
    *,
    size: tuple[int, int],
    step: tuple[int, int],
    dimensions: tuple[int, int],
    rule: str = "four_pt",
    padding: bool = True,
) -> NDArray[np.int64]:
    """Lay a grid of tiles over every piece of tissue.

    A tile is kept if the rule's points lie in the piece, its border included, and its centre in none of its holes.

    Args:
        tissue: pieces, level-0 pixels.
        size: (width, height) of a tile, level-0 pixels; `Sampling.size`, or CLAM's patch size × downsample.
        step: (x, y) from a tile to the next, level-0 pixels.
        dimensions: (width, height) of the slide.
        rule: "basic" (the corner is inside), "center", "four_pt" (any of four points around the centre) or
            "four_pt_hard" (all four).
        padding: whether tiles may stick out of the slide, where they are white.

    Returns:
        (N, 2) top-left corners, level-0 pixels; none on a slide that is smaller than a tile both ways.

    Raises:
        ConfigError: no rule has this name.

    Source:
        The specification's section 2.2.
    """
    if rule not in RULES:
        raise ConfigError(unknown("rule", rule, RULES))
    if size[0] > dimensions[0] and size[1] > dimensions[1]:
        return np.zeros((0, 2), np.int64)
    pieces = [
        _kept(contour, holes, _candidates(contour, size, step, None if padding else dimensions), size, rule)
        for contour, holes in zip(tissue.contours, tissue.holes, strict=True)
    ]
    return np.concatenate([np.zeros((0, 2), np.int64), *pieces])


def _candidates(
    contour: Contour, size: tuple[int, int], step: tuple[int, int], dimensions: tuple[int, int] | None
) -> Ints:
    """(n, 2) corners over the rectangle around a piece, column by column."""
    left, top, width, height = cv2.boundingRect(contour)
    right, bottom = left + width, top + height
    if dimensions:
        right = min(right, dimensions[0] - size[0] + 1)
        bottom = min(bottom, dimensions[1] - size[1] + 1)
    x, y = np.meshgrid(np.arange(left, right, step[0]), np.arange(top, bottom, step[1]), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _kept(contour: Contour, holes: tuple[Contour, ...], corners: Ints, size: tuple[int, int], rule: str) -> Ints:
    offsets, every = RULES[rule]
    # Everything is counted in half pixels, so that the centre of a tile of odd size is a whole number.
    inside = np.stack([_sides(contour, 2 * (corners + offset)) >= 0 for offset in offsets(*size)])  # (points, n)
    corners = corners[inside.all(0) if every else inside.any(0)]
    for hole in holes:
        corners = corners[_sides(hole, 2 * corners + size) <= 0]
    return corners


def _sides(contour: Contour, points: Ints) -> NDArray[np.int8]:
    """Say for each point (n, 2) in half pixels: 1 inside a contour, 0 on it, -1 outside.

    The answer is exact, and that of OpenCV's ``pointPolygonTest``; a column of points asked for at once takes a tenth
    of its time or less.
    """
    sides = np.full(len(points), -1, np.int8)
    start = 2 * contour.astype(np.int64)
    end = np.roll(start, -1, axis=0)
    left, right = (reach(start[:, 0], end[:, 0]) for reach in (np.minimum, np.maximum))
    for x in np.unique(points[:, 0]):
        near = np.flatnonzero((left <= x) & (x <= right))
        (x0, y0), (x1, y1) = start[near].T, end[near].T  # (k,) each: the edges that this column meets
        here = np.flatnonzero(points[:, 0] == x)
        y = points[here, 1][:, None]  # (m, 1)
        turn = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)  # (m, k) 0 on the edge's line
        on = ((turn == 0) & (np.minimum(y0, y1) <= y) & (y <= np.maximum(y0, y1))).any(1)
        above = ((x0 <= x) != (x1 <= x)) & ((turn > 0) == (x1 > x0))  # edges crossed on the way up
        sides[here] = np.where(on, 0, np.where(above.sum(1) % 2 == 1, 1, -1))
    return sides


def write_coords(
    path: Path,
    coords: NDArray[np.int64],
    *,
    slide: Slide,
    target: Target,
    sampling: Sampling,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write one slide's tiles in TRIDENT's layout, atomically.

    Args:
        path: ``<slide>_patches.h5``.
        coords: (N, 2) top-left corners, level-0 pixels.
        slide: whose tiles these are; its size and resolution are recorded, its place on the disk is not.
        target: what a tile should be.
        sampling: how it is cut.
        attributes: more of them, such as the segmenter's settings.
    """
    mpp = sum(slide.mpp) / 2
    said = {
        "patch_size": target.px,
        "patch_size_level0": sampling.size[0],
        "level0_magnification": min(OBJECTIVES, key=lambda power: abs(np.log(power * mpp / AT_ONE))),
        "target_magnification": AT_ONE / target.mpp,
        "overlap": target.overlap,
        "level0_width": slide.dimensions[0],
        "level0_height": slide.dimensions[1],
        "name": slide.name,
        "savetodir": "",
        "schema_version": 1,
        "tool_version": version("slidesurv"),
        "patch_height_level0": sampling.size[1],
        "step_level0": sampling.step,
        "mpp_target": target.mpp,
        "mpp_slide": slide.mpp,
        "mpp_source": slide.mpp_source,
        "tile_um": target.um,
        "coords_sha256": sha256(coords.astype("<i8").tobytes()),
    }
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        dataset = file.create_dataset("coords", data=coords.astype(np.int64, copy=False))
        dataset.attrs.update({**said, **(attributes or {})})


def read_coords(path: Path) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Read a slide's tiles as `write_coords`, TRIDENT or CLAM left them.

    Returns:
        (N, 2) top-left corners in level-0 pixels, and the attributes that stand on them.

    Raises:
        DataError: the file cannot be read, has no coordinates, or is not what was written.
    """
    try:
        with h5py.File(path, "r") as file:
            coords, attributes = file["coords"][()], dict(file["coords"].attrs)
    except (OSError, KeyError) as error:
        raise DataError(f"'{path}' has no coordinates that can be read: {error}. Tile the slide again.") from error
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise DataError(f"'{path}': coords has shape {coords.shape}, expected (N, 2). Tile the slide again.")
    coords = coords.astype(np.int64)
    if attributes.get("coords_sha256", said := sha256(coords.astype("<i8").tobytes())) != said:
        raise DataError(f"'{path}': its coordinates are not those that were written. Tile the slide again.")
    return coords, attributes
