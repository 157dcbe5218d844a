"""Made-up slides that look like haematoxylin and eosin, small and quick: for tests and for the demo.

A slide is glass with a piece of tissue on it; the tissue is a mixture of types in patches. Stains are optical
densities along the published colours of haematoxylin and eosin, so that stain separation finds them again. Each type
has a look at strength 0 and another at strength 1 (nuclei grow, crowd and darken, fibres thicken …): what a
programme of genes would show.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, unknown
from slidesurv.files import replacing
from slidesurv.slides.libraries import cv2, tifffile

__all__ = ["LOOKS", "Look", "Specimen", "paint", "write_pyramid", "write_slide"]

Floats = NDArray[np.float32]

# Optical density of the pure stains in red, green and blue; Ruifrok and Johnston 2001.
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
GLASS = 243.0  # of 255
PATCHES = 7  # bumps of the random field that lays out the tissue, across the slide
TILE = 256


@dataclass(frozen=True, slots=True)
class Look:
    """What a tissue type looks like.

    Attributes:
        haematoxylin: optical density between the nuclei.
        eosin: optical density.
        nuclei: per mm².
        radius: of a nucleus, µm.
        elongation: long axis of a nucleus over the short one.
        chromatin: optical density of a nucleus.
        fibres: how much the eosin varies along strands, 0 to 1.
        vacuoles: radius of the empty cells, µm; 0 has none.
    """

    haematoxylin: float
    eosin: float
    nuclei: float
    radius: float
    elongation: float = 1.2
    chromatin: float = 0.8
    fibres: float = 0.1
    vacuoles: float = 0.0


# The look at strength 0 and at strength 1.
LOOKS: Mapping[str, tuple[Look, Look]] = MappingProxyType(
    {
        "tumour": (Look(0.12, 0.26, 2500, 4.0, 1.2, 0.65), Look(0.30, 0.20, 5200, 6.5, 1.5, 1.25)),
        "stroma": (Look(0.03, 0.30, 700, 3.0, 3.5, 0.70, 0.35), Look(0.05, 0.52, 1100, 3.0, 4.5, 0.80, 0.85)),
        "lymphocytes": (Look(0.08, 0.18, 4000, 2.8, 1.0, 1.00), Look(0.14, 0.12, 14000, 2.8, 1.0, 1.25)),
        "necrosis": (Look(0.05, 0.42, 400, 2.0, 1.0, 0.60), Look(0.10, 0.60, 1500, 1.3, 1.0, 1.10)),
        "fat": (Look(0.02, 0.28, 250, 2.5, 2.5, 0.80, 0.1, 22.0), Look(0.02, 0.28, 250, 2.5, 2.5, 0.80, 0.1, 42.0)),
        "gland": (Look(0.08, 0.22, 2200, 3.5, 1.6, 0.75), Look(0.12, 0.30, 3200, 3.5, 2.2, 0.95, 0.2, 14.0)),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """What lies on a slide.

    Attributes:
        mixture: share of each tissue type; they need not sum to 1.
        strength: of each type's look; 0.5 where a type is not named.
        stain: how much haematoxylin and how much eosin the laboratory used, 1 for the usual.
        coverage: share of the slide that is tissue.

    Raises:
        ConfigError: a type is not known, or there is none.
    """

    mixture: Mapping[str, float]
    strength: Mapping[str, float] = field(default_factory=dict)
    stain: tuple[float, float] = (1.0, 1.0)
    coverage: float = 0.6

    def __post_init__(self) -> None:
        for name in (*self.mixture, *self.strength):
            if name not in LOOKS:
                raise ConfigError(unknown("tissue type", name, LOOKS))
        if not sum(self.mixture.values()) > 0:
            raise ConfigError("A specimen without tissue cannot be painted: give a mixture, or coverage = 0.")

    def look(self, name: str) -> Look:
        """The look of a type at the specimen's strength."""
        weak, strong = LOOKS[name]
        strength = self.strength.get(name, 0.5)
        mixed = (max(0.0, a + strength * (b - a)) for a, b in zip(astuple(weak), astuple(strong), strict=True))
        return Look(*mixed)


def write_slide(
    path: Path, specimen: Specimen, *, size: tuple[int, int] = (2048, 2048), mpp: float = 0.5, seed: int = 0
) -> None:
    """Paint a slide and write it as a pyramid that OpenSlide reads; the same seed gives the same bytes."""
    write_pyramid(path, paint(specimen, size=size, mpp=mpp, seed=seed), mpp=mpp)


def write_pyramid(path: Path, pixels: NDArray[np.uint8], *, mpp: float, quality: int = 80) -> None:
    """Write (H, W, 3) RGB as a tiled JPEG TIFF, halved until a side is below 256 pixels, atomically."""
    levels = [pixels]
    while min(levels[-1].shape[:2]) >= 2 * TILE:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    with replacing(path) as temporary, tifffile.TiffWriter(temporary) as tiff:
        for number, level in enumerate(levels):
            per_cm = 1e4 / (mpp * 2**number)
            tiff.write(
                level,
                tile=(TILE, TILE),
                photometric="rgb",  # stored as luma and halved chroma
                compression="jpeg",
                compressionargs={"level": quality},
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(number > 0),
                metadata=None,
                software=False,
            )


def paint(
    specimen: Specimen, *, size: tuple[int, int] = (2048, 2048), mpp: float = 0.5, seed: int = 0
) -> NDArray[np.uint8]:
    """Paint a specimen.

    Args:
        specimen: what lies on the slide.
        size: (width, height), pixels.
        mpp: µm per pixel.
        seed: the same seed gives the same pixels.

    Returns:
        (height, width, 3) RGB.
    """
    random = np.random.default_rng(seed)
    names = list(specimen.mixture)
    looks = [specimen.look(name) for name in names]
    types = _layout(specimen, size, random)  # (h, w) uint8, 0 is glass, then the types in order
    haematoxylin = _by_type(types, [look.haematoxylin for look in looks])
    eosin = _by_type(types, [look.eosin for look in looks])
    eosin *= (1 + _by_type(types, [look.fibres for look in looks]) * _strands(size, mpp, random)).clip(0.2, 2.2)
    matter = _vacuoles(types, looks, mpp, random)  # (h, w) 1 where there is something to stain
    haematoxylin = np.maximum(haematoxylin, _nuclei(types, looks, mpp, random))
    return _transmit(haematoxylin * matter * specimen.stain[0], eosin * matter * specimen.stain[1], random)


def _field(size: tuple[int, int], bumps: tuple[int, int], random: np.random.Generator) -> Floats:
    """(h, w) smooth noise of mean 0 and deviation about 1, with so many bumps across and down."""
    coarse = random.standard_normal((bumps[1] + 3, bumps[0] + 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _layout(specimen: Specimen, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.uint8]:
    """A blob of tissue, its types in patches of exactly the shares that were asked for."""
    small = max(1, size[0] // 8), max(1, size[1] // 8)
    x, y = np.meshgrid(np.linspace(-1, 1, small[0]), np.linspace(-1, 1, small[1]))
    away = np.sqrt(x**2 + y**2) + 0.12 * _field(small, (PATCHES, PATCHES), random)
    inside = away < np.quantile(away, specimen.coverage)
    bumps = _field(small, (PATCHES, PATCHES), random)
    shares = np.cumsum([0.0, *specimen.mixture.values()]) / sum(specimen.mixture.values())
    edges = np.quantile(bumps[inside], shares) if inside.any() else shares
    types = np.zeros(small[::-1], np.uint8)
    for number, (low, high) in enumerate(pairwise(edges.tolist()), start=1):
        types[inside & (bumps >= low) & (bumps <= high)] = number
    return np.asarray(cv2.resize(types, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _by_type(types: NDArray[np.uint8], values: list[float]) -> Floats:
    """(h, w) the value of each pixel's type, 0 on glass, with soft borders."""
    return cv2.blur(np.array([0.0, *values], np.float32)[types], (9, 9)).astype(np.float32)


def _strands(size: tuple[int, int], mpp: float, random: np.random.Generator) -> Floats:
    """(h, w) noise that is long in one direction and wavy."""
    width, height = size
    streaks = _field(size, (max(1, int(width * mpp / 80)), max(1, int(height * mpp / 5))), random)
    wave = (20 / mpp) * _field((width, 1), (max(1, int(width * mpp / 120)), 1), random)[0]  # pixels down, by column
    down = np.arange(height, dtype=np.float32)[:, None] + wave
    across = np.broadcast_to(np.arange(width, dtype=np.float32), down.shape)
    moved = cv2.remap(streaks, across, down.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


def _vacuoles(types: NDArray[np.uint8], looks: list[Look], mpp: float, random: np.random.Generator) -> Floats:
    """(h, w) 1, but 0 in the empty cells of types that have them."""
    matter = np.ones(types.shape, np.uint8)
    for number, look in enumerate(looks, start=1):
        pitch = 2.1 * look.vacuoles / mpp
        if pitch < 2:
            continue
        y, x = (axis.ravel() for axis in np.mgrid[0 : types.shape[0] : pitch, 0 : types.shape[1] : pitch])
        x, y = (axis + random.normal(0, 0.12 * pitch, axis.shape) for axis in (x + pitch / 2 * ((y // pitch) % 2), y))
        radii = random.uniform(0.75, 1.0, x.shape) * look.vacuoles / mpp
        for center_x, center_y, radius in np.stack([x, y, radii], 1).astype(int).tolist():
            if _at(types, center_x, center_y) == number:
                cv2.circle(matter, (center_x, center_y), radius, 0, thickness=-1)
    return np.asarray(cv2.blur(matter.astype(np.float32), (3, 3)), np.float32)


def _at(types: NDArray[np.uint8], x: int, y: int) -> int:
    return int(types[y, x]) if 0 <= x < types.shape[1] and 0 <= y < types.shape[0] else 0


def _nuclei(types: NDArray[np.uint8], looks: list[Look], mpp: float, random: np.random.Generator) -> Floats:
    """(h, w) optical density of haematoxylin in nuclei, each an ellipse."""
    canvas = np.zeros(types.shape, np.uint8)  # hundredths of an optical density
    for number, look in enumerate(looks, start=1):
        rows, columns = np.nonzero(types[::4, ::4] == number)
        count = int(len(rows) * (4 * mpp / 1000) ** 2 * look.nuclei)
        chosen = random.integers(0, max(1, len(rows)), count)
        x, y = (4 * axis[chosen] + random.integers(0, 4, count) for axis in (columns, rows))
        short = look.radius / mpp * random.lognormal(0, 0.15, count)
        axes = np.stack([short * np.sqrt(look.elongation), short / np.sqrt(look.elongation)], 1).round()
        tint = np.minimum(255, 100 * look.chromatin * random.lognormal(0, 0.12, count))
        angle = random.normal(0, 25, count) if look.elongation > 2 else random.uniform(0, 180, count)
        for each in np.column_stack([x, y, axes, angle, tint]).astype(int).tolist():
            cv2.ellipse(canvas, each[:2], each[2:4], each[4], 0, 360, each[5], thickness=-1)
    return np.asarray(cv2.blur(canvas, (3, 3)), np.float32) / np.float32(100)


def _transmit(haematoxylin: Floats, eosin: Floats, random: np.random.Generator) -> NDArray[np.uint8]:
    """Let light through the stains (Lambert-Beer), with a grain that differs from pixel to pixel."""
    height, width = haematoxylin.shape
    grain = np.tile(random.normal(1, 0.10, (TILE, TILE)).astype(np.float32), (-(-height // TILE), -(-width // TILE)))
    pixels = np.empty((height, width, 3), np.uint8)
    for channel, (h, e) in enumerate(zip(HAEMATOXYLIN, EOSIN, strict=True)):
        density = (h * haematoxylin + e * eosin) * grain[:height, :width]
        pixels[..., channel] = GLASS * np.asarray(cv2.exp(-density)) + 0.5
    return pixels
