"""Feature files as the field's tools leave them.

=========  ============================  ===============================================
producer   file                          what is read
=========  ============================  ===============================================
TRIDENT    ``<slide>.h5``                ``features`` (N, D) or (1, N, D), ``coords``
CLAM       ``h5_files/``, ``pt_files/``  the same; a ``.pt`` is a bare tensor
STAMP      ``<slide>.h5``                ``feats`` in half precision, ``coords`` in µm
slideflow  ``<slide>.pt``                a bare tensor; ``<slide>.index.npz`` beside it has the
                                         corners, ``bags_config.json`` encoder and tile size
=========  ============================  ===============================================

Differs: a file without coordinates gets zeros; STAMP's stay in µm, rounded, because the file does not hold the
slide's resolution.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, is_zipfile

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from slidesurv.errors import DataError, listing
from slidesurv.files import read_json

__all__ = ["Header", "read_attributes", "read_features", "read_first_tile", "read_header"]

# What tells two encoders, or two resolutions of one encoder, apart; on the features, the coordinates, or the file.
ORIGIN = (
    "encoder", "extractor", "encoder_id", "weights_sha256", "stain_norm", "mpp_target", "target_magnification",
    "tile_size_um", "tile_size_px", "unit", "patch_size", "tile_px", "tile_um", "normalizer",
)  # fmt: skip
UNSAID = ("", "none", "None")  # of a part that was not used: encoders without weights, tiles without normalisation


@dataclass(frozen=True, slots=True)
class Header:
    """What a feature file says of itself.

    Attributes:
        tiles: N; 0 is allowed.
        width: D.
        origin: the attributes that name encoder and resolution, such as "encoder=uni, mpp_target=0.5".
    """

    tiles: int
    width: int
    origin: str


def read_header(path: Path) -> Header:
    """Read what a feature file says of itself, without its values.

    Raises:
        DataError: names the file and the field that cannot be used.
    """
    if path.suffix == ".pt":
        return Header(*_matrix_shape(_load(path, mapped=True).shape, path, "tensor"), _slideflow_origin(path.parent))
    with _opened(path) as (features, coords, attributes):
        tiles, width = _matrix_shape(features.shape, path, "features")
        _check_coords(coords, tiles, path)
        return Header(tiles, width, _origin(features, coords, attributes))


def read_features(path: Path) -> tuple[Tensor, Tensor]:
    """Read one slide.

    Returns:
        (N, D) float32 features and (N, 2) int64 coordinates.

    Raises:
        DataError: names the file and the field that cannot be used.
    """
    features, coords = _read_tensor(path) if path.suffix == ".pt" else _read_h5(path)
    # One sum finds a value that is not finite in a fiftieth of the time of a test per value.
    if not torch.isfinite(features.sum()) and not torch.isfinite(features).all():
        row, column = (~torch.isfinite(features)).nonzero()[0].tolist()
        raise DataError(
            f"'{path}': features[{row}, {column}] is {features[row, column]:g}. "
            "Features must be finite; encode the slide again."
        )
    return features, coords


def read_attributes(path: Path) -> dict[str, Any]:
    """Read every attribute of an HDF5 file, its features and its coordinates; a ``.pt`` file has none."""
    if path.suffix == ".pt":
        return {}
    with _opened(path) as (features, coords, attributes):
        return _attributes(features, coords, attributes)


def read_first_tile(path: Path) -> bytes:
    """Read the first tile's features as the bytes they are stored in; nothing for a file of 0 tiles."""
    if path.suffix == ".pt":
        features = _load(path, mapped=True)
        _, width = _matrix_shape(features.shape, path, "tensor")
        return features.reshape(-1)[:width].view(torch.uint8).numpy().tobytes()
    with _opened(path) as (features, _, _):
        tile = features[:1] if features.ndim == 2 else features[0, :1]
        return bytes(tile.tobytes())


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any, Mapping[str, Any]]]:
    """Give the features, the coordinates (None when absent) and the file's attributes."""
    try:
        with h5py.File(path, "r") as file:
            name = next((name for name in ("features", "feats") if name in file), None)
            if name is None:
                raise DataError(
                    f"'{path}' has no dataset 'features' or 'feats'; it holds {listing(file) or 'nothing'}. "
                    "Give the folder of the encoder's output, not that of coordinates alone."
                )
            yield file[name], file.get("coords"), file.attrs
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Cannot read '{path}': {error}. It is cut short or is not HDF5; make the file again."
        ) from error


def _matrix_shape(shape: Sequence[int], path: Path, what: str) -> tuple[int, int]:
    """Take (N, D) from (N, D) or (1, N, D); no other shape is bent into one."""
    plain = tuple(shape[1:] if len(shape) == 3 and shape[0] == 1 else shape)
    if len(plain) != 2 or plain[1] == 0:
        raise DataError(
            f"'{path}': {what} has shape {tuple(shape)}. Expected (N, D) or (1, N, D): make the file again."
        )
    return plain[0], plain[1]


def _check_coords(coords: Any, tiles: int, path: Path) -> None:
    if coords is not None and _matrix_shape(coords.shape, path, "coords") != (tiles, 2):
        raise DataError(
            f"'{path}': coords has shape {tuple(coords.shape)}, but the file has {tiles} tiles. "
            f"Expected ({tiles}, 2): make the file again."
        )


def _origin(features: Any, coords: Any, attributes: Mapping[str, Any]) -> str:
    return _named(_attributes(features, coords, attributes))


def _attributes(features: Any, coords: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {**attributes, **(coords.attrs if coords is not None else {}), **features.attrs}


def _named(found: Mapping[str, Any]) -> str:
    said = {name: found[name] for name in ORIGIN if str(found.get(name, "")) not in UNSAID}
    if "mpp_target" in said:  # of our own files, which say the same twice
        said.pop("target_magnification", None)
    return ", ".join(f"{name}={value}" for name, value in said.items())


def _slideflow_origin(folder: Path) -> str:
    """What slideflow wrote beside its bags; "" where there is no such file."""
    path = folder / "bags_config.json"
    said = read_json(path) if path.exists() else {}
    if not isinstance(said, dict):
        raise DataError(f"'{path}' is no table of settings. Give the file as slideflow wrote it.")
    return _named({name: _plain(said[name]) for name in ORIGIN if name in said})


def _plain(value: Any) -> Any:
    """A part by its class, as slideflow names it, and not by all of its settings."""
    return value.get("class", value.get("method", value)) if isinstance(value, dict) else value


def _read_h5(path: Path) -> tuple[Tensor, Tensor]:
    with _opened(path) as (features, coords, _):
        shape = _matrix_shape(features.shape, path, "features")
        _check_coords(coords, shape[0], path)
        if features.dtype.kind != "f":
            raise DataError(
                f"'{path}': features are {features.dtype}. Expected float16, float32 or float64: encode it again."
            )
        # One read in the file's own type, converted by torch: HDF5 converts halves three times slower.
        values = torch.from_numpy(features[()]).to(torch.float32).reshape(shape)
        corners = np.zeros((shape[0], 2)) if coords is None else np.rint(coords[()]).reshape(shape[0], 2)
        return values, torch.from_numpy(corners.astype(np.int64))


def _read_tensor(path: Path) -> tuple[Tensor, Tensor]:
    features = _load(path)
    tiles, width = _matrix_shape(features.shape, path, "tensor")
    index = path.with_name(path.name.removesuffix(".pt") + ".index.npz")
    coords = _read_index(index, tiles) if index.exists() else torch.zeros(tiles, 2, dtype=torch.int64)
    return features.to(torch.float32).reshape(tiles, width), coords


def _read_index(path: Path, tiles: int) -> Tensor:
    """Read slideflow's corners, (N, 2), without running anything in the file."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as index:
            coords = index["arr_0"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"'{path}' has no coordinates that can be read: {error}. Make the bags again.") from error
    _check_coords(coords, tiles, path)
    return torch.from_numpy(np.rint(coords).astype(np.int64))


def _load(path: Path, *, mapped: bool = False) -> Tensor:
    """Read a ``.pt`` file without running anything in it; a mapped one reads from the disk what is looked at."""
    if not is_zipfile(path):
        raise DataError(f"'{path}' is cut short, or is older than torch 1.6. Save the tensor again with torch.save.")
    try:
        if asked := get_unsafe_globals_in_checkpoint(path):
            raise DataError(f"'{path}' asks for {listing(asked)}; nothing was run. Save one plain tensor instead.")
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise DataError(f"Cannot read '{path}': {error}. Save the tensor again with torch.save.") from error
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise DataError(f"'{path}' holds {type(value).__name__}. Save one float tensor of shape (N, D).")
    return value
