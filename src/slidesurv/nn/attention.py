"""Attention blocks: gated pooling of tiles, and a few learned queries that ask many tiles."""

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["CrossAttention", "GatedAttention", "GatedFeedForward"]


class GatedAttention(nn.Module):
    """One score a tile: tanh features times a sigmoid gate (Ilse et al., ICML 2018, eq. 9).

    Args:
        dim: width of a tile.
        hidden: width of the two branches.
        dropout: on each branch.
        gate: False leaves the sigmoid branch out (eq. 8).
    """

    def __init__(self, dim: int, hidden: int, *, dropout: float = 0.0, gate: bool = True) -> None:
        super().__init__()
        self.value = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden) if gate else None
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, tiles: Tensor) -> Tensor:
        """(N, dim) tiles → (N,) scores, before the softmax."""
        hidden = self.dropout(self.value(tiles).tanh())  # (N, hidden)
        if self.gate is not None:
            hidden = hidden * self.dropout(self.gate(tiles).sigmoid())
        scores: Tensor = self.score(hidden)[:, 0]
        return scores


class CrossAttention(nn.Module):
    """Multi-head attention of few queries over many tiles, without a residual.

    Keys and values have no bias, so both projections can wait until after the sum over tiles: each query is taken
    to the width of the tiles, and the tiles themselves are weighted. Same function, N × dim² operations fewer.

    Args:
        dim: width of queries and tiles.
        heads: must divide ``dim``.
        dropout: on the attention and on the output.
        output: False leaves the output projection out.
    """

    def __init__(self, dim: int, *, heads: int = 4, dropout: float = 0.25, output: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim) if output else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def scores(self, queries: Tensor, tiles: Tensor) -> Tensor:
        """(L, dim) queries, (N, dim) tiles → (heads, L, N) scaled scores, before the softmax."""
        query = self.query(queries).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # (H, L, d)
        key = self.key.weight.unflatten(0, (self.heads, -1))  # (H, d, dim)
        return query @ key @ tiles.T / query.shape[-1] ** 0.5

    @override
    def forward(self, queries: Tensor, tiles: Tensor) -> Tensor:
        """(L, dim) queries, (N, dim) tiles → (L, dim) answers."""
        attention = self.dropout(self.scores(queries, tiles).softmax(-1))  # (H, L, N)
        value = self.value.weight.unflatten(0, (self.heads, -1))  # (H, d, dim)
        answers = attention @ tiles @ value.transpose(1, 2)  # (H, L, d)
        projected: Tensor = self.output(answers.transpose(0, 1).flatten(1))
        return self.dropout(projected)


class GatedFeedForward(nn.Module):
    """GEGLU: half of a wide layer gates the other half (Shazeer, 2020).

    Args:
        dim: width in and out.
        factor: hidden width as a multiple of ``dim``.
        dropout: on the output.
    """

    def __init__(self, dim: int, *, factor: int = 4, dropout: float = 0.25) -> None:
        super().__init__()
        self.wide = nn.Linear(dim, 2 * factor * dim)
        self.narrow = nn.Linear(factor * dim, dim)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(L, dim) → (L, dim)."""
        value, gate = self.wide(tokens).chunk(2, dim=-1)
        narrowed: Tensor = self.narrow(value * F.gelu(gate))
        return self.dropout(narrowed)
