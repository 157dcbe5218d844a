"""Self-attention of long bags through landmarks (Xiong et al., AAAI 2021), as TransMIL uses it, and its exact peer.

The literature's layer prepends p zero rows so that the number of tokens becomes a multiple of the landmarks, and does
not mask them. They take part in every softmax, so a faithful layer must keep them; but they are all alike, so here
they are kept as one token that counts p times, and the landmarks made of nothing but them as one landmark that counts
as often. The result is the same function of the same weights:

* softmax(q k̃ᵀ) · (pinv · (softmax(q̃ kᵀ) v)) is multiplied from the right, so nothing of size N × landmarks is kept;
* landmarks are projected means, which equal means of projections, so the last layer of an encoder need not project
  the queries of all tokens when only the first is asked.
"""

from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["SelfAttention"]


class Landmarks(NamedTuple):
    """The landmarks of one bag, alike ones counted.

    Attributes:
        queries, keys: (1, H, M, d).
        log_count: (M,) log of how often each landmark stands in the literature's layer.
        log_pads: log of the number of zero rows; None when there are none.
        inverse: (1, H, M, M) pseudo-inverse of softmax(q̃ k̃ᵀ), ready to be applied to what landmarks saw.
    """

    queries: Tensor
    keys: Tensor
    log_count: Tensor
    log_pads: float | None
    inverse: Tensor


class SelfAttention(nn.Module):
    """Multi-head self-attention with a depth-wise convolution of the values along the tokens.

    Args:
        dim: width of a token.
        heads: must divide ``dim``.
        landmarks: number of landmarks m; more is closer to the exact softmax.
        kernel: taps of the value convolution.
        dropout: on the output.
        exact: attend with the whole softmax over real tokens; the weights keep their names and shapes.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 8,
        landmarks: int,
        kernel: int = 33,
        dropout: float = 0.1,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.landmarks, self.exact = heads, landmarks, exact
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim)
        self.residual = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (n, dim)."""
        queries, keys, values = self._heads(tokens, self.qkv.weight).chunk(3, dim=1)
        return self._attend(tokens, queries, keys, values)

    def first(self, tokens: Tensor, rows: int = 1) -> Tensor:
        """(n, dim) → (rows, dim), those of the first tokens; equal to ``forward(tokens)[:rows]`` and cheaper."""
        query, rest = self.qkv.weight.split([self.qkv.in_features, 2 * self.qkv.in_features])
        keys, values = self._heads(tokens, rest).chunk(2, dim=1)
        return self._attend(tokens, self._heads(tokens[:rows], query), keys, values)

    def first_row(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (H, n) what the first token attends to; with landmarks a row may be negative and not sum to 1."""
        query, key, _ = self.qkv.weight.chunk(3)
        first, keys = self._heads(tokens[:1], query), self._heads(tokens, key)
        if self.exact:
            return _softmax(first, keys)[0, :, 0]
        marks = self._landmarks(tokens)
        seen = _softmax(marks.queries, _pad(keys, marks.log_pads), _pad_bias(len(tokens), marks.log_pads, keys))
        row = _softmax(first, marks.keys, marks.log_count) @ marks.inverse @ seen  # (1, H, 1, n or n + 1)
        return row[0, :, 0, : len(tokens)]

    def _heads(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """(n, dim) → (1, k·H, n, d) for the k projections stacked in ``weight``."""
        width = self.qkv.in_features // self.heads
        return F.linear(tokens, weight).unflatten(-1, (-1, width)).transpose(0, 1)[None]

    def _attend(self, tokens: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if self.exact:
            mixed = F.scaled_dot_product_attention(queries, keys, values)
        else:
            marks = self._landmarks(tokens)
            bias = _pad_bias(len(tokens), marks.log_pads, keys)
            padded = _pad(keys, marks.log_pads), _pad(values, marks.log_pads)
            seen = F.scaled_dot_product_attention(marks.queries, *padded, attn_mask=bias)  # (1, H, M, d)
            told = (marks.inverse @ seen).to(seen.dtype)
            mixed = F.scaled_dot_product_attention(queries, marks.keys, told, attn_mask=marks.log_count[None])
        asked = queries.shape[-2]
        reach = asked + self.residual.kernel_size[0] // 2  # the convolution of the first rows sees no further
        mixed = mixed + self.residual(values[..., :reach, :])[..., :asked, :]
        merged: Tensor = self.output(mixed[0].transpose(0, 1).flatten(1))
        return self.dropout(merged)

    def _landmarks(self, tokens: Tensor) -> Landmarks:
        pads = -len(tokens) % self.landmarks
        length = (len(tokens) + pads) // self.landmarks
        empty, shared = divmod(pads, length)  # landmarks of zeros alone; zeros in the first real one
        means = F.pad(tokens, (0, 0, shared, 0)).unflatten(0, (-1, length)).mean(1)  # (m - empty, dim)
        count = means.new_ones(len(means))
        if empty:
            means = F.pad(means, (0, 0, 1, 0))
            count = F.pad(count, (1, 0), value=float(empty))
        query, key, _ = self.qkv.weight.chunk(3)
        queries, keys = self._heads(means, query), self._heads(means, key)
        log_pads = log(pads) if pads else None
        inverse = _inverse(_softmax(queries, keys, count.log()), count)
        return Landmarks(queries, keys, count.log().to(queries.dtype), log_pads, inverse)


def _pad(heads: Tensor, log_pads: float | None) -> Tensor:
    """Append one zero token when there are zero rows: (1, H, n, d) → (1, H, n + 1, d)."""
    return heads if log_pads is None else F.pad(heads, (0, 0, 0, 1))


def _pad_bias(tokens: int, log_pads: float | None, like: Tensor) -> Tensor | None:
    """(1, n + 1) score bias that lets the appended zero token count as often as there are zero rows."""
    return None if log_pads is None else F.pad(like.new_zeros(1, tokens), (0, 1), value=log_pads)


def _softmax(queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
    """(1, H, a, d), (1, H, b, d) → (1, H, a, b) attention, in the precision of the weights."""
    with torch.autocast(queries.device.type, enabled=False):
        wide = torch.promote_types(queries.dtype, torch.float32)  # bfloat16 would ruin the pseudo-inverse
        scores = queries.to(wide) @ keys.to(wide).transpose(-1, -2) / queries.shape[-1] ** 0.5
        return (scores if bias is None else scores + bias).softmax(-1)


def _inverse(attention: Tensor, count: Tensor, *, iterations: int = 6) -> Tensor:
    """Approximate the pseudo-inverse of landmark attention by the iteration of Razavi et al. (2014).

    With landmarks that count several times, products of the full matrices A B become A D B of the distinct ones,
    D the counts; D^½ A D^½ turns them into plain products.

    Args:
        attention: (1, H, M, M) rows that sum to 1, counts already in the columns: A D.
        count: (M,) how often each landmark stands in the full matrix.
        iterations: six, as everywhere in the field; more come closer to the inverse.

    Returns:
        (1, H, M, M) Z D, to be applied to what the distinct landmarks saw, from between two softmaxes.
    """
    with torch.autocast(attention.device.type, enabled=False):
        root = count.to(attention.dtype).sqrt()
        a = root[:, None] * attention / root  # D^½ A D^½
        columns = (count[:, None] * attention).sum(-2) / count  # of the full matrix
        z = a.transpose(-1, -2) / (attention.sum(-1).max() * columns.max())
        for _ in range(iterations):
            az = a @ z
            z = (13 * z - z @ (15 * az - az @ (7 * az - az @ az))) / 4
        return z * root / root[:, None]
