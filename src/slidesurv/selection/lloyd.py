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
        before, (labels, sums) = labels, _look(_sides(tiles, means), means)
        empty = (labels.bincount(minlength=len(means)) == 0).nonzero()[:, 0]
        if len(empty):
            labels[_farthest(tiles, means, labels, len(empty))] = empty
            labels, sums = _look(_pairs(tiles, labels), means)
        if torch.equal(labels, before):
            break
        means = _centres(sums, labels, means)
    return means, labels


def nearest(tiles: Tensor, means: Tensor) -> Tensor:
    """(n,) the nearest prototype of each tile."""
    return torch.cat([k for _, k in _sides(tiles, means)])


def _sides(tiles: Tensor, means: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Tiles, ROWS at a time, and the nearest prototype of each."""
    shift = means.mean(0)
    centred = means - shift
    bias = (centred**2).sum(1) / 2 + centred @ shift
    for x in tiles.split(ROWS):
        yield x, (x @ centred.T - bias).argmax(1)


def _pairs(tiles: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Tiles, ROWS at a time, and their labels."""
    yield from zip(tiles.split(ROWS), labels.split(ROWS), strict=True)


def _look(pairs: Iterator[tuple[Tensor, Tensor]], means: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) labels and (C, D) sum of each cluster's tiles, which are added while they are in the cache."""
    labels, sums = [], torch.zeros(means.shape, dtype=torch.float64)
    for x, k in pairs:
        labels.append(k)
        sums += torch.zeros_like(means).index_add_(0, k, x)
    return torch.cat(labels), sums


def _farthest(tiles: Tensor, means: Tensor, labels: Tensor, count: int) -> Tensor:
    """(count,) the tiles farthest from their prototypes."""
    distances = torch.cat([squares.sum(1) for squares in _squares(tiles, means, labels)])
    return distances.topk(count).indices


def _centres(sums: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """(C, D) mean tile of each cluster; the old one where a cluster is empty."""
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
    for x, k in _pairs(tiles, labels):
        yield (x - means[k]).square_()
