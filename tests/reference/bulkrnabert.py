"""The golden vectors of the expression encoder: the folder named by SLIDESURV_GOLDEN_BULKRNABERT, else the shared one.

Nothing here knows a size: a folder of the same file and array names serves alike. ``README.txt`` in it names them.
"""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from slidesurv.genomics.weights import Checkpoint, read_checkpoint

__all__ = ["array", "arrays", "checkpoint", "close", "config", "folder", "ids"]

SHARED = Path(__file__).parents[3] / "shared/golden/bulkrnabert"


def folder() -> Path:
    """Where the vectors are; without them the test is skipped."""
    path = Path(os.environ.get("SLIDESURV_GOLDEN_BULKRNABERT") or SHARED)
    if not (path / "golden_small.npz").exists():
        pytest.skip(f"golden vectors: '{path}' is not here; set SLIDESURV_GOLDEN_BULKRNABERT")
    return path


@cache
def arrays() -> dict[str, np.ndarray]:
    with np.load(folder() / "golden_small.npz", allow_pickle=False) as file:
        return dict(file)


def array(name: str) -> torch.Tensor:
    """One array; floats as float64."""
    values = torch.from_numpy(arrays()[name])
    return values.double() if values.is_floating_point() else values


def ids(name: str) -> torch.Tensor:
    """(B, G) int64 token ids."""
    return array(name).long()


def config(name: str) -> dict:
    return json.loads((folder() / f"config_{name}.json").read_text())


def checkpoint(name: str, cache: Path) -> Checkpoint:
    """The weights of one of the models, converted in a folder of the test's."""
    return read_checkpoint(folder() / f"params_{name}.joblib", config=folder() / f"config_{name}.json", cache=cache)


def close(found: torch.Tensor, name: str, *, atol: float = 2e-5, rtol: float = 1e-5) -> None:
    """Compare with an array, at the tolerance that its README gives."""
    torch.testing.assert_close(found.double(), array(name), atol=atol, rtol=rtol, msg=lambda text: f"{name}: {text}")
