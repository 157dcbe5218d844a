"""Lloyd's passes over many tiles, a thousand at a time: no copy of the tiles is made."""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["between", "lloyd", "nearest", "spread"]

ROWS = 1024  # tiles looked at together: few enough to stay in the processor's cache


def lloyd(tiles: Tensor, means: Tensor, *, passes: int) -> tuple[Tensor, Tensor]:
    """Move each prototype to the mean of its tiles, until no tile changes sides.

    Returns:
        (C, D) means and the (n,) labels that they are the means of.
    """
    labels = torch.empty(0, dtype=torch.int64)
    for _ in range(passes):
        before, labels = labels, _fill_empty(tiles, means, nearest(tiles, means))
        if torch.equal(labels, before):
            break
        means = _centres(tiles, labels, means)
    return means, labels


def nearest(tiles: Tensor, means: Tensor) -> Tensor:
    """(n,) the nearest prototype of each tile."""
    shift = means.mean(0)
    centred = means - shift
    bias = (centred**2).sum(1) / 2 + centred @ shift
    return torch.cat([(x @ centred.T - bias).argmax(1) for x in tiles.split(ROWS)])


def _fill_empty(tiles: Tensor, means: Tensor, labels: Tensor) -> Tensor:
    """Give each cluster that has lost every tile one of those farthest from their prototypes."""
    empty = (labels.bincount(minlength=len(means)) == 0).nonzero()[:, 0]
    if len(empty):
        distances = torch.cat([squares.sum(1) for squares in _squares(tiles, means, labels)])
        labels[distances.topk(len(empty)).indices] = empty
    return labels


def _centres(tiles: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """(C, D) mean tile of each cluster; the old one where a cluster is empty."""
    sums = torch.zeros(means.shape, dtype=torch.float64)
    for x, k in zip(tiles.split(ROWS), labels.split(ROWS), strict=True):
        sums += torch.zeros_like(means).index_add_(0, k, x)
    counts = labels.bincount(minlength=len(means))[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), means).to(means)


def between(means: Tensor, labels: Tensor) -> float:
    """Mean squared distance between prototypes and the mean tile: a larger value leaves less within the clusters."""
    shares = labels.bincount(minlength=len(means)).double() / len(labels)
    offsets = means - shares @ means.double()
    return (shares @ (offsets**2).sum(1)).item()


def spread(tiles: Tensor, means: Tensor, labels: Tensor) -> Tensor:
    """(D,) mean squared distance of a tile to its prototype, per feature."""
    total = torch.zeros(tiles.shape[1], dtype=torch.float64)
    for squares in _squares(tiles, means, labels):
        total += squares.sum(0)
    return (total / len(tiles)).to(tiles)


def _squares(tiles: Tensor, means: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """Squared differences between tiles and their prototypes, (ROWS, D) at a time."""
    for x, k in zip(tiles.split(ROWS), labels.split(ROWS), strict=True):
        yield (x - means[k]).square_()
