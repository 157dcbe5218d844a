"""Files of weights, read without running anything in them, and networks filled with them to the last name."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from slidesurv.errors import DataError, listing

__all__ = ["entries", "fill", "read_state"]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network.

    Args:
        path: ``.safetensors``, or a state dictionary that ``torch.save`` wrote, ``.bin``, ``.pth`` or ``.pt``; it may
            stand under the key ``state_dict``.

    Returns:
        float32 tensors by name; other kinds of numbers are left out.

    Raises:
        DataError: it is no such file, or holds anything but tensors, or a number in it is not finite.
    """
    content = _safetensors(path) if path.suffix == ".safetensors" else _saved(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"'{path}' holds more than tensors by name. Give the state dictionary of the network.")
    floats = {name: value.float() for name, value in state.items() if value.is_floating_point()}
    if broken := [name for name, value in floats.items() if not value.isfinite().all()]:
        raise DataError(f"'{path}' has numbers that are not finite in {listing(broken)}. Fetch it again.")
    return floats


def _safetensors(path: Path) -> Mapping[str, object]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"Cannot read '{path}' as safetensors: {error}. Fetch it again.") from error


def _saved(path: Path) -> Mapping[str, object]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except UnpicklingError as error:
        raise DataError(
            f"'{path}' is no file of weights, or holds more than tensors; nothing of it was run. Give .safetensors, or "
            "a state dictionary that torch.save wrote."
        ) from error
    except (OSError, EOFError, RuntimeError) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise DataError(f"Cannot read the weights '{path}': {reason}. Fetch them again.") from error
    if not isinstance(content, Mapping):
        raise DataError(f"'{path}' holds a {type(content).__name__}. Give the state dictionary of the network.")
    return content


def entries(state: Mapping[str, Tensor], *needed: str) -> tuple[Tensor, ...]:
    """Take tensors that tell how large a network is.

    Raises:
        DataError: one is missing: the file is of another network.
    """
    if missing := [name for name in needed if name not in state]:
        raise DataError(f"The weights have no {listing(missing)}, but {listing(state)}. Give this very encoder's file.")
    return tuple(state[name] for name in needed)


def fill(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Give a network, which may be on the device "meta", its weights; they are shared, not copied.

    Raises:
        DataError: a parameter is missing, unknown or of another shape.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        first = wrong[0]
        raise DataError(
            f"{len(wrong)} parameters are missing, unknown or of another shape ({listing(wrong)}); '{first}' is "
            f"{given.get(first, 'missing')}, expected {expected.get(first, 'none')}. Give this very encoder's file."
        )
    network.load_state_dict(state, assign=True)
    return network
