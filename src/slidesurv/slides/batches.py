"""Pixels of many tiles at a time, at the size that was asked for."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slidesurv.slides.faults import ReadError, TileError
from slidesurv.slides.reader import Slide
from slidesurv.slides.resolution import Sampling, resize

__all__ = ["Batch", "read_batches", "refuse_unreadable"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Tiles that could be read.

    Attributes:
        places: (M,) int64 where each stands among the coordinates that were asked for.
        pixels: (M, px, px, 3) uint8 RGB.
        unreadable: the reasons of the tiles that are missing.
    """

    places: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    unreadable: tuple[str, ...]


def read_batches(
    slide: Slide, coords: NDArray[np.int64], sampling: Sampling, *, size: int = 64, threads: int = 1
) -> Iterator[Batch]:
    """Read tiles in order. A tile that cannot be read is left out and named, never filled.

    Args:
        slide: open.
        coords: (N, 2) top-left corners, level-0 pixels.
        sampling: of this slide.
        size: tiles in a batch.
        threads: that read and decode at the same time; their number changes no pixel.

    Yields:
        Batches of at most ``size`` tiles; a batch may be empty when none of its tiles could be read.
    """
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(coords), size):
            some = coords[start : start + size]
            regions = np.empty((len(some), sampling.region[1], sampling.region[0], 3), np.uint8)
            edges = np.linspace(0, len(some), threads + 1).round().astype(int).tolist()
            fill = partial(_fill, slide, some, sampling, regions)
            yield _batch(
                start, regions, [fault for part in pool.map(fill, pairwise(edges)) for fault in part], sampling
            )


def _batch(start: int, regions: NDArray[np.uint8], faults: list[str | None], sampling: Sampling) -> Batch:
    readable = np.array([fault is None for fault in faults], np.bool_)
    pixels = resize(regions if readable.all() else regions[readable], sampling.px)
    return Batch(start + np.flatnonzero(readable), pixels, tuple(fault for fault in faults if fault is not None))


def _fill(
    slide: Slide,
    coords: NDArray[np.int64],
    sampling: Sampling,
    regions: NDArray[np.uint8],
    part: Sequence[int],
) -> list[str | None]:
    """Read a part of the batch into its place; for each tile the reason why it is not there."""
    faults: list[str | None] = []
    for number in range(*part):
        x, y = coords[number].tolist()
        try:
            slide.fill(regions[number], x, y, sampling.level)
            faults.append(None)
        except TileError as error:
            faults.append(str(error))
    return faults


def refuse_unreadable(slide: str, unreadable: int, tiles: int, *, most: float = 0.01) -> None:
    """Refuse a slide of which too many tiles cannot be read.

    Raises:
        ReadError: more than a share ``most`` of the tiles is missing.
    """
    if unreadable > most * tiles:
        raise ReadError(
            f"{unreadable} of {tiles} tiles of slide '{slide}' cannot be read; at most {most:.1%} may be left out. "
            "Fetch the slide again, or allow more."
        )
