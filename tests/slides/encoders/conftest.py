"""Tiles of noise, and weights of a transformer small enough for a test, in the real file formats."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slidesurv.slides.encoders.vit import UNI

SMALL = {"img_size": 28, "patch_size": 14, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 0}


@pytest.fixture
def scatter() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """Fill every parameter of a network with noise that neither dies out nor explodes."""

    def fill(network: torch.nn.Module) -> torch.nn.Module:
        torch.manual_seed(0)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 0.5, 0.2)
        return network.eval()

    return fill


@pytest.fixture
def tiles() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3), dtype=np.uint8)


@pytest.fixture
def small_uni(scatter, monkeypatch) -> torch.nn.Module:
    """A small network of timm's, with the class made as small as it is."""
    timm = pytest.importorskip("timm", reason="the extra slides is not installed")
    for name, value in {"dim": 32, "depth": 2, "heads": 4, "px": 28}.items():
        monkeypatch.setattr(UNI, name, value)
    return scatter(timm.models.vision_transformer.VisionTransformer(**SMALL, init_values=1e-5))


@pytest.fixture
def uni_file(small_uni, tmp_path) -> Path:
    save_file(small_uni.state_dict(), tmp_path / "uni.safetensors")
    return tmp_path / "uni.safetensors"
