"""Turn tiles into features: one small interface over every encoder.

::

    encoder = open_encoder("uni", device="cuda")      # or weights=Path("uni.safetensors")
    encoder.encode(tiles)                             # (B, h, h, 3) uint8 -> (B, D) float32
    encoder.provenance                                # what a feature file says of its origin

An encoder is a decorated class in a file of this folder. What can be missing, be it weights, leave to use them or a
library, is missed in `open_encoder`, before the first tile is read.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import DataError, MissingExtra
from slidesurv.registry import Registry

__all__ = ["Encoder", "Precision", "Weights", "encoders", "need", "open_encoder", "weights_at"]

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights.

    Attributes:
        path: where it is.
        sha256: of its content.
        revision: which release it is; "" where that is not known.
    """

    path: Path
    sha256: str
    revision: str = ""


def weights_at(path: Path, revision: str = "") -> Weights:
    """Look at a file of weights.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return Weights(path, hashlib.file_digest(file, "sha256").hexdigest(), revision)
    except OSError as error:
        raise DataError(f"Cannot read the weights '{path}': {error.strerror}. Name one file.") from error


class Encoder(ABC):
    """Makes features of tiles.

    Attributes:
        dim: D, the width of its features.
        px: side of the tiles it was made for, pixels; larger and smaller ones are resized to it. None takes any.
        mpp: µm per pixel of the tiles it was made for.
        licence: of the weights.
        url: where they, and their terms, are.
        gated: whether their owners must be asked for access first.
        weights: the file that this one was made from; None for an encoder without weights.
        precision: of the arithmetic.
    """

    dim: ClassVar[int]
    px: ClassVar[int | None]
    mpp: ClassVar[float] = 0.5
    licence: ClassVar[str]
    url: ClassVar[str] = ""
    gated: ClassVar[bool] = False
    precision: Precision = "float32"

    @abstractmethod
    def __init__(self, weights: Weights | None) -> None:
        self.weights = weights

    @classmethod
    def find(cls, *, network: bool) -> Weights | None:
        """Find the weights where this machine keeps them; None for an encoder without weights.

        Args:
            network: fetch what is not here.

        Raises:
            ConfigError: they are not here, or may not be had.
        """
        return None

    @final
    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Make features of tiles; those of a tile do not depend on the tiles beside it.

        Args:
            tiles: (B, h, h, 3) RGB.

        Returns:
            (B, D).

        Raises:
            DataError: the tiles are no square RGB pictures, or a feature is not finite.
        """
        if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[1:] != (tiles.shape[1], tiles.shape[1], 3):
            raise DataError(f"Tiles of {tiles.dtype} {tiles.shape} cannot be encoded: give (B, h, h, 3) of uint8.")
        features = self._encode(tiles) if len(tiles) else np.empty((0, self.dim), np.float32)
        if not np.isfinite(features).all():
            raise DataError(
                f"Encoder '{self.name}' made features that are not finite in {self.precision}: choose precision "
                "float32, or fetch the weights again."
            )
        return features

    @abstractmethod
    def _encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Make (B, D) of (B, h, h, 3); B is at least 1."""

    def to(self, device: str, precision: Precision | None = None) -> None:  # noqa: B027 - not all have a choice
        """Choose where it runs and how precisely; only networks have a choice.

        Args:
            device: such as "cpu" or "cuda:0".
            precision: None is float32 on a CPU, and what the authors use on a GPU.

        Raises:
            ConfigError: the device is not there, or has no such precision.
        """

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return encoders.name_of(type(self))

    @property
    def transform(self) -> str:
        """What becomes of a tile before it is looked at, in words."""
        return "none"

    @property
    def provenance(self) -> dict[str, str]:
        """What a feature file should say of its origin, as attributes."""
        return {
            "encoder_id": self.name,
            "encoder_revision": self.weights.revision if self.weights else "",
            "weights_sha256": self.weights.sha256 if self.weights else "",
            "transform": self.transform,
            "dtype": self.precision,
        }


encoders: Registry[Encoder] = Registry("encoder", "slidesurv.slides.encoders")


def open_encoder(
    name: str,
    *,
    weights: Path | None = None,
    network: bool = False,
    device: str = "cpu",
    precision: Precision | None = None,
) -> Encoder:
    """Make an encoder ready to encode.

    Args:
        name: of `encoders`.
        weights: their file; None looks where this machine keeps them.
        network: fetch weights that are not here.
        device: where it runs.
        precision: of the arithmetic, see `Encoder.to`.

    Raises:
        ConfigError: no encoder has this name, its weights are not here or may not be had, or the device is not there.
        DataError: the file does not hold this encoder's weights.
        MissingExtra: its library is not installed.
    """
    part = encoders[name]
    encoder = part(weights_at(weights) if weights else part.find(network=network))
    encoder.to(device, precision)
    return encoder


def need(module: str, encoder: str, extra: str = "slides") -> Any:
    """Import the library of an encoder.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"Encoder '{encoder}' needs the library '{error.name}', which is not installed. "
            f"Run: pip install 'slidesurv[{extra}]', or choose another encoder."
        ) from error
