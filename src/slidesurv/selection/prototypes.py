"""Prototypes: k-means over the tiles of many patients, with few passes over the whole and no copy of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from slidesurv.errors import DataError
from slidesurv.types import Bag

__all__ = ["Prototypes", "first_tiles", "fit_prototypes", "sample_tiles"]

RESTARTS = 40  # many on few tiles find better starts, in less time, than 10 on 8,000
START = 2_000  # tiles on which the restarts compete
REFINE = 40_000  # tiles on which the best of them settles
LOOKS = 600_000  # at tiles, while settling: 15 passes over 40,000, up to 50 over fewer
ROWS = 1024  # tiles looked at together: few enough to stay in the processor's cache

NO_TILES = "The training patients have no tiles to make prototypes from. Check their feature files, or the split."


@dataclass(frozen=True, slots=True)
class Prototypes:
    """Typical tiles.

    Attributes:
        means: (C, D) float32, the mean tile of each cluster.
        variance: (D,) float32, mean squared distance of a tile to its own prototype, per feature.
    """

    means: Tensor
    variance: Tensor


def sample_tiles(bags: Iterable[Bag], *, limit: int = 1_000_000, seed: int = 0) -> Tensor:
    """Draw tiles uniformly, without replacement, from all tiles of all bags, in one pass.

    Every tile draws a random key; those with the smallest keys stay. Memory: ``limit`` tiles and one bag.

    Args:
        bags: read once, in order.
        limit: tiles to draw.
        seed: of the keys; how the tiles are shared out among bags changes nothing.

    Returns:
        (min(limit, tiles), D) float32, in the order of the bags.

    Raises:
        DataError: there is no tile.
    """
    rng = np.random.default_rng(seed)
    keys = np.arange(limit, 0, -1.0) + 1  # an empty slot loses to any tile, the first slot first
    places = np.zeros(limit, np.int64)
    tiles, seen = torch.empty(0), 0
    for bag in bags:
        if not seen:
            tiles = torch.empty(limit, bag.features.shape[1])  # memory is only taken as rows are written
        fresh = rng.random(len(bag))
        slots, drawn = _exchange(keys, fresh)
        tiles[slots] = bag.features[drawn].to(tiles)
        keys[slots], places[slots] = fresh[drawn], seen + drawn
        seen += len(bag)
    if not seen:
        raise DataError(NO_TILES)
    return _in_order(tiles[:seen], places[:seen])


def _exchange(keys: np.ndarray, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Say which slots give way to which newcomers, so that the smallest keys of both stay."""
    both = np.concatenate([keys, fresh])
    stays = np.zeros(len(both), bool)
    stays[both.argpartition(len(keys) - 1)[: len(keys)]] = True
    return np.flatnonzero(~stays[: len(keys)]), np.flatnonzero(stays[len(keys) :])


def _in_order(tiles: Tensor, places: np.ndarray) -> Tensor:
    """Sort rows by their place, a few columns at a time: the extra memory is a small share of the tiles'."""
    order = torch.from_numpy(places.argsort())
    for columns in tiles.split(64, dim=1):
        columns.copy_(columns[order])
    return tiles


def first_tiles(bags: Iterable[Bag], *, limit: int = 1_000_000) -> Tensor:
    """Take the first ceil(limit / bags) tiles of each bag, in one pass.

    Returns:
        (n, D) float32, in the order of the bags; fewer than ``limit`` where bags are small.

    Raises:
        DataError: there is no tile.

    Source:
        Song et al., PANTHER (CVPR 2024).
    """
    kept: list[Tensor] = []
    for bag in bags:
        kept.append(bag.features[: ceil(limit / (len(kept) + 1))].float())
        if len(kept) & (len(kept) - 1) == 0:  # a power of two: let go of what the share has shrunk by
            kept = [tiles[: ceil(limit / len(kept))].clone() for tiles in kept]
    if not any(map(len, kept)):
        raise DataError(NO_TILES)
    return torch.cat([tiles[: ceil(limit / len(kept))] for tiles in kept])


def fit_prototypes(tiles: Tensor, *, count: int = 16, seed: int = 0) -> Prototypes:
    """Find the ``count`` most typical tiles by k-means.

    Restarts compete on a few tiles, the best settles on some more, and two Lloyd passes see them all.

    Args:
        tiles: (n, D) float32 of training patients; may be memory-mapped.
        count: C, prototypes.
        seed: of the subsamples and starts.

    Returns:
        C prototypes.

    Raises:
        DataError: there are fewer than ``count`` different tiles.

    Source:
        Arthur and Vassilvitskii, k-means++ (SODA 2007); Lloyd, IEEE Trans. Inf. Theory 1982.
    Differs:
        Few passes instead of convergence; see benchmarks/selection.py for the price in squared distance.
    """
    generator = torch.Generator().manual_seed(seed)
    some = tiles[torch.randperm(len(tiles), generator=generator)[:REFINE]]
    start = _different(some[:START], tiles, count)
    shift = start.mean(0)
    start = start - shift  # squared distances are differences of large numbers unless the mean is taken out
    starts = [_lloyd(start, _seeds(start, count, generator), passes=5) for _ in range(RESTARTS)]
    means, _ = min(starts, key=lambda fit: _spread(start, *fit).sum().item())
    means, _ = _lloyd(some, means + shift, passes=min(50, LOOKS // len(some)))
    means, labels = _lloyd(tiles, means, passes=2)
    return Prototypes(means, _spread(tiles, means, labels))


def _different(start: Tensor, tiles: Tensor, count: int) -> Tensor:
    """Return ``start`` if it holds ``count`` different tiles, else all different tiles there are."""
    for few in (start[:500], start):
        if len(np.unique(few.numpy(), axis=0)) >= count:
            return start
    unique = np.unique(tiles.numpy(), axis=0)
    if len(unique) < count:
        raise DataError(
            f"The training patients have {len(unique)} different tiles, too few for {count} prototypes. "
            "Ask for fewer prototypes, or check that the features are not all the same."
        )
    return torch.from_numpy(unique)


def _seeds(tiles: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(C, D) k-means++: a seed is drawn by its squared distance to the seeds so far, the best of four draws."""
    norms = torch.linalg.vector_norm(tiles, dim=1) ** 2  # (n,)

    def distances(rows: Tensor) -> Tensor:
        """(n, rows) squared distances."""
        return (norms[:, None] + norms[rows] - 2 * (tiles @ tiles[rows].T)).clamp(min=0)

    seeds = torch.randint(len(tiles), (1,), generator=generator)
    nearest = distances(seeds)[:, 0]
    for _ in range(count - 1):
        drawn = torch.multinomial(nearest + 1e-30, 4, replacement=True, generator=generator)
        closer = distances(drawn).minimum(nearest[:, None])  # (n, 4)
        best = closer.sum(0).argmin()
        seeds, nearest = torch.cat([seeds, drawn[best, None]]), closer[:, best]
    return tiles[seeds]


def _lloyd(tiles: Tensor, means: Tensor, *, passes: int) -> tuple[Tensor, Tensor]:
    """Move each prototype to the mean of its tiles, until no tile changes sides.

    Returns:
        (C, D) means and the (n,) labels that they are the means of.
    """
    labels = torch.empty(0, dtype=torch.int64)
    for _ in range(passes):
        before, labels = labels, _fill_empty(tiles, means, _nearest(tiles, means))
        if torch.equal(labels, before):
            break
        means = _centres(tiles, labels, means)
    return means, labels


def _nearest(tiles: Tensor, means: Tensor) -> Tensor:
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


def _spread(tiles: Tensor, means: Tensor, labels: Tensor) -> Tensor:
    """(D,) mean squared distance of a tile to its prototype, per feature."""
    total = torch.zeros(tiles.shape[1], dtype=torch.float64)
    for squares in _squares(tiles, means, labels):
        total += squares.sum(0)
    return (total / len(tiles)).to(tiles)


def _squares(tiles: Tensor, means: Tensor, labels: Tensor) -> Iterator[Tensor]:
    """Squared differences between tiles and their prototypes, (ROWS, D) at a time."""
    for x, k in zip(tiles.split(ROWS), labels.split(ROWS), strict=True):
        yield (x - means[k]).square_()
