"""How good each tile is: four numbers in [0, 1], larger is worse. They are kept; what to drop is decided later."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_csv, write_csv
from slidesurv.slides.libraries import cv2

__all__ = ["COLUMNS", "Limits", "measure", "read_quality", "write_quality"]

COLUMNS = ("blur", "pen", "fold", "background")
Quality = dict[str, NDArray[np.float32]]

# In OpenCV's units: hue 0-179 (half degrees), saturation and value 0-255.
PEN_HUES, PEN_SATURATION = (30, 120), 90  # yellow-green to blue; stained tissue is violet to red
INK_SATURATION, INK_VALUE = 70, 60  # black ink: dark, and not coloured enough for a nucleus
FOLD = 60  # saturation above value, after smoothing: two layers are deeper and darker; so is tissue stained too long
GLASS_SATURATION, GLASS_VALUE = 20, 190
SMOOTH = 9  # pixels of the box that blurs


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The worst tile that is kept; 1 keeps all.

    Attributes:
        blur: of the tile.
        pen: share of the tile that is ink.
        fold: share that is folded tissue.
        background: share that is glass.

    Raises:
        ConfigError: a limit is not in [0, 1].
    """

    blur: float = 1.0
    pen: float = 0.5
    fold: float = 1.0
    background: float = 1.0

    def __post_init__(self) -> None:
        for name, limit in asdict(self).items():
            if not 0 <= limit <= 1:
                raise ConfigError(f"The limit of '{name}' is {limit}: give a share from 0 to 1; 1 keeps every tile.")

    def keep(self, quality: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
        """(N,) True for tiles within every limit."""
        return np.logical_and.reduce([quality[name] <= limit for name, limit in asdict(self).items()])


def measure(pixels: NDArray[np.uint8]) -> Quality:
    """Measure tiles.

    Args:
        pixels: (M, px, px, 3) RGB.

    Returns:
        (M,) float32 for each of `COLUMNS`: ``blur`` is how little a tile changes when it is blurred again; the others
        are shares of its area.

    Source:
        Blur: Crété et al., Human Vision and Electronic Imaging 2007.
        Fold: the idea of Kothari et al., Journal of Pathology Informatics 2013, that folds are deep and dark.
    """
    rows = np.array([_measure(tile) for tile in pixels], np.float32).reshape(-1, len(COLUMNS))
    return {name: rows[:, number] for number, name in enumerate(COLUMNS)}


def _measure(tile: NDArray[np.uint8]) -> tuple[float, ...]:
    hsv = cv2.cvtColor(tile, cv2.COLOR_RGB2HSV)
    hue, saturation, value = (hsv[..., channel] for channel in range(3))
    coloured = (hue >= PEN_HUES[0]) & (hue <= PEN_HUES[1]) & (saturation > PEN_SATURATION)
    black = (saturation < INK_SATURATION) & (value < INK_VALUE)
    smooth = cv2.blur(hsv, (SMOOTH, SMOOTH)).astype(np.int16)
    fold = smooth[..., 1] - smooth[..., 2] > FOLD
    glass = (saturation < GLASS_SATURATION) & (value > GLASS_VALUE)
    return _blur(tile), float((coloured | black).mean()), float(fold.mean()), float(glass.mean())


def _blur(tile: NDArray[np.uint8]) -> float:
    """1 for a picture that a further blur does not change, towards 0 for a sharp one; the worse of two directions."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY).astype(np.float32)
    worst = 0.0
    for axis, box in ((0, (1, SMOOTH)), (1, (SMOOTH, 1))):
        change = np.abs(np.diff(grey, axis=axis))
        lost = change - np.abs(np.diff(cv2.blur(grey, box), axis=axis))
        total = float(change.sum())
        worst = max(worst, 1 - float(lost.clip(min=0).sum()) / total if total else 1.0)
    return worst


def write_quality(path: Path, coords: NDArray[np.int64], quality: Mapping[str, NDArray[np.float32]]) -> None:
    """Write one slide's quality as a table, a row for each tile with its corner (x, y), atomically."""
    columns = [coords[:, 0].tolist(), coords[:, 1].tolist(), *(quality[name].round(4).tolist() for name in COLUMNS)]
    names = ("x", "y", *COLUMNS)
    write_csv(path, [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], names)


def read_quality(path: Path) -> tuple[NDArray[np.int64], Quality]:
    """Read what `write_quality` wrote.

    Raises:
        DataError: a column is missing, or a value is no number.
    """
    rows = read_csv(path)
    try:
        coords = np.array([[int(row["x"]), int(row["y"])] for row in rows], np.int64).reshape(-1, 2)
        quality = {name: np.array([float(row[name]) for row in rows], np.float32) for name in COLUMNS}
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"'{path}' is no table of quality: {error!r}. Tile the slide again.") from error
    return coords, quality
