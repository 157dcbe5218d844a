"""The integer hash that fills every weight and input of the golden vectors, in any framework alike.

Written from the fill rule of the vectors' README, sections 1 and 2; `test_fill.py` proves it against their own sums.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["bag", "fill", "prototypes", "tensor", "uniform"]


def uniform(k: int, n: int) -> np.ndarray:
    """(n,) float64 in [0, 1): the stream of tensor ``k``."""
    a = np.arange(1, n + 1, dtype=np.uint32) + np.uint32(0x9E3779B9 * (k + 1) % 2**32)
    a = (a ^ (a >> 16)) * np.uint32(0x7FEB352D)
    a = (a ^ (a >> 15)) * np.uint32(0x846CA68B)
    return (a ^ (a >> 16)) / 2**32


def signed(k: int, *shape: int) -> Tensor:
    """A float64 tensor in [-1, 1), row-major."""
    return torch.from_numpy(2 * uniform(k, prod(shape)) - 1).reshape(shape)


def tensor(k: int, shape: Sequence[int], *, gain: bool = False) -> Tensor:
    """Weight ``k`` of a model: 1 + 0.1 u' for a norm's gain, 0.1 u' if 1-d, else u' sqrt(3 / fan_in); u' in [-1, 1)."""
    values = signed(k, *shape)
    if len(shape) > 1:
        return values * (3 / prod(shape[1:])) ** 0.5
    return 1 + 0.1 * values if gain else 0.1 * values


def fill(module: nn.Module, order: Sequence[str]) -> None:
    """Fill a module's parameters; ``order`` names them in the canonical order, so that a place in it is a ``k``.

    The weight of a LayerNorm or an RMSNorm is a gain. Tokens must have two dimensions or more, or they pass for biases.
    """
    norms = (nn.LayerNorm, nn.RMSNorm)
    gains = {f"{name}.weight".lstrip(".") for name, part in module.named_modules() if isinstance(part, norms)}
    with torch.no_grad():
        for k, name in enumerate(order):
            parameter = module.get_parameter(name)
            parameter.copy_(tensor(k, parameter.shape, gain=name in gains))


def bag(n: int, dim: int = 1024) -> Tensor:
    """(n, dim) float64 tile features, max(0, 2u - 1); the first rows of a larger bag are a smaller one."""
    return signed(1000, n, dim).clamp(min=0)


def prototypes(count: int, dim: int = 1024) -> Tensor:
    """(count, dim) float64 prototypes, max(0, 2u - 1)."""
    return signed(3000, count, dim).clamp(min=0)
