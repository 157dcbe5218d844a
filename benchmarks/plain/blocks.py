"""Blocks that several methods share, with every row made."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slidesurv.nn.attention import CrossAttention
from slidesurv.nn.coattention import CoAttention
from slidesurv.nn.encoder import ClassTransformer
from slidesurv.nn.nystrom import SelfAttention
from slidesurv.nn.position import PyramidPosition

__all__ = ["class_token", "co_attention", "cross_attention", "encode", "self_attention"]


def self_attention(attention: SelfAttention, tokens: Tensor) -> Tensor:
    """(n, dim) → (n, dim) through landmarks: zero rows in front, matrices multiplied from the left."""
    m, heads = attention.landmarks, attention.heads
    n, dim = tokens.shape
    x = F.pad(tokens, (0, 0, -n % m, 0))
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in attention.qkv(x).chunk(3, -1))
    q = q * (dim // heads) ** -0.5
    landmark_q, landmark_k = (part.unflatten(1, (m, -1)).mean(2) for part in (q, k))
    a1, a2, a3 = (
        (a @ b.transpose(1, 2)).softmax(-1) for a, b in ((q, landmark_k), (landmark_q, landmark_k), (landmark_q, k))
    )
    z = a2.transpose(1, 2) / (a2.sum(-1).max() * a2.sum(-2).max())
    eye = torch.eye(m, dtype=x.dtype)
    for _ in range(6):
        az = a2 @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    out = (a1 @ z) @ (a3 @ v) + attention.residual(v[None])[0]
    return attention.dropout(attention.output(out.transpose(0, 1).flatten(1)))[-n:]


def encode(encoder: ClassTransformer, tokens: Tensor) -> Tensor:
    """(N, dim) → (1 + N', dim) class token and every token, of both layers."""
    if encoder.position is not None:
        side = int((len(tokens) - 1) ** 0.5) + 1
        tokens = torch.cat([tokens, tokens[: side * side - len(tokens)]])
    tokens = torch.cat([encoder.token[0], tokens])
    first, second = encoder.first_layer, encoder.second_layer
    tokens = tokens + self_attention(first.attention, first.norm(tokens))
    if encoder.position is not None:
        tokens = torch.cat([tokens[:1], _place(encoder.position, tokens[1:])])
    return encoder.norm(tokens + self_attention(second.attention, second.norm(tokens)))


def _place(place: PyramidPosition, tokens: Tensor) -> Tensor:
    """(s², dim) → (s², dim): three convolutions."""
    side = round(len(tokens) ** 0.5)
    image = tokens.T.reshape(1, -1, side, side)
    image = image + place.wide(image) + place.middle(image) + place.narrow(image)
    return image.flatten(2)[0].T


def class_token(encoder: ClassTransformer, tokens: Tensor) -> Tensor:
    """(N, dim) → (dim,), after every row was computed."""
    return encode(encoder, tokens)[0]


def co_attention(ask: CoAttention, queries: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """(L, dim), (N, dim) → (L, dim) answers and (L, N) scores, with a key and a value of every tile."""
    query, key, value = (
        F.linear(rows, weight, bias)
        for rows, weight, bias in zip(
            (queries, tiles, tiles), ask.qkv_weight.chunk(3), ask.qkv_bias.chunk(3), strict=True
        )
    )
    scores = query / query.shape[-1] ** 0.5 @ key.T
    return ask.output(scores.softmax(-1) @ value), scores


def cross_attention(ask: CrossAttention, queries: Tensor, tiles: Tensor) -> tuple[Tensor, Tensor]:
    """(L, dim), (N, dim) → (L, dim) answers and (heads, L, N) scores, with a key and a value of every tile."""
    query, key, value = (
        project(rows).unflatten(-1, (ask.heads, -1)).transpose(0, 1)
        for project, rows in ((ask.query, queries), (ask.key, tiles), (ask.value, tiles))
    )
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    answers = ask.dropout(scores.softmax(-1)) @ value
    return ask.dropout(ask.output(answers.transpose(0, 1).flatten(1))), scores
