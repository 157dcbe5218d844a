"""Ways of choosing tiles that Algorithm 1 is compared with: all, any, and by distance to the nearest prototype."""

import torch
from torch import Tensor

from slidesurv.selection.mixture import ROWS

__all__ = ["select_all", "select_cluster", "select_random"]


def select_all(n: int) -> Tensor:
    """(n,) int64: every tile, in order."""
    return torch.arange(n)


def select_random(n: int, keep: int, generator: torch.Generator) -> Tensor:
    """(min(keep, n),) int64 different tiles, drawn uniformly; all, in order, when there are no more."""
    return torch.randperm(n, generator=generator)[:keep] if n > keep else select_all(n)


def select_cluster(features: Tensor, prototypes: Tensor, keep: int) -> Tensor:
    """Take the tiles nearest to and farthest from their nearest prototype, one half each.

    Args:
        features: (N, D).
        prototypes: (C, D).
        keep: tiles to choose; of an odd number the farther half is the larger.

    Returns:
        (min(keep, N),) int64, by rising distance; all tiles, in order, when there are no more. Ties go by place.

    Source:
        Chen et al., VGAT (2025), Table IV, "Cluster-based".
    """
    if len(features) <= keep:
        return select_all(len(features)).to(features.device)
    shift = prototypes.double().mean(0)
    centred = prototypes.double() - shift
    nearest = torch.cat([torch.cdist(tiles - shift, centred).amin(1) for tiles in features.split(ROWS)])  # (N,)
    order = nearest.argsort(stable=True)
    return torch.cat([order[: keep // 2], order[len(order) - (keep - keep // 2) :]])
