"""The golden tokens of Hugging Face's DINOv2: ours, or a longer list named by SLIDESURV_GOLDEN_DINOV2."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference.fill import tensor, uniform

__all__ = ["filled", "pixels", "records"]


def records() -> list[dict[str, Any]]:
    """The config, the names and shapes of the file, and the tokens (1 + P + N, width) of each network."""
    path = os.environ.get("SLIDESURV_GOLDEN_DINOV2") or Path(__file__).with_name("dinov2.json")
    return list(json.loads(Path(path).read_text(encoding="utf-8"))["records"])


def filled(shapes: list[tuple[str, list[int]]]) -> dict[str, Tensor]:
    """The weights of a record: the k-th name has tensor k of the rule."""
    return {
        name: tensor(k, shape, gain="norm" in name and name.endswith("weight")).float()
        for k, (name, shape) in enumerate(shapes)
    }


def pixels(k: int, px: int) -> Tensor:
    """(1, 3, px, px) whole bytes, divided by 255: stream ``k``."""
    values = torch.from_numpy(uniform(k, 3 * px * px)).reshape(1, 3, px, px)
    return ((255 * values).round() / 255).float()
