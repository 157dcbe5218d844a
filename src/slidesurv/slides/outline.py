"""Pieces of tissue as GeoJSON, to look at, to mend in QuPath, and to read again; and as a picture.

Coordinates are level-0 pixels, as QuPath has them. The outer ring of a polygon runs counter-clockwise and the rings
of its holes clockwise, as RFC 7946 asks.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError
from slidesurv.files import read_json, write_json
from slidesurv.slides.libraries import cv2
from slidesurv.slides.tissue import Contour, Tissue

__all__ = ["overlay", "read_outline", "write_outline"]

TISSUE, HOLE, TILE = (0, 160, 0), (0, 0, 220), (20, 20, 20)  # colours of lines


def write_outline(path: Path, tissue: Tissue) -> None:
    """Write pieces of tissue as a GeoJSON FeatureCollection, atomically; QuPath opens it by drag and drop."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": _rings(contour, holes)},
            "properties": {"objectType": "annotation", "name": f"tissue {number}"},
        }
        for number, (contour, holes) in enumerate(zip(tissue.contours, tissue.holes, strict=True), start=1)
    ]
    write_json(path, {"type": "FeatureCollection", "features": features})


def _rings(contour: Contour, holes: tuple[Contour, ...]) -> list[list[list[int]]]:
    return [_closed(contour, positive=True), *(_closed(hole, positive=False) for hole in holes)]


def _closed(ring: Contour, *, positive: bool) -> list[list[int]]:
    """The points of a ring in the sense that is asked for, its first again at its end."""
    points = ring if (_signed_area(ring) > 0) == positive else ring[::-1]
    return np.vstack([points, points[:1]]).tolist()


def _signed_area(ring: Contour) -> float:
    x, y = ring.astype(np.float64).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def read_outline(path: Path, dimensions: tuple[int, int]) -> Tissue:
    """Read pieces of tissue, as written or as QuPath leaves them.

    Args:
        path: a FeatureCollection, a Feature, or a list of Features, of Polygons and MultiPolygons.
        dimensions: (width, height) of the slide, level-0 pixels.

    Returns:
        The pieces, in the order of the file, points rounded to whole pixels.

    Raises:
        DataError: the file is no GeoJSON of polygons, or one lies outside the slide.
    """
    pieces = [_piece(rings, path, dimensions) for feature in _features(path) for rings in _polygons(feature, path)]
    return Tissue(tuple(piece[0] for piece in pieces), tuple(tuple(piece[1:]) for piece in pieces))


def _features(path: Path) -> list[Any]:
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("features", [content])
    if not isinstance(content, list) or not all(isinstance(feature, dict) for feature in content):
        raise DataError(f"'{path}' is no GeoJSON. Export the annotations from QuPath as a FeatureCollection.")
    return content


def _polygons(feature: dict[str, Any], path: Path) -> Iterator[Any]:
    geometry = feature.get("geometry") or {}
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(coordinates, list):
        raise DataError(
            f"'{path}' holds a {kind or 'feature without a shape'}. Tissue is Polygons and MultiPolygons: remove "
            "points and lines, then export again."
        )
    yield from coordinates if kind == "MultiPolygon" else [coordinates]


def _piece(rings: Any, path: Path, dimensions: tuple[int, int]) -> list[Contour]:
    """An outer ring and its holes, each without the repeated end."""
    try:
        arrays = [np.asarray(ring, np.float64)[:, :2] for ring in rings]
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(f"'{path}': a ring cannot be read: {error}. Export it again.") from error
    if (shortest := min(map(len, arrays), default=0)) < 4:
        raise DataError(f"'{path}': a ring has {shortest} points, a closed one has at least 4. Export it again.")
    everything = np.concatenate(arrays)
    if not np.isfinite(everything).all() or (everything < -1).any() or (everything > np.add(dimensions, 1)).any():
        raise DataError(
            f"'{path}': a piece reaches from {everything.min(0).tolist()} to {everything.max(0).tolist()}, the slide "
            f"has {dimensions[0]} × {dimensions[1]} pixels. Coordinates are level-0 pixels of the same slide."
        )
    return [np.rint(array[:-1] if (array[0] == array[-1]).all() else array).astype(np.int32) for array in arrays]


def overlay(
    picture: NDArray[np.uint8],
    dimensions: tuple[int, int],
    tissue: Tissue,
    coords: NDArray[np.int64],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Draw tissue and tiles on a picture of the whole slide, for a person to look at.

    Args:
        picture: (h, w, 3) RGB, such as a thumbnail; it is not changed.
        dimensions: (width, height) of the slide, level-0 pixels.
        tissue: outlined in green, holes in blue.
        coords: (N, 2) corners of the tiles, level-0 pixels.
        size: (width, height) of a tile, level-0 pixels.
    """
    drawn = picture.copy()
    scale = np.array([picture.shape[1], picture.shape[0]]) / dimensions
    for x, y in coords.tolist():
        start, end = (np.rint(np.multiply(corner, scale)).astype(int) for corner in ((x, y), np.add((x, y), size)))
        cv2.rectangle(drawn, start.tolist(), end.tolist(), TILE, 1)
    for contour, holes in zip(tissue.contours, tissue.holes, strict=True):
        cv2.polylines(drawn, [np.rint(contour * scale).astype(np.int32)], isClosed=True, color=TISSUE, thickness=2)
        rings = [np.rint(hole * scale).astype(np.int32) for hole in holes]
        cv2.polylines(drawn, rings, isClosed=True, color=HOLE, thickness=2)
    return drawn
