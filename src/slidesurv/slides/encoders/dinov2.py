"""Vision transformers of the hub, in the layout of Hugging Face's DINOv2.

The parameters are renamed to timm's layout; query, key and value become one matrix, the class token takes its own
position in, and positions for tiles of another size are stretched, once, as the layout's own program does at every use.
What is said of each encoder was written down as in `vit`.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.slides.encoders.base import encoders
from slidesurv.slides.encoders.network import HALF, Colour
from slidesurv.slides.encoders.state import entries
from slidesurv.slides.encoders.vit import VisionEncoder

__all__ = ["from_huggingface"]

HIBOU: tuple[Colour, Colour] = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)
BLOCK = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
NAMES = {
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "embeddings.register_tokens": "reg_token",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
PARTS = {
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "mlp.weights_in": "mlp.fc1",
    "mlp.weights_out": "mlp.fc2",
}
QKV = re.compile(r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)")
UNUSED = {"embeddings.mask_token", "embeddings.cls_token", "embeddings.position_embeddings"}


class HuggingFaceEncoder(VisionEncoder):
    """A vision transformer in Hugging Face's layout."""

    @override
    def _build(self, state: dict[str, Tensor]) -> nn.Module:
        assert self.px is not None
        return super()._build(from_huggingface(state, px=self.px))


def from_huggingface(state: Mapping[str, Tensor], *, px: int) -> dict[str, Tensor]:
    """Rename the parameters of a DINOv2 to timm's layout.

    Args:
        state: as Hugging Face's ``Dinov2Model`` and ``Dinov2WithRegistersModel`` name it.
        px: side of the tiles; positions are stretched to it.

    Returns:
        What timm's transformer has under its own names; a name that is not known keeps its own, and will not fit.

    Raises:
        DataError: the state has no class token, positions or patches.
    """
    names = "embeddings.cls_token", "embeddings.position_embeddings", "embeddings.patch_embeddings.projection.weight"
    token, positions, patches = entries(state, *names)
    smooth = "embeddings.register_tokens" in state  # only the program with registers does it
    out = {
        "cls_token": token + positions[:, :1],  # (1, 1, width)
        "pos_embed": _stretched(positions[:, 1:], px // patches.shape[-1], antialias=smooth),  # (1, N, width)
    }
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if match := QKV.fullmatch(name):
            parts.setdefault(f"blocks.{match[1]}.attn.qkv.{match[3]}", {})[match[2]] = value
        elif name not in UNUSED:
            out[_renamed(name)] = value
    return out | {name: torch.cat([part[key] for key in ("query", "key", "value")]) for name, part in parts.items()}


def _stretched(positions: Tensor, side: int, *, antialias: bool) -> Tensor:
    """Bring positions (1, N, width) of a square of patches to a square of another side."""
    before = isqrt(positions.shape[1])
    if before == side or before**2 != positions.shape[1]:
        return positions
    square = positions.unflatten(1, (before, before)).permute(0, 3, 1, 2)  # (1, width, before, before)
    stretched = F.interpolate(square, (side, side), mode="bicubic", antialias=antialias)
    return stretched.flatten(2).transpose(1, 2)  # (1, side², width)


def _renamed(name: str) -> str:
    block = BLOCK.fullmatch(name)
    if block is None:
        return NAMES.get(name, name)
    part = block[2]
    for old, new in PARTS.items():
        part = part.replace(old, new)
    return f"blocks.{block[1]}.{part}"


@final
@encoders.register("phikon-v2")
class PhikonV2(HuggingFaceEncoder):
    """ViT-L/16, DINOv2 (Filiot et al., 2024). Unsure: the filter of the resizing."""

    repo, licence = "owkin/phikon-v2", "Owkin's own, non-commercial"
    dim, depth, heads = 1024, 24, 16
    filter = "bicubic"


@final
@encoders.register("hibou-b")
class HibouB(HuggingFaceEncoder):
    """ViT-B/14 with 4 registers (Nechaev et al., 2024). Unsure: gate, filter; its program is its own, not run here."""

    repo, licence = "histai/hibou-b", "Apache-2.0"
    dim, depth, heads = 768, 12, 12
    colours, filter = HIBOU, "bicubic"


@final
@encoders.register("hibou-l")
class HibouL(HuggingFaceEncoder):
    """ViT-L/14 with 4 registers (Nechaev et al., 2024). Unsure: licence, gate, filter; as `HibouB`."""

    repo, licence, gated = "histai/hibou-L", "Apache-2.0", True
    dim, depth, heads = 1024, 24, 16
    colours, filter = HIBOU, "bicubic"


@final
@encoders.register("midnight-12k")
class Midnight12k(HuggingFaceEncoder):
    """ViT-g/14, DINOv2 on 12,000 slides of TCGA (Karasikov et al., 2025). Unsure: the filter of the resizing."""

    repo, licence = "kaiko-ai/midnight", "MIT"
    dim, depth, heads, pooling = 3072, 40, 24, "class and mean"
    colours = HALF
