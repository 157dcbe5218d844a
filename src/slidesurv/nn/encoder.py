"""Transformers that sum up a patient in one class token: over tiles (with positions) or over genomic tokens."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.nn.nystrom import SelfAttention
from slidesurv.nn.position import PyramidPosition

__all__ = ["ClassTransformer", "Layer", "tile_weights"]


class Layer(nn.Module):
    """x + attention(norm(x)): a pre-norm layer without a feed-forward half.

    Args:
        dim: width of a token.
        exact: see `SelfAttention`.
    """

    def __init__(self, dim: int, *, exact: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, landmarks=dim // 2, exact=exact)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (n, dim)."""
        attended: Tensor = self.attention(self.norm(tokens))
        return tokens + attended

    def first(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (1, dim): the first row of ``forward(tokens)``."""
        return tokens[:1] + self.attention.first(self.norm(tokens))


class ClassTransformer(nn.Module):
    """A class token, two layers and a norm, as in TransMIL; between the layers, positions where tokens have them.

    Only the class token is read at the end, so the second layer computes that row alone: exact, and cheaper.

    Args:
        dim: width of a token.
        position: lay the tokens out as a square (completed with the first of them) and convolve it between the
            layers; leave it off for tokens that have no place.
        exact: see `SelfAttention`.
        class_std: standard deviation of the class token at the start.

    Source:
        Shao et al., TransMIL, NeurIPS 2021; VGAT eqs. (7)-(11).
    """

    def __init__(self, dim: int, *, position: bool, exact: bool = False, class_std: float = 1e-6) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, dim) * class_std)
        self.first_layer = Layer(dim, exact=exact)
        self.position = PyramidPosition(dim) if position else None
        self.second_layer = Layer(dim, exact=exact)
        self.norm = nn.LayerNorm(dim)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(N, dim) → (dim,) the class token."""
        summary: Tensor = self.norm(self.second_layer.first(self._first_half(tokens)))
        return summary[0]

    def encode(self, tokens: Tensor) -> Tensor:
        """(N, dim) → (1 + N', dim) class token and every token; N' = s² with positions, else N."""
        encoded: Tensor = self.norm(self.second_layer(self._first_half(tokens)))
        return encoded

    def explain(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, dim) → (dim,) the class token, and (1 + N,) what it attends to in the second layer.

        The row is the largest over heads, as published; its first entry is the class token itself. With landmarks
        it may hold negative values and need not sum to 1: see `tile_weights`.
        """
        half = self._first_half(tokens)
        row = self.second_layer.attention.first_row(self.second_layer.norm(half)).amax(0)
        return self.norm(self.second_layer.first(half))[0], row[: 1 + len(tokens)]

    def _first_half(self, tokens: Tensor) -> Tensor:
        if self.position is not None:
            side = _ceil_root(len(tokens))
            tokens = torch.cat([tokens, tokens[: side * side - len(tokens)]])
        tokens = self.first_layer(torch.cat([self.token[0], tokens]))
        if self.position is None:
            return tokens
        summary, tiles = tokens.split([1, len(tokens) - 1])
        return torch.cat([summary, self.position(tiles)])


def _ceil_root(n: int) -> int:
    side = int(n**0.5)
    return side if side * side >= n else side + 1


def tile_weights(row: Tensor) -> Tensor:
    """Turn a row of `ClassTransformer.explain`, (1 + N,), into attention (N,) over tiles: none negative, sum 1."""
    tiles = row[1:].clamp(min=0)
    total = tiles.sum()
    return tiles / total if total > 0 else torch.full_like(tiles, 1 / len(tiles))
