"""Vision transformers of the hub, in timm's layout.

A family is a few lines: where its weights are, their terms, depth and heads, what is taken of the tokens, and the
transform. Everything else of the architecture is read off the weights' shapes, and every parameter must fit.

What is said of each was written down without access to the hub, from publications and model cards as they are known.
Sizes are checked when weights are read; where another fact is doubtful the class says "Unsure".
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.errors import DataError
from slidesurv.slides.encoders.base import encoders, need
from slidesurv.slides.encoders.hub import HubEncoder
from slidesurv.slides.encoders.network import Colour
from slidesurv.slides.encoders.state import entries, fill

__all__ = ["VisionEncoder", "pooled", "transformer"]

BIOPTIMUS: tuple[Colour, Colour] = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)


class VisionEncoder(HubEncoder):
    """A vision transformer.

    Attributes:
        depth: blocks.
        heads: of an attention.
        pooling: what the features are: the class token, or that and the mean of the patch tokens behind it.
    """

    depth: ClassVar[int]
    heads: ClassVar[int]
    network: Any
    pooling: ClassVar[Literal["class", "class and mean"]] = "class"

    @override
    def _build(self, state: dict[str, Tensor]) -> nn.Module:
        network = transformer(state, depth=self.depth, heads=self.heads, encoder=self.name)
        self.require(dim=network.embed_dim * (1 if self.pooling == "class" else 2), px=network.patch_embed.img_size[0])
        return network

    @override
    def _features(self, pixels: Tensor) -> Tensor:
        tokens = self.network.forward_features(pixels)  # (B, P + N, width), the first P are no patches
        return pooled(tokens, self.network.num_prefix_tokens, mean=self.pooling != "class")


def pooled(tokens: Tensor, prefix: int, *, mean: bool) -> Tensor:
    """Take the features out of tokens.

    Args:
        tokens: (B, P + N, width): the class token, P - 1 registers, and N patches.
        prefix: P.
        mean: put the mean of the patches behind the class token; registers count in neither.

    Returns:
        (B, width), or (B, 2 · width) with the mean.
    """
    token = tokens[:, 0].float()  # (B, width)
    return torch.cat([token, tokens[:, prefix:].float().mean(1)], 1) if mean else token


def transformer(state: Mapping[str, Tensor], *, depth: int, heads: int, encoder: str) -> Any:
    """Make timm's transformer of a state; what is not given is read off the shapes of the parameters.

    Raises:
        DataError: the state is of no such transformer.
        MissingExtra: timm is not installed.
    """
    timm = need("timm.models.vision_transformer", encoder)
    names = "cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"
    token, positions, patches, first, second = entries(state, *names)
    width, hidden, swiglu = token.shape[-1], first.shape[0], first.shape[0] == 2 * second.shape[1]
    if width % heads:
        raise DataError(f"Tokens of width {width} cannot have {heads} heads. Give this very encoder's file.")
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    side, alone = _grid(positions.shape[1], 1 + registers)
    with torch.device("meta"):
        network = timm.VisionTransformer(
            img_size=side * patches.shape[-1],
            patch_size=patches.shape[-1],
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            mlp_ratio=(hidden + 0.5) / width,  # timm cuts the product to a whole number
            mlp_layer=timm.SwiGLUPacked if swiglu else timm.Mlp,
            act_layer=nn.SiLU if swiglu else nn.GELU,
            init_values=1.0 if "blocks.0.ls1.gamma" in state else None,
            reg_tokens=registers,
            no_embed_class=alone,
            num_classes=0,
            global_pool="",
        )
    return fill(network, state)


def _grid(positions: int, prefix: int) -> tuple[int, bool]:
    """Side of the square of patches that have positions, and whether they alone have."""
    for patches, alone in ((positions, True), (positions - prefix, False)):
        if patches > 0 and isqrt(patches) ** 2 == patches:
            return isqrt(patches), alone
    raise DataError(f"{positions} positions are no square of patches. Give this very encoder's file.")


@final
@encoders.register("uni")
class UNI(VisionEncoder):
    """ViT-L/16, DINOv2 on 100,000 slides (Chen et al., Nature Medicine 2024)."""

    repo, licence, gated = "MahmoodLab/UNI", "CC-BY-NC-ND-4.0", True
    dim, depth, heads = 1024, 24, 16


@final
@encoders.register("uni2-h")
class UNI2H(VisionEncoder):
    """ViT-H/14 with 8 registers, the second UNI (2025)."""

    repo, licence, gated = "MahmoodLab/UNI2-h", "CC-BY-NC-ND-4.0", True
    dim, depth, heads = 1536, 24, 24


@final
@encoders.register("virchow")
class Virchow(VisionEncoder):
    """ViT-H/14 (Vorontsov et al., Nature Medicine 2024)."""

    repo, licence, gated = "paige-ai/Virchow", "Apache-2.0", True
    dim, depth, heads, pooling = 2560, 32, 16, "class and mean"
    filter, usual = "bicubic", "float16"


@final
@encoders.register("virchow2")
class Virchow2(VisionEncoder):
    """ViT-H/14 with 4 registers, taught at 0.25 to 2 µm per pixel (Zimmermann et al., 2024)."""

    repo, licence, gated = "paige-ai/Virchow2", "CC-BY-NC-ND-4.0", True
    dim, depth, heads, pooling = 2560, 32, 16, "class and mean"
    filter, usual = "bicubic", "float16"


@final
@encoders.register("prov-gigapath")
class ProvGigaPath(VisionEncoder):
    """ViT-g/16, the tile encoder of Prov-GigaPath (Xu et al., Nature 2024). Unsure: the licence's name.

    Tiles of 256 px lose a border of 16 px: the middle 224 are looked at.
    """

    repo, licence, gated = "prov-gigapath/prov-gigapath", "Apache-2.0, for research by the terms of its gate", True
    dim, depth, heads = 1536, 40, 24
    resized, filter, usual = 256, "bicubic", "float16"


@final
@encoders.register("h-optimus-0")
class HOptimus0(VisionEncoder):
    """ViT-g/14 with 4 registers (Saillard et al., 2024). Unsure: whether it is gated."""

    repo, licence, gated = "bioptimus/H-optimus-0", "Apache-2.0", True
    dim, depth, heads = 1536, 40, 24
    colours, filter, usual = BIOPTIMUS, "bicubic", "float16"


@final
@encoders.register("h-optimus-1")
class HOptimus1(VisionEncoder):
    """ViT-g/14 with 4 registers, the second H-optimus (Bioptimus, 2025)."""

    repo, licence, gated = "bioptimus/H-optimus-1", "CC-BY-NC-ND-4.0", True
    dim, depth, heads = 1536, 40, 24
    colours, filter, usual = BIOPTIMUS, "bicubic", "float16"


@final
@encoders.register("h0-mini")
class H0Mini(VisionEncoder):
    """ViT-B/14 with 4 registers, distilled from H-optimus-0 (Filiot et al., 2025).

    Unsure: other tools take the class token alone, which is the first 768 of these features.
    """

    repo, licence, gated = "bioptimus/H0-mini", "CC-BY-NC-ND-4.0", True
    dim, depth, heads, pooling = 1536, 12, 12, "class and mean"
    colours, filter, usual = BIOPTIMUS, "bicubic", "float16"
