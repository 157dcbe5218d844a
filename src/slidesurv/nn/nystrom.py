"""Self-attention of long bags through landmarks (Xiong et al., AAAI 2021), as TransMIL uses it, and its exact peer.

The literature's layer prepends p zero rows so that the number of tokens becomes a multiple of the landmarks, and does
not mask them. They take part in every softmax, so a faithful layer must keep them; but they are all alike, so here
they are kept as one token that counts p times, and the landmarks made of nothing but them as one landmark that counts
as often. The result is the same function of the same weights:

* softmax(q k̃ᵀ) · (pinv · (softmax(q̃ kᵀ) v)) is multiplied from the right, so nothing of size N × landmarks is kept;
* landmarks are projected means, which equal means of projections, so the last layer of an encoder need not project
  the queries of all tokens when only the first is asked;
* the last steps of the pseudo-inverse act on what it is applied to: the inverse itself is never made.
"""

from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["SelfAttention"]

ITERATIONS = 6  # of the pseudo-inverse, as everywhere in the field; more come closer to it


class Inverse(NamedTuple):
    """Pseudo-inverse of the attention of landmarks, to be applied from between two softmaxes.

    With landmarks that count several times, products of the full matrices A B become A D B of the distinct ones,
    D the counts; D^½ A D^½ turns them into plain products.

    Attributes:
        a: (1, H, M, M) D^½ A D^½.
        z: (1, H, M, M) its approximate inverse, ``late`` iterations before the last.
        root: (M,) D^½.
        late: iterations left for what it is applied to: 7 thin products instead of 4 square ones.
    """

    a: Tensor
    z: Tensor
    root: Tensor
    late: int

    def of_columns(self, seen: Tensor) -> Tensor:
        """(1, H, M, d) what the distinct landmarks saw → (1, H, M, d) Z D of it."""
        with torch.autocast(seen.device.type, enabled=False):
            root = self.root[:, None]
            return _apply(self.a, self.z, root * seen.to(self.z), self.late) / root

    def of_rows(self, weights: Tensor) -> Tensor:
        """(1, H, rows, M) → (1, H, rows, M), multiplied by Z D from the right."""
        with torch.autocast(weights.device.type, enabled=False):
            columns = (weights.to(self.z) / self.root).mT
            return _apply(self.a.mT, self.z.mT, columns, self.late).mT * self.root


class Landmarks(NamedTuple):
    """The landmarks of one bag, alike ones counted.

    Attributes:
        queries, keys: (1, H, M, d).
        log_count: (M,) log of how often each landmark stands in the literature's layer.
        log_pads: log of the number of zero rows; None when there are none.
        inverse: pseudo-inverse of softmax(q̃ k̃ᵀ).
    """

    queries: Tensor
    keys: Tensor
    log_count: Tensor
    log_pads: float | None
    inverse: Inverse


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
        self.heads, self.landmarks, self.exact, self.reach = heads, landmarks, exact, kernel // 2
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.output = nn.Linear(dim, dim)
        self.residual = nn.Conv2d(heads, heads, (kernel, 1), padding=(self.reach, 0), groups=heads, bias=False)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (n, dim)."""
        queries, keys, values = self._heads(tokens, self.qkv.weight).chunk(3, dim=1)
        return self._merge(self._attend(tokens, queries, keys, values), values)

    def first(self, tokens: Tensor, rows: int = 1) -> Tensor:
        """(n, dim) → (rows, dim), those of the first tokens; equal to ``forward(tokens)[:rows]`` and cheaper."""
        query, key, value = self.qkv.weight.chunk(3)
        near = rows + self.reach  # the convolution of these rows sees no further
        if rows * self.heads < self.qkv.in_features:  # then values can wait until tokens are summed
            seen = self._first_rows(tokens, rows).to(tokens.dtype) @ tokens  # (H, rows, dim)
            mixed = (seen @ value.unflatten(0, (self.heads, -1)).mT)[None]  # (1, H, rows, d)
            return self._merge(mixed, self._heads(tokens[:near], value))
        keys, values = self._heads(tokens, key), self._heads(tokens, value)
        return self._merge(self._attend(tokens, self._heads(tokens[:rows], query), keys, values), values[..., :near, :])

    def first_row(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (H, n) what the first token attends to; with landmarks a row may be negative and not sum to 1."""
        return self._first_rows(tokens, 1)[:, 0]

    def _first_rows(self, tokens: Tensor, rows: int) -> Tensor:
        """(n, dim) → (H, rows, n) what the first tokens attend to."""
        query, key, _ = self.qkv.weight.chunk(3)
        asking = self._heads(tokens[:rows], query)
        if self.exact:
            asked = asking[0] @ key.unflatten(0, (self.heads, -1))  # (H, rows, dim): keys need not be made
            # undoes _softmax's √width of asked, dim wide, and divides by that of a head
            return _softmax(asked * (asked.shape[-1] / asking.shape[-1]) ** 0.5, tokens)
        marks = self._landmarks(tokens, late=2)
        weights = marks.inverse.of_rows(_softmax(asking, marks.keys, marks.log_count))  # (1, H, rows, M)
        keys = _pad(self._heads(tokens, key), marks.log_pads)
        bias = _pad_bias(len(tokens), marks.log_pads, keys)
        heads = zip(weights[0], marks.queries[0], keys[0], strict=True)  # one at a time: M × n is large
        return torch.stack([w @ _softmax(q, k, bias) for w, q, k in heads])[..., : len(tokens)]

    def _heads(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """(n, dim) → (1, k·H, n, d) for the k projections stacked in ``weight``."""
        width = self.qkv.in_features // self.heads
        return F.linear(tokens, weight).unflatten(-1, (-1, width)).transpose(0, 1)[None]

    def _attend(self, tokens: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(1, H, n, d) each → (1, H, n, d)."""
        if self.exact:
            return F.scaled_dot_product_attention(queries, keys, values)
        marks = self._landmarks(tokens, late=1)
        bias = _pad_bias(len(tokens), marks.log_pads, keys)
        padded = _pad(keys, marks.log_pads), _pad(values, marks.log_pads)
        seen = F.scaled_dot_product_attention(marks.queries, *padded, attn_mask=bias)  # (1, H, M, d)
        told = marks.inverse.of_columns(seen).to(seen.dtype)
        return F.scaled_dot_product_attention(queries, marks.keys, told, attn_mask=marks.log_count[None])

    def _merge(self, mixed: Tensor, values: Tensor) -> Tensor:
        """(1, H, n, d) and values, of more tokens or as many → (n, dim)."""
        mixed = mixed + self.residual(values)[..., : mixed.shape[-2], :]
        merged: Tensor = self.output(mixed[0].transpose(0, 1).flatten(1))
        return self.dropout(merged)

    def _landmarks(self, tokens: Tensor, *, late: int) -> Landmarks:
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
        inverse = _inverse(_softmax(queries, keys, count.log()), count, late=late)
        return Landmarks(queries, keys, count.log().to(queries.dtype), log_pads, inverse)


def _pad(heads: Tensor, log_pads: float | None) -> Tensor:
    """Append one zero token when there are zero rows: (1, H, n, d) → (1, H, n + 1, d)."""
    return heads if log_pads is None else F.pad(heads, (0, 0, 0, 1))


def _pad_bias(tokens: int, log_pads: float | None, like: Tensor) -> Tensor | None:
    """(1, n + 1) score bias that lets the appended zero token count as often as there are zero rows."""
    return None if log_pads is None else F.pad(like.new_zeros(1, tokens), (0, 1), value=log_pads)


def _softmax(queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, a, d), (…, b, d) → (…, a, b) attention, in the precision of the weights."""
    with torch.autocast(queries.device.type, enabled=False):
        wide = torch.promote_types(queries.dtype, torch.float32)  # bfloat16 would ruin the pseudo-inverse
        scores = (queries.to(wide) / queries.shape[-1] ** 0.5) @ keys.to(wide).transpose(-1, -2)
        return (scores if bias is None else scores + bias).softmax(-1)


def _inverse(attention: Tensor, count: Tensor, *, late: int) -> Inverse:
    """Approximate the pseudo-inverse of landmark attention by the iteration of Razavi et al. (2014).

    Args:
        attention: (1, H, M, M) rows that sum to 1, counts already in the columns: A D.
        count: (M,) how often each landmark stands in the full matrix.
        late: the last of its ITERATIONS, which wait for what the inverse is applied to.
    """
    with torch.autocast(attention.device.type, enabled=False):
        root = count.to(attention.dtype).sqrt()
        a = root[:, None] * attention / root  # D^½ A D^½
        columns = (count[:, None] * attention).sum(-2) / count  # of the full matrix
        z = a.transpose(-1, -2) / (attention.sum(-1).max() * columns.max())
        for _ in range(ITERATIONS - late):
            az = a @ z
            z = (13 * z - z @ (15 * az - az @ (7 * az - az @ az))) / 4
        return Inverse(a, z, root, late)


def _apply(a: Tensor, z: Tensor, right: Tensor, iterations: int) -> Tensor:
    """Multiply what z will be after some iterations by (1, H, M, k), without making it."""
    if not iterations:
        return z @ right
    x = right
    for factor in (7, 15, 13):
        x = factor * right - a @ _apply(a, z, x, iterations - 1)
    return _apply(a, z, x, iterations - 1) / 4
