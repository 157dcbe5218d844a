"""Write the features of one slide as they come, in TRIDENT's layout, atomically and in bounded memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

from slidesurv.errors import ConfigError, DataError
from slidesurv.files import replacing, sha256

__all__ = ["FeatureWriter", "hash_coords", "reread", "stored", "writing"]

CHUNK = 2**20  # bytes of features that HDF5 reads at once


@final
class FeatureWriter:
    """An open feature file.

    Attributes:
        slide: whose tiles they are.
        attributes: provenance, such as ``mpp_target``; may be added to until the file is closed.
        tiles: written so far.
    """

    def __init__(self, path: Path, features: h5py.Dataset) -> None:
        self.slide = path.name.removesuffix(".h5")
        self.attributes: dict[str, Any] = {}
        self.tiles = 0
        self._path = path
        self._features = features
        self._coords = [np.zeros((0, 2), np.int64)]

    def append(self, features: NDArray[np.floating], coords: NDArray[np.integer]) -> None:
        """Write some tiles behind those that are there.

        Args:
            features: (M, D).
            coords: (M, 2) top-left corners, level-0 pixels.

        Raises:
            DataError: the shapes do not match, or a value is not finite.
            ConfigError: a value does not fit into float16.
        """
        kept = stored(features, coords, self._features.dtype, self._path)
        end = self.tiles + len(kept)
        self._features.resize(end, axis=0)
        self._features[self.tiles : end] = kept
        self._coords.append(coords.astype(np.int64))
        self.tiles = end

    def finish(self, file: h5py.File, tiling: Mapping[str, Any]) -> None:
        """Write the coordinates and what the file says of itself."""
        coords = np.concatenate(self._coords)  # (N, 2)
        file.create_dataset("coords", data=coords).attrs.update(tiling)
        file.attrs.update(
            {
                "schema_version": 1,
                "tool_version": version("slidesurv"),
                "dtype": str(self._features.dtype),
                "coords_sha256": hash_coords(coords),
                **self.attributes,
            }
        )


@contextmanager
def writing(
    path: Path, *, encoder: str, width: int, most: int, half: bool = False, tiling: Mapping[str, Any] | None = None
) -> Iterator[FeatureWriter]:
    """Open a feature file to append to; it stands under its name when the block ends well.

    What is held in memory is one chunk and the coordinates.

    Args:
        path: ``<slide>.h5``.
        encoder: its name; stands on ``features``, where TRIDENT has it.
        width: D.
        most: tiles that are expected; fewer may come.
        half: keep float16: half the bytes, a relative error of up to 5e-4.
        tiling: attributes for ``coords``, where TRIDENT has ``patch_size`` and others.
    """
    kind = np.dtype(np.float16 if half else np.float32)
    rows = max(1, min(most, CHUNK // (width * kind.itemsize)))
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        features = file.create_dataset(
            "features", (0, width), kind, maxshape=(None, width), chunks=(rows, width), fillvalue=0
        )
        writer = FeatureWriter(path, features)
        features.attrs.update(encoder=encoder, name=writer.slide)
        yield writer
        writer.finish(file, tiling or {})


def reread(path: Path) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Read a file that `writing` wrote to its end, chunk by chunk.

    Returns:
        (N, 2) coordinates, and what the file says of itself.

    Raises:
        DataError: it is not what was written, or a value is not finite.
    """
    try:
        with h5py.File(path, "r") as file:
            features, coords, said = file["features"], np.asarray(file["coords"][()], np.int64), dict(file.attrs)
            for chunk in features.iter_chunks() if len(features) else ():
                _require_finite(features[chunk], chunk[0].start, path)
            tiles = len(features)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise DataError(f"Cannot read '{path}': {error}. It is cut short or is not HDF5; make it again.") from error
    if coords.shape != (tiles, 2):
        raise DataError(f"'{path}' has {tiles} tiles, but coords has shape {coords.shape}. Make it again.")
    if said.get("coords_sha256") != hash_coords(coords):
        raise DataError(f"'{path}': its coordinates are not those that were written. Make it again.")
    return coords, said


def _require_finite(values: NDArray[np.floating], first: int, path: Path) -> None:
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        row, column = broken[0].tolist()
        raise DataError(f"'{path}': features[{first + row}, {column}] is {values[row, column]:g}. Make it again.")


def stored(
    features: NDArray[np.floating], coords: NDArray[np.integer], kind: np.dtype[Any], path: Path
) -> NDArray[np.floating]:
    """The values as a file keeps them.

    Raises:
        DataError: the shapes do not match, or a value is not finite.
        ConfigError: a value does not fit into float16.
    """
    if features.ndim != 2 or coords.shape != (len(features), 2):
        raise DataError(
            f"'{path}': features {features.shape} and coords {coords.shape} must be (N, D) and (N, 2). "
            "Nothing was written."
        )
    with np.errstate(over="ignore"):
        kept = features.astype(kind, copy=False)
    if not np.isfinite(kept).all():
        if np.isfinite(features).all():
            raise ConfigError(f"'{path}': {np.abs(features).max():g} does not fit into {kind}. Set half = false.")
        raise DataError(f"'{path}': the features to write are not all finite. Nothing was written; encode again.")
    return kept


def hash_coords(coords: NDArray[np.integer]) -> str:
    """The sha256 of (N, 2) coordinates, the same on every machine."""
    return sha256(coords.astype("<i8").tobytes())
