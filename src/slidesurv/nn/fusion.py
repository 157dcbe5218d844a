"""Two modalities become one vector: set side by side, or multiplied with each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["Bilinear", "Concatenation"]


class Concatenation(nn.Module):
    """Both side by side, through two layers.

    Args:
        dim: width of either, and of the answer.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())

    @override
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """(..., dim), (..., dim) → (..., dim)."""
        fused: Tensor = self.layers(torch.cat([one, other], -1))
        return fused


class Bilinear(nn.Module):
    """Every feature of one times every feature of the other, after a gate that both open.

    Args:
        dim: width of either, and of the answer.
        rank: width that each is narrowed to; a constant 1 beside it keeps each alone, too.
        dropout: after each hidden layer.

    Source:
        Chen et al., Pathomic Fusion, IEEE TMI 2022.
    """

    def __init__(self, dim: int, *, rank: int = 32, dropout: float = 0.25) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Sequential(nn.Linear(dim, rank), nn.ReLU()) for _ in range(2))
        self.gate = nn.ModuleList(nn.Sequential(nn.Linear(2 * dim, rank), nn.Sigmoid()) for _ in range(2))
        self.mix = nn.ModuleList(nn.Sequential(nn.Linear(rank, rank), nn.ReLU(), nn.Dropout(dropout)) for _ in range(2))
        self.layers = nn.Sequential(
            *(nn.Linear((rank + 1) ** 2, dim), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout)),
        )

    @override
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """(..., dim), (..., dim) → (..., dim)."""
        both = torch.cat([one, other], -1)
        parts = zip((one, other), self.narrow, self.gate, self.mix, strict=True)
        left, right = (F.pad(mix(narrow(side) * gate(both)), (0, 1), value=1.0) for side, narrow, gate, mix in parts)
        product = left[..., :, None] * right[..., None, :]  # (..., rank + 1, rank + 1)
        fused: Tensor = self.layers(product.flatten(-2))
        return fused
