"""Regions out of tiles that lie side by side."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["lay"]


def lay(
    out: NDArray[np.uint8],
    corner: tuple[int, int],
    tile: tuple[int, int],
    decoded: Callable[[int, int], NDArray[np.uint8]],
) -> None:
    """Fill a region with the parts of the tiles that it shows.

    Args:
        out: (h, w, 3) to fill.
        corner: (x, y) of the region, pixels.
        tile: (width, height) of every tile, pixels.
        decoded: gives the tile of a column and a row.
    """
    (left, top), (width, height) = corner, tile
    for row in range(top // height, -(-(top + out.shape[0]) // height)):
        for column in range(left // width, -(-(left + out.shape[1]) // width)):
            x, y = column * width - left, row * height - top  # of the tile, seen from the region
            shown = decoded(column, row)[max(0, -y) : out.shape[0] - y, max(0, -x) : out.shape[1] - x]
            y, x = max(0, y), max(0, x)
            out[y : y + shown.shape[0], x : x + shown.shape[1]] = shown
