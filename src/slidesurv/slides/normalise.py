"""Stain normalisation: give every slide the colours of one laboratory.

::

    normalise = fit_normaliser("macenko", sample)       # (M, px, px, 3) tiles of one slide
    normalise(pixels)                                   # (M, px, px, 3), the same tissue in the reference's colours
    normalise.record                                    # what was fitted, for the file's attributes

A slide is fitted once, on tiles from all over it, not tile by tile: a tile of fat alone says nothing of haematoxylin.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError, unknown
from slidesurv.slides.libraries import cv2

__all__ = ["NORMALISERS", "Normaliser", "fit_normaliser"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

LIGHT = 255.0
FAINT = 0.15  # optical density below which a pixel is glass
ANGLES = (1.0, 99.0)  # percentiles of the angle between two stains that are the stains themselves
STRONGEST = 99.0  # percentile of a stain's amount that two slides are matched at
MOST = 200_000  # pixels that a fit looks at
FEWEST = 1000
# The reference: medians over 41 regions of 31 TCGA patients of four cancers, each fitted as below.
STAINS = np.array([[0.56, 0.73, 0.39], [0.17, 0.85, 0.50]], np.float32)  # (2, 3) haematoxylin, eosin
AMOUNTS = np.array([2.5, 1.2], np.float32)
LAB_MEAN, LAB_STD = np.array([53.0, 28.0, -16.0], np.float32), np.array([16.5, 6.8, 6.7], np.float32)


@dataclass(frozen=True, slots=True)
class Normaliser:
    """A fitted normalisation.

    Attributes:
        name: of `NORMALISERS`.
        record: the numbers that were fitted, by name.
    """

    name: str
    record: Mapping[str, list[float]]
    _change: Callable[[Pixels], Pixels]

    def __call__(self, pixels: Pixels) -> Pixels:
        """Change (M, px, px, 3) RGB tiles; glass stays glass."""
        if len(pixels) == 0:
            return pixels
        return np.stack([self._change(tile) for tile in pixels])


def fit_normaliser(name: str, sample: Pixels) -> Normaliser:
    """Fit a normalisation to one slide.

    Args:
        name: "macenko" or "reinhard".
        sample: (M, px, px, 3) RGB tiles from all over the slide.

    Raises:
        ConfigError: no normalisation has this name.
        DataError: the sample shows too little tissue to fit to.
    """
    if name not in NORMALISERS:
        raise ConfigError(unknown("normalisation", name, NORMALISERS))
    pixels = sample.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // MOST)]
    tissue = pixels[(_density(pixels) > FAINT).any(axis=1)]
    if len(tissue) < FEWEST:
        raise DataError(
            f"{len(tissue)} pixels of the sample are tissue; {FEWEST} are needed to fit '{name}'. "
            "Leave the slide out, or encode without normalisation."
        )
    return NORMALISERS[name](tissue)


def _density(pixels: Pixels) -> Floats:
    """Optical density (…, 3); black counts as one grey level."""
    return -np.log(np.maximum(pixels, 1).astype(np.float32) / LIGHT)


def _macenko(tissue: Pixels) -> Normaliser:
    """Macenko et al., ISBI 2009: the stains are the two edges of the fan that densities make in their main plane."""
    density = _density(tissue)  # (n, 3)
    _, axes = np.linalg.eigh(np.cov(density.T))
    plane = axes[:, :0:-1]  # (3, 2) the two main directions
    plane = plane * np.sign(plane.sum(0))  # of the two senses, the one in which light is lost
    spread = density @ plane  # (n, 2)
    low, high = np.percentile(np.arctan2(spread[:, 1], spread[:, 0]), ANGLES)
    edges = np.array([[np.cos(angle), np.sin(angle)] for angle in (low, high)]) @ plane.T  # (2, 3)
    # Haematoxylin takes more of the red than eosin does.
    stains = np.abs(edges[np.argsort(-edges[:, 0] / np.linalg.norm(edges, axis=1))]).astype(np.float32)
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    unmix = np.linalg.pinv(stains).astype(np.float32)  # (3, 2)
    amounts = np.percentile(density @ unmix, STRONGEST, axis=0).astype(np.float32).clip(min=0.05)  # (2,)
    # One matrix does it all: unmix, scale the amounts, mix in the reference's colours.
    pure = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    change = (unmix * (AMOUNTS / amounts)) @ pure  # (3, 3)
    record = {"stains": stains.ravel().tolist(), "amounts": amounts.tolist()}
    return Normaliser("macenko", MappingProxyType(record), partial(_restain, change=change))


def _restain(tile: Pixels, change: Floats) -> Pixels:
    density = _density(tile) @ change  # (px, px, 3)
    return (LIGHT * np.exp(-density)).clip(0, 255).round().astype(np.uint8)


def _reinhard(tissue: Pixels) -> Normaliser:
    """Reinhard et al., IEEE CG&A 2001, in CIE Lab: match mean and deviation of each channel."""
    lab = _lab(tissue[None])[0]  # (n, 3)
    mean, std = lab.mean(0), lab.std(0).clip(min=1e-3)
    record = {"mean": mean.tolist(), "std": std.tolist()}
    return Normaliser("reinhard", MappingProxyType(record), partial(_recolour, mean=mean, std=std))


def _recolour(tile: Pixels, mean: Floats, std: Floats) -> Pixels:
    lab = (_lab(tile) - mean) / std * LAB_STD + LAB_MEAN
    rgb = np.asarray(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB)) * 255
    glass = (_density(tile) <= FAINT).all(axis=-1, keepdims=True)
    return np.where(glass, tile, rgb.clip(0, 255).round()).astype(np.uint8)


def _lab(pixels: Pixels) -> Floats:
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


NORMALISERS: Mapping[str, Callable[[Pixels], Normaliser]] = MappingProxyType(
    {"macenko": _macenko, "reinhard": _reinhard}
)
