"""Colour and texture, without weights: how a tile is stained, its grain, fibres, nuclei and holes.

The light that a tile swallows is parted into haematoxylin, eosin and a rest along published colours (Ruifrok and
Johnston 2001), and every feature is a statistic of one of them, named in `TextureEncoder.columns`. Nothing is drawn and
nothing is fitted: a tile gives the same numbers in every cohort. They describe tissue; no tissue taught them.

Densities are natural, -ln(light / 255). Sizes are meant for 0.5 µm per pixel; all but the colours and the finest grain
are looked at with half as many pixels a side, which shows every nucleus and takes a quarter of the time.
"""

import math
from collections.abc import Iterator
from itertools import starmap
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from slidesurv.errors import ConfigError
from slidesurv.slides.encoders.base import Encoder, Weights, encoders
from slidesurv.slides.libraries import cv2

__all__ = ["TextureEncoder", "densities"]

Plane = NDArray[Any]  # (h, w) of floats or bytes: OpenCV's annotations do not say which
Named = Iterator[tuple[str, float]]

# Colours of the pure stains in optical density of red, green and blue: haematoxylin, eosin, and DAB for the rest.
COLOURS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
STAINS = ("haematoxylin", "eosin", "rest")
PARTING = np.linalg.inv(COLOURS).T.astype(np.float32)
DENSITY = -np.log(np.maximum(np.arange(256), 1) / 255).astype(np.float32)  # of every byte
BYTES = 100.0  # per unit of density, where a density is kept in bytes
QUANTILES = (0.1, 0.5, 0.9)
OCTAVES = (2, 4, 8, 16)  # px, the grain's
GREYS, STEP = 16, 12  # of the neighbours' table, and bytes in each
AWAY = (1, 2)  # px of the half-size tile
FIBRE = 17  # px of the half-size tile, the window in which edges run in one direction
CHROMATIN = 35.0  # bytes of haematoxylin below which nothing is a nucleus
NUCLEUS, HOLE = 10, 25  # least area, px of the half-size tile: 10 and 25 µm²
GLASS = 219  # brighter than this, of 255, nothing was stained
SQUARE = 2500  # px of the half-size tile: (100 px)²
RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


@final
@encoders.register("texture")
class TextureEncoder(Encoder):
    """Statistics of colour and texture."""

    dim = 88
    px = None
    licence = "Apache-2.0"

    def __init__(self, weights: Weights | None) -> None:
        if weights is not None:
            raise ConfigError(f"Encoder '{self.name}' has no weights, but '{weights.path}' was given. Leave it out.")
        super().__init__(weights)

    @property
    def columns(self) -> tuple[str, ...]:
        """What each feature is."""
        return tuple(name for name, _ in _describe(np.zeros((64, 64, 3), np.uint8)))

    @override
    def _encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array([[value for _, value in _describe(tile)] for tile in tiles], np.float32)


def densities(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Part the stains of a tile.

    Args:
        tile: (h, w, 3) RGB.

    Returns:
        (h, w, 3) densities of haematoxylin, eosin and the rest, at least 0; a larger value is a darker stain.

    Source:
        Ruifrok and Johnston, Analytical and Quantitative Cytology and Histology 2001.
    """
    parted = cv2.transform(cv2.LUT(tile, DENSITY), PARTING)
    return np.asarray(np.maximum(parted, 0, out=parted), np.float32)


def _describe(tile: NDArray[np.uint8]) -> Named:
    half = np.asarray(cv2.pyrDown(tile), np.uint8)
    stains = cv2.split(densities(half))
    levels = [cv2.convertScaleAbs(stain, alpha=BYTES) for stain in stains]
    yield from _colour(tile)
    for name, stain, level in zip(STAINS, stains, levels, strict=True):
        yield from _amount(name, stain, level)
    for name, stain, level in zip(STAINS[:2], stains, levels, strict=False):
        yield from _grain(name, stain)
        yield from _fibres(name, stain)
        yield from _neighbours(name, np.minimum(level, GREYS * STEP - 1))
        yield from _patterns(name, level)
    yield "stains_correlation", _correlation(stains[0], stains[1])
    yield from _nuclei(levels[0], levels[1])
    yield from _holes(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY))


def _colour(tile: NDArray[np.uint8]) -> Named:
    saturation = cv2.cvtColor(tile, cv2.COLOR_RGB2HSV)[..., 1]
    (red, green, blue, grey), spreads = (
        np.concatenate(both).ravel() / 255
        for both in zip(cv2.meanStdDev(tile), cv2.meanStdDev(saturation), strict=True)
    )
    yield from zip(("red", "green", "blue", "saturation"), (red, green, blue, grey), strict=True)
    yield from zip(("red_spread", "green_spread", "blue_spread", "saturation_spread"), spreads, strict=True)
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    yield "grain_1px", _spread(cv2.subtract(grey, cv2.medianBlur(grey, 3), dtype=cv2.CV_16S)) / 255


def _amount(name: str, stain: Plane, level: Plane) -> Named:
    mean, spread = cv2.meanStdDev(stain)
    yield name, mean.item()
    yield f"{name}_spread", spread.item()
    below = np.cumsum(cv2.calcHist([level], [0], None, [256], [0, 256])) / level.size
    for share in QUANTILES:
        yield f"{name}_quantile_{share:g}", np.searchsorted(below, share) / BYTES


def _grain(name: str, stain: Plane) -> Named:
    """How much is left between two sizes of detail."""
    for octave in OCTAVES:
        coarser = cv2.pyrDown(stain)
        detail = cv2.subtract(stain, cv2.pyrUp(coarser, dstsize=stain.shape[::-1]))
        yield f"{name}_grain_{octave}px", _spread(detail)
        stain = coarser
    yield f"{name}_grain_coarser", _spread(stain)


def _fibres(name: str, stain: Plane) -> Named:
    """Edges, and whether they run in one direction, through the whole tile or from place to place."""
    across, down = cv2.Sobel(stain, cv2.CV_32F, 1, 0), cv2.Sobel(stain, cv2.CV_32F, 0, 1)
    both = across * across - down * down, 2 * across * down  # (h, w) each, doubled angle
    energy = cv2.mean(across * across + down * down)[0]
    near = (cv2.boxFilter(part, -1, (FIBRE, FIBRE)) for part in both)
    yield f"{name}_edges", energy**0.5
    yield f"{name}_direction", math.hypot(*(cv2.mean(part)[0] for part in both)) / max(energy, 1e-9)
    yield f"{name}_fibres", cv2.mean(np.hypot(*near))[0] / max(energy, 1e-9)


def _neighbours(name: str, level: Plane) -> Named:
    """Haralick's numbers of the table of grey levels that lie beside each other."""
    for away in AWAY:
        steps = ((level, away, 0), (level, 0, away), (level, away, away), (level, away, -away))
        pairs = np.sum(list(starmap(_pairs, steps)), 0)
        table = (pairs + pairs.T) / (2 * pairs.sum())  # (greys, greys)
        apart = np.subtract.outer(np.arange(GREYS), np.arange(GREYS)) ** 2
        centred = np.arange(GREYS) - table.sum(0) @ np.arange(GREYS)
        variance = table.sum(0) @ centred**2
        yield f"{name}_contrast_{2 * away}px", (table * apart).sum()
        yield f"{name}_homogeneity_{2 * away}px", (table / (1 + apart)).sum()
        yield f"{name}_energy_{2 * away}px", (table**2).sum() ** 0.5
        yield f"{name}_likeness_{2 * away}px", centred @ table @ centred / variance if variance > 1e-9 else 1.0


def _pairs(level: Plane, down: int, across: int) -> Plane:
    """(greys, greys) how often a level has another so far away."""
    height, width = level.shape
    left, right = max(0, -across), max(0, across)
    here, there = level[: height - down, left : width - right], level[down:, right : width - left]
    ranges = [0, GREYS * STEP]
    return np.asarray(cv2.calcHist([here, there], [0, 1], None, [GREYS, GREYS], ranges * 2), np.float32)


def _patterns(name: str, level: Plane) -> Named:
    """Shares of local binary patterns: how many neighbours in a row are as dark as a pixel; 9 is no row."""
    height, width = level.shape
    centre = level[1:-1, 1:-1]
    codes = np.zeros(centre.shape, np.uint8)
    for bit, (down, across) in enumerate(RING):
        neighbour = level[1 + down : height - 1 + down, 1 + across : width - 1 + across]
        codes |= (neighbour >= centre).view(np.uint8) << np.uint8(bit)
    shares = np.bincount(UNIFORM[codes].ravel(), minlength=10) / codes.size
    yield from ((f"{name}_pattern_{number}", share) for number, share in enumerate(shares))


def _rows() -> NDArray[np.uint8]:
    """(256,) the number of set bits of a byte if they are one row on the ring, else 9."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    turns = (bits != np.roll(bits, 1, axis=1)).sum(1)
    return np.where(turns <= 2, bits.sum(1), 9).astype(np.uint8)


UNIFORM = _rows()


def _nuclei(haematoxylin: Plane, eosin: Plane) -> Named:
    """What is darker in haematoxylin than the tile's own best threshold, in pieces."""
    best = cv2.threshold(haematoxylin, 0, 1, cv2.THRESH_OTSU)[0]
    mask = cv2.threshold(haematoxylin, max(best, CHROMATIN), 1, cv2.THRESH_BINARY)[1]
    pieces = _pieces(mask, NUCLEUS)
    sides = np.sort(pieces[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]], axis=1)
    across = np.sqrt(pieces[:, cv2.CC_STAT_AREA])  # px, of a square as large
    yield "nuclei_share", mask.mean()
    yield "nuclei_in_100px_squared", len(pieces) * SQUARE / mask.size
    yield "nuclei_size", across.mean() / 10 if len(pieces) else 0.0
    yield "nuclei_size_spread", across.std() / 10 if len(pieces) else 0.0
    yield "nuclei_largest", across.max(initial=0) / mask.size**0.5
    yield "nuclei_elongation", (sides[:, 1] / sides[:, 0]).mean() if len(pieces) else 1.0
    yield "nuclei_haematoxylin", cv2.mean(haematoxylin, mask)[0] / BYTES
    yield "nuclei_eosin", cv2.mean(eosin, mask)[0] / BYTES


def _holes(grey: Plane) -> Named:
    mask = cv2.threshold(grey, GLASS, 1, cv2.THRESH_BINARY)[1]
    pieces = _pieces(mask, HOLE)
    yield "glass_share", mask.mean()
    yield "glass_in_100px_squared", len(pieces) * SQUARE / mask.size
    yield "glass_largest", np.sqrt(pieces[:, cv2.CC_STAT_AREA].max(initial=0) / mask.size)


def _pieces(mask: Plane, least: int) -> NDArray[np.int32]:
    """(pieces, 5) OpenCV's statistics of the connected pieces of a mask that have an area."""
    pieces = cv2.connectedComponentsWithStats(mask)[2][1:]
    return np.asarray(pieces[pieces[:, cv2.CC_STAT_AREA] >= least], np.int32)


def _correlation(a: Plane, b: Plane) -> float:
    (mean_a, spread_a), (mean_b, spread_b) = (cv2.meanStdDev(each) for each in (a, b))
    covariance = cv2.mean(cv2.multiply(a, b))[0] - mean_a.item() * mean_b.item()
    return float(covariance / max(spread_a.item() * spread_b.item(), 1e-6))


def _spread(values: Plane) -> float:
    return float(cv2.meanStdDev(values)[1].item())
