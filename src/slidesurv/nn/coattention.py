"""Attention from one modality to the other: a few genomic tokens ask many tiles, or many tiles ask a few tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["CoAttention"]


class CoAttention(nn.Module):
    """Attention of one head, with biases, whose scores can be looked at.

    Every projection waits for the shorter side. Rows of the attention sum to 1, so an affine map of the answers is
    the answer of affinely mapped tiles; and the product of queries and keys may be bracketed either way. Same
    function, N × dim² operations fewer.

    The stacked projection is no `nn.Linear`, so `xavier` leaves it as it starts: Xavier-uniform as one matrix.

    Args:
        dim: width of queries and tiles.

    Source:
        Chen et al., MCAT, ICCV 2021.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.qkv_bias = nn.Parameter(torch.zeros(3 * dim))
        self.output = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.qkv_weight)
        nn.init.zeros_(self.output.bias)

    @override
    def forward(self, queries: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """(L, dim) queries, (N, dim) tiles → (L, dim) answers, (L, N) scaled scores before the softmax."""
        scores = self.scores(queries, tiles)  # (L, N)
        attention = scores.softmax(-1)
        few = len(queries) <= len(tiles)
        answers = self._answer(attention @ tiles) if few else attention @ self._answer(tiles)  # (L, dim)
        return answers, scores

    def scores(self, queries: Tensor, tiles: Tensor) -> Tensor:
        """(L, dim) queries, (N, dim) tiles → (L, N) scaled scores, before the softmax."""
        query, key, _ = zip(self.qkv_weight.chunk(3), self.qkv_bias.chunk(3), strict=True)
        if len(queries) > len(tiles):
            return _scores(tiles, key, query, queries).T
        return _scores(queries, query, key, tiles)

    def _answer(self, tokens: Tensor) -> Tensor:
        """Value and output projection, (n, dim) → (n, dim)."""
        answers: Tensor = self.output(F.linear(tokens, self.qkv_weight.chunk(3)[2], self.qkv_bias.chunk(3)[2]))
        return answers


def _scores(few: Tensor, own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], many: Tensor) -> Tensor:
    """(a, dim), (b, dim) and the weight and bias of each → (a, b) scaled scores, b × dim² operations saved."""
    asked = F.linear(few, *own)  # (a, dim)
    weight, bias = other
    return (asked @ weight @ many.T + (asked @ bias)[:, None]) / few.shape[-1] ** 0.5
