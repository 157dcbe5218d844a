"""Prototypes: k-means over the tiles of many patients, with few passes over the whole and no copy of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from slidesurv.errors import DataError
from slidesurv.selection.lloyd import between, lloyd, nearest, spread
from slidesurv.types import Bag

__all__ = ["Prototypes", "first_tiles", "fit_prototypes", "sample_tiles"]

FUNNEL = ((1_000, 40, 4), (8_000, 6, 4), (40_000, 1, 8))  # tiles seen, starts that go on, passes of each
LOOKS = 400_000  # at tiles, in the end: 2 passes over 200,000 or more, 10 over 40,000

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
        fresh, everyone = rng.random(len(bag)), np.arange(len(bag))
        room = seen + len(bag) <= limit  # then nobody gives way
        slots, drawn = (seen + everyone, everyone) if room else _exchange(keys, fresh)
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
    """Take the first ceil(limit / bags) tiles of each bag, in one pass. Memory: three times ``limit`` tiles.

    Returns:
        (n, D) float32, in the order of the bags; fewer than ``limit`` where bags are small.

    Raises:
        DataError: there is no tile.

    Source:
        Song et al., PANTHER (CVPR 2024).
    """
    kept: list[Tensor] = []
    for bag in bags:
        kept.append(bag.features[: ceil(limit / (len(kept) + 1))].to(torch.float32, copy=True))
        if len(kept) & (len(kept) - 1) == 0:  # a power of two: let go of what the share has shrunk by
            for number, tiles in enumerate(kept):
                kept[number] = tiles[: ceil(limit / len(kept))].clone()
    if not any(map(len, kept)):
        raise DataError(NO_TILES)
    return torch.cat([tiles[: ceil(limit / len(kept))] for tiles in kept])


def fit_prototypes(tiles: Tensor, *, count: int = 16, seed: int = 0) -> Prototypes:
    """Find the ``count`` most typical tiles by k-means.

    Many starts compete on few tiles, the best of them on more; the winner settles, then sees every tile twice.

    Args:
        tiles: (n, D) float32 of training patients; may be memory-mapped.
        count: C, prototypes.
        seed: of the subsamples and starts.

    Returns:
        C prototypes; their variance is measured on at most 40,000 tiles.

    Raises:
        DataError: there are fewer than ``count`` different tiles.

    Source:
        Arthur and Vassilvitskii, k-means++ (SODA 2007); Lloyd, IEEE Trans. Inf. Theory 1982.
    Differs:
        Few passes over all tiles instead of convergence: benchmarks/selection.py shows what that costs.
    """
    generator = torch.Generator().manual_seed(seed)
    some = tiles[torch.randperm(len(tiles), generator=generator)[: FUNNEL[-1][0]]]
    start = _different(some[: FUNNEL[0][0]], tiles, count)
    rivals = [_seeds(start, count, generator) for _ in range(FUNNEL[0][1])]
    for size, starts, passes in FUNNEL:
        fits = [lloyd(some[:size], means, passes=passes) for means in rivals[:starts]]
        rivals = [means for means, _ in sorted(fits, key=lambda fit: between(*fit), reverse=True)]
    means, _ = lloyd(tiles, rivals[0], passes=max(2, LOOKS // len(tiles)))
    return Prototypes(means, spread(some, means, nearest(some, means)))


def _different(start: Tensor, tiles: Tensor, count: int) -> Tensor:
    """Return ``start`` if it holds ``count`` different tiles, else all different tiles there are."""
    if len(np.unique(start.numpy(), axis=0)) >= count:
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
    centred = tiles - tiles.mean(0)
    norms = torch.linalg.vector_norm(centred, dim=1) ** 2  # (n,)

    def distances(rows: Tensor) -> Tensor:
        """(n, rows) squared distances."""
        return (norms[:, None] + norms[rows] - 2 * (centred @ centred[rows].T)).clamp(min=0)

    seeds = torch.randint(len(tiles), (1,), generator=generator)
    gaps = distances(seeds)[:, 0]  # (n,) to the nearest seed
    for _ in range(count - 1):
        drawn = torch.multinomial(gaps + 1e-30, 4, replacement=True, generator=generator)
        closer = distances(drawn).minimum(gaps[:, None])  # (n, 4)
        best = closer.sum(0).argmin()
        seeds, gaps = torch.cat([seeds, drawn[best, None]]), closer[:, best]
    return tiles[seeds]
