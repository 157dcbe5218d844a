"""CONCH's visual tower: a vision transformer whose tokens answer one question (Lu et al., Nature Medicine 2024).

Written from the publication and from CoCa's (Yu et al., 2022): a learnt query attends once to all tokens of a ViT-B/16
at 448 px; the features are the answer after its norm, before the projection that is shared with text. Captioner, text
tower and projection in the file are left out.

Unsure, since neither weights nor card could be read here: the names of the parameters, which must all fit when weights
are read; that the class token is among what is attended to; and the colours, taken to be CLIP's.
"""

from typing import Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.slides.encoders.base import encoders
from slidesurv.slides.encoders.hub import HubEncoder
from slidesurv.slides.encoders.network import CLIP
from slidesurv.slides.encoders.state import entries, fill
from slidesurv.slides.encoders.vit import transformer

__all__ = ["CONCH"]

PARTS = ("trunk.", "attn_pool_contrast.", "ln_contrast.")
POOL_HEADS = 8


@final
@encoders.register("conch")
class CONCH(HubEncoder):
    """CONCH v1."""

    repo, licence, gated = "MahmoodLab/CONCH", "CC-BY-NC-ND-4.0", True
    px, dim = 448, 512
    colours, filter = CLIP, "bicubic"
    depth, heads = 12, 12

    @override
    def _build(self, state: dict[str, Tensor]) -> nn.Module:
        tower = {name.removeprefix("visual."): value for name, value in state.items()}
        tower = {name: value for name, value in tower.items() if name.startswith(PARTS)}
        trunk = {name.removeprefix("trunk."): value for name, value in tower.items() if name.startswith("trunk.")}
        vision = transformer(trunk, depth=self.depth, heads=self.heads, encoder=self.name)
        (query,) = entries(tower, "attn_pool_contrast.query")
        self.require(dim=query.shape[-1], px=vision.patch_embed.img_size[0])
        with torch.device("meta"):
            network = _Tower(vision, query.shape)
        return fill(network, tower)

    @override
    def _features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(pixels)
        return features


class _Tower(nn.Module):
    """The file's own names: a trunk of timm's, a pool and a norm."""

    def __init__(self, trunk: Any, questions: torch.Size) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = _Pool(questions, trunk.embed_dim)
        self.ln_contrast = nn.LayerNorm(questions[-1])

    @override
    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.trunk.forward_features(pixels)  # (B, 1 + N, width)
        return self.ln_contrast(self.attn_pool_contrast(tokens)[:, 0])  # (B, D)


class _Pool(nn.Module):
    """Learnt questions (Q, D), each answered by attention to all tokens."""

    def __init__(self, questions: torch.Size, width: int) -> None:
        super().__init__()
        dim = questions[-1]
        self.query = nn.Parameter(torch.empty(questions))
        self.attn = nn.MultiheadAttention(dim, POOL_HEADS, kdim=width, vdim=width, batch_first=True)
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(width)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        keys = self.ln_k(tokens)  # (B, N, width)
        queries = self.ln_q(self.query).expand(len(tokens), -1, -1)  # (B, Q, D)
        return self.attn(queries, keys, keys, need_weights=False)[0]  # (B, Q, D)
