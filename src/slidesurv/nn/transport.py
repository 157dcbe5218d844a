"""Unbalanced optimal transport between a few tokens and many tiles."""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Reference", "sinkhorn", "transport_cost"]

Reference = Literal["entropy", "kl"]


@torch.no_grad()
def transport_cost(tokens: Tensor, tiles: Tensor) -> Tensor:
    """Measure how far every tile lies from every token; no gradient runs through it.

    Args:
        tokens: (L, dim).
        tiles: (N, dim), or (K, N, dim) for K chunks at once.

    Returns:
        (..., L, N) float64 squared distances over their largest, in [0, 1], once the smallest feature of each row was
        taken from it; zeros where all rows are alike.

    Source:
        Xu and Chen, MOTCat, ICCV 2023.
    """
    with torch.autocast(tiles.device.type, enabled=False):
        wide = torch.promote_types(tiles.dtype, torch.float32)  # squares of bfloat16 would leave no digit of a distance
        tokens, tiles = (rows.to(wide) - rows.to(wide).amin(-1, keepdim=True) for rows in (tokens, tiles))
        squares = tokens.square().sum(-1)[:, None] + tiles.square().sum(-1)[..., None, :]  # (..., L, N)
        distances = (squares - 2 * tokens @ tiles.mT).clamp(min=0).double()
    largest = distances.amax((-2, -1), keepdim=True)
    return distances / largest.where(largest > 0, 1.0)


@torch.no_grad()
def sinkhorn(
    cost: Tensor,
    *,
    epsilon: float,
    tau: float,
    reference: Reference = "entropy",
    stop: float = 1e-6,
    most: int = 1000,
) -> Tensor:
    """Plan how much of each tile goes to each token where mass may be left behind.

    Tokens share a mass of 1 evenly, and so do tiles; neither has to be used up.

    Args:
        cost: (L, N), or (K, L, N) for K chunks at once, float64.
        epsilon: weight of the regularisation; a larger value spreads the plan.
        tau: weight of the marginals; a larger value leaves less mass behind.
        reference: the plan is regularised by its "entropy", or by its "kl" divergence from the even plan. With the
            entropy its mass grows with N.
        stop: change between two rounds, relative to the scaling's largest entry, under which the search ends; of
            several chunks the last to come to rest decides.
        most: rounds.

    Returns:
        (..., L, N) plan; a larger value means more mass.

    Source:
        Chizat et al., Mathematics of Computation 2018; the stopping rule is that of the POT library.
    """
    L, N = cost.shape[-2:]
    kernel = (-cost / epsilon).exp()  # (..., L, N)
    if reference == "kl":
        kernel = kernel / (L * N)
    power = tau / (tau + epsilon)
    tile, token = kernel.new_ones(*cost.shape[:-2], 1, N), kernel.new_ones(*cost.shape[:-2], 1, L)
    for _ in range(most):
        tile_before, token_before = tile, token
        tile = (N * token @ kernel) ** -power  # (..., 1, N)
        token = (L * (tile @ kernel.mT)) ** -power  # (..., 1, L)
        left = 2 * stop - _change(token, token_before)
        if (left > 0).all() and (_change(tile, tile_before) < left).all():  # the long side last, and rarely
            break
    return token.mT * kernel * tile


def _change(scaling: Tensor, before: Tensor) -> Tensor:
    """(..., n), (..., n) → (...) largest change, relative to the largest entry if that is above 1."""
    largest = torch.maximum(scaling.amax(-1), before.amax(-1)).clamp(min=1)
    return (scaling - before).abs().amax(-1) / largest
