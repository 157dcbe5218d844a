"""RRT-MIL: tiles are embedded anew among their neighbours, then pooled (Tang et al., CVPR 2024).

Written from the specification. Differs: the head predicts T hazards, with the 16 × 16 regions and the ReLU of the
field's survival port; ``preset = "diagnosis"`` has the authors' own. The encoding of positions, a convolution of the
score map along the queries, is done to the queries before they meet the keys, which is the same function and never
makes the map; zero rows that no tile of the output depends on are not made either.
"""

from collections.abc import Mapping
from math import isqrt, sqrt
from typing import Annotated, Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Width
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["RRTMIL", "CrossRegionLayer", "RegionAttention", "RegionLayer", "fold", "unfold"]


def _odd(taps: int) -> int:
    if taps % 2 == 0:
        raise ValueError("a kernel needs an odd number of taps")
    return taps


Count = Annotated[int, Field(gt=0)]
Heads = Literal[1, 2, 4, 8]
Taps = Annotated[int, Field(gt=0), AfterValidator(_odd)]


def fold(tokens: Tensor, side: int) -> Tensor:
    """Lay tokens out as a square, row by row, and cut it into regions.

    Args:
        tokens: (N, dim).
        side: L, regions along a side; the square is completed with zero rows.

    Returns:
        (R, P, dim) the R ≤ L² regions of P tokens up to the last row of regions that holds a token; the rest of the
        L² are zeros.
    """
    reach = -(-(isqrt(len(tokens) - 1) + 1) // side)  # tokens along the side of a region
    zeros = -len(tokens) % (side * reach * reach)
    square = F.pad(tokens, (0, 0, 0, zeros)).unflatten(0, (-1, reach, side, reach))  # (R / L, r, L, r, dim)
    return square.transpose(1, 2).flatten(0, 1).flatten(1, 2)


def unfold(regions: Tensor, side: int, count: int) -> Tensor:
    """(R, P, dim) regions → (N, dim) the first ``count`` of their tokens, in the order in which `fold` took them."""
    reach = isqrt(regions.shape[1])
    square = regions.unflatten(0, (-1, side)).unflatten(2, (reach, reach))  # (R / L, L, r, r, dim)
    return square.transpose(1, 2).flatten(0, 3)[:count]


class RegionAttention(nn.Module):
    """Multi-head self-attention inside each region, with EPEG: scores plus a convolution of them along the queries.

    Scores are linear in the queries, so convolving the queries is the same. The convolution's bias shifts all scores
    of a query alike, and the softmax takes that out again: it is there to be counted, and its gradient is zero.

    Args:
        dim: width of a token.
        heads: must divide ``dim``.
        taps: k of EPEG, odd; 0 leaves it out.
        dropout: on the output.

    Source:
        Tang et al., RRT-MIL (CVPR 2024).
    """

    def __init__(self, dim: int, *, heads: int = 8, taps: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.position = nn.Conv2d(heads, heads, (taps, 1), groups=heads) if taps else None
        self.dropout = nn.Dropout(dropout)
        if self.position is not None:
            nn.init.xavier_normal_(self.position.weight)
            nn.init.zeros_(self.position.bias)  # type: ignore[arg-type] # a Conv2d has a bias unless told otherwise

    @override
    def forward(self, regions: Tensor) -> Tensor:
        """(R, P, dim) → (R, P, dim); no region sees another."""
        heads = self.qkv(regions).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)  # (R, 3H, P, d)
        queries, keys, values = heads.chunk(3, dim=1)
        mixed = F.scaled_dot_product_attention(self._place(queries), keys, values)  # (R, H, P, d)
        merged: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return self.dropout(merged)

    def _place(self, queries: Tensor) -> Tensor:
        """(R, H, P, d) → the same shape: each query and the weighted sum of those around it."""
        if self.position is None:
            return queries
        half = self.position.kernel_size[0] // 2
        reach = min(half, queries.shape[2] - 1)  # taps beyond it would only meet padding
        kernel = self.position.weight + 0 * self.position.bias[:, None, None, None]  # type: ignore[index]
        itself = F.pad(kernel.new_ones(1, 1, 1, 1), (0, 0, reach, reach))
        kernel = kernel[:, :, half - reach : half + reach + 1] + itself  # (H, 1, taps, 1)
        return F.conv2d(queries, kernel, padding=(reach, 0), groups=self.heads)


class RegionLayer(nn.Module):
    """R-MSA: x + attention within regions(norm(x)).

    Args:
        dim: width of a token.
        side: L, regions along a side of the square.
        heads, taps: see `RegionAttention`.
    """

    def __init__(self, dim: int, *, side: int, heads: int = 8, taps: int = 15) -> None:
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(dim)
        self.attention = RegionAttention(dim, heads=heads, taps=taps)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(N, dim) → (N, dim)."""
        regions = fold(self.norm(tokens), self.side)  # (R, P, dim)
        return tokens + unfold(self.attention(regions), self.side, len(tokens))


class Affinity(nn.Module):
    """Φ as a matrix: how much each token has to do with each representative.

    Args:
        dim: width of a token.
        count: k_c, representatives.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, count))
        nn.init.kaiming_uniform_(self.weight, a=sqrt(5))

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(…, dim) → (…, k_c) scores."""
        return tokens @ self.weight


class CrossRegionLayer(nn.Module):
    """CR-MSA: each region sends representatives, which attend to each other and report to their region's tokens.

    Args:
        dim: width of a token.
        side: L, regions along a side of the square.
        heads: of the attention between regions.
        representatives: k_c of each region.
        phi: "linear", or "mlp" with a hidden layer.

    Source:
        Tang et al., RRT-MIL (CVPR 2024).
    """

    def __init__(
        self, dim: int, *, side: int = 8, heads: int = 8, representatives: int = 3, phi: Literal["linear", "mlp"]
    ) -> None:
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(dim)
        hidden = nn.Linear(dim, dim // 4, bias=False), nn.Tanh(), nn.Linear(dim // 4, representatives, bias=False)
        self.phi = nn.Sequential(*hidden) if phi == "mlp" else Affinity(dim, representatives)
        self.attention = RegionAttention(dim, heads=heads)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(N, dim) → (N, dim)."""
        regions = fold(self.norm(tokens), self.side)  # (R, P, dim)
        scores = self.phi(regions)  # (R, P, k_c)
        sent = scores.softmax(1).transpose(1, 2) @ regions  # (R, k_c, dim)
        told = self._meet(sent)
        return tokens + unfold(_shares(scores) @ told, self.side, len(tokens))

    def _meet(self, sent: Tensor) -> Tensor:
        """(R, k_c, dim) → the same shape: the n-th representatives of all L² regions attend to each other."""
        empty = self.side * self.side - len(sent)  # regions without a tile send zeros
        met: Tensor = self.attention(F.pad(sent, (0, 0, 0, 0, 0, empty)).transpose(0, 1))  # (k_c, L², dim)
        return met.transpose(0, 1)[: len(sent)]


def _shares(scores: Tensor) -> Tensor:
    """(R, P, k_c) → the same shape: what a token takes of each representative; 0 for the least of its region."""
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return scores.softmax(2) * (scores - low) / (high - low + 1e-8)


@final
@models.register("rrtmil")
class RRTMIL(SurvivalModel):
    """Re-embedded regional transformer.

    Args:
        sizes: tile D and bins T are read.
        dim: width of a token.
        regions: L, regions along a side of the square, for attention within regions.
        cross_regions: the same for attention between regions; the authors' program is fixed to 8.
        layers: the last is between regions, those before it within.
        epeg: encode positions inside a region.
        kernel: k of EPEG, odd.
        representatives: k_c of each region.
        phi: what chooses them, "linear" or "mlp".
        heads: of the attention within regions.
        cross_heads: of the attention between regions.
        shortcut: add the embedded tiles again after the last layer.
        pool: activation of the pooling attention.
        dropout: after the embedding.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="tang2024feature",
        title="Feature Re-Embedding: Towards Foundation Model-Level Performance in Computational Pathology",
        authors="Tang, W. and Zhou, F. and Huang, S. and Zhu, X. and Zhang, Y. and Liu, B.",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        year=2024,
        url="https://arxiv.org/abs/2402.17228",
        licence="authors' program: no licence; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"diagnosis": {"regions": 8, "pool": "tanh"}}
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "schedule": "cosine",
        "epochs": 30,
        "accumulate": 1,
        "sampler": "uniform",
        "event_weight": 0.0,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        dim: Width = 512,
        regions: Count = 16,
        cross_regions: Count = 8,
        layers: Count = 2,
        epeg: bool = True,
        kernel: Taps = 15,
        representatives: Count = 3,
        phi: Literal["linear", "mlp"] = "linear",
        heads: Heads = 8,
        cross_heads: Heads = 8,
        shortcut: bool = False,
        pool: Literal["relu", "tanh"] = "relu",
        dropout: Dropout = 0.25,
    ) -> None:
        super().__init__(sizes)
        self.shortcut = shortcut
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        taps = kernel if epeg else 0
        self.within = nn.Sequential(
            *(RegionLayer(dim, side=regions, heads=heads, taps=taps) for _ in range(layers - 1))
        )
        self.between = CrossRegionLayer(
            dim, side=cross_regions, heads=cross_heads, representatives=representatives, phi=phi
        )
        self.norm = nn.LayerNorm(dim)
        activation = nn.Tanh() if pool == "tanh" else nn.ReLU()
        self.pool = nn.Sequential(nn.Linear(dim, dim // 4, bias=False), activation, nn.Linear(dim // 4, 1, bias=False))
        self.head = nn.Linear(dim, sizes.bins)
        xavier(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        embedded = self.embed(bag.features)  # (N, dim)
        tiles = self.between(self.within(embedded))  # (N, dim)
        tiles = self.norm(tiles + embedded if self.shortcut else tiles)
        attention = self.pool(tiles)[:, 0].softmax(0)  # (N,)
        return ModelOutput(self.head(attention @ tiles), attention)
