"""Algorithm 1: the tiles that speak most and least clearly for each prototype."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from slidesurv.errors import ConfigError
from slidesurv.selection.mixture import ROWS, Mixture

__all__ = ["Selection", "scores", "select"]

CLUSTERS = 16  # of the paper: its divisors 16 and 32 are a cluster's quota and half of it


@dataclass(frozen=True, slots=True)
class Selection:
    """The tiles chosen from a bag, and how.

    Attributes:
        tiles: (M,) int64 indices into the bag, each once: whole clusters, then the low and high end of each large
            cluster, then the fill.
        certain: how many were chosen by rule; the fill comes after them.
        counts: (C,) int64 tiles of each cluster.
        branches: "a", "b" or "c" for each cluster: taken whole, by its two ends, or as ``middle`` says; empty when
            the bag was small enough to be taken whole.
        ties: share in [0, 1] of the bag's tiles that have the score of another tile of their cluster.
    """

    tiles: Tensor
    certain: int
    counts: Tensor
    branches: tuple[str, ...]
    ties: float

    @property
    def share_filled(self) -> float:
        """Share in [0, 1] of the chosen tiles that no rule chose; a larger value means that the mixture collapsed."""
        return 1 - self.certain / len(self.tiles) if self.branches else 0.0

    @property
    def clusters_full(self) -> int:
        """Clusters with their quota of tiles or more; a smaller value means that the mixture collapsed."""
        return self.branches.count("b")


def select(
    labels: Tensor,
    scores: Tensor,
    *,
    keep: int,
    clusters: int,
    quota: Literal["release", "clusters"] = "release",
    middle: Literal["none", "all", "both_ends"] = "none",
    generator: torch.Generator | None = None,
) -> Selection:
    """Choose ``keep`` tiles by cluster and score.

    A cluster of fewer than half its quota is taken whole (a); one of its quota or more gives its ``half`` lowest and
    ``half`` highest scores (b); one between gives what ``middle`` says (c). Tiles not yet taken fill up.

    Args:
        labels: (N,) int64 cluster of each tile, in [0, C).
        scores: (N,) float; the two ends are taken, so that its sign does not matter. Ties go by place in the bag.
        keep: N_S, tiles to choose; a bag of no more is taken whole.
        clusters: C.
        quota: of a cluster: "release" is keep / 16 whatever C, "clusters" is keep / C. Half of it is rounded down.
        middle: tiles of a cluster between: none, all, or its ends as in (b).
        generator: of the fill, drawn uniformly; without it the first tiles of the bag fill up.

    Returns:
        min(keep, N) different tiles.

    Raises:
        ConfigError: the quotas of all clusters add up to more than ``keep``.

    Source:
        Chen et al., VGAT (2025), Algorithm 1.
    Differs:
        The paper's topK over the largest γ is by rank; it leaves (c) open: docs/deviations.md#selection.
    """
    share = keep / _divisor(quota, clusters)
    counts = labels.bincount(minlength=clusters)
    order, ties = _ranked(labels, scores)
    if len(labels) <= keep:
        return Selection(torch.arange(len(labels), device=labels.device), 0, counts, (), ties)
    small, large = counts < share / 2, counts >= share
    between = ~(small | large)
    whole = small | between if middle == "all" else small
    by_ends = large | between if middle == "both_ends" else large
    ends = _is_end(labels[order], counts, half=int(share / 2)) & by_ends[labels[order]]
    rule = torch.cat([_clusters(labels, whole), order[ends]])
    tiles = torch.cat([rule, _fill(rule, len(labels), keep - len(rule), generator)])
    branches = ("a" if s else "b" if b else "c" for s, b in zip(small.tolist(), large.tolist(), strict=True))
    return Selection(tiles, len(rule), counts, tuple(branches), ties)


def _divisor(quota: str, clusters: int) -> int:
    if quota == "clusters":
        return clusters
    if clusters > CLUSTERS:
        raise ConfigError(
            f'{clusters} clusters share the tiles, and quota = "release" gives each a {CLUSTERS}th of them. '
            f'Set quota = "clusters", or use at most {CLUSTERS} clusters.'
        )
    return CLUSTERS


def _ranked(labels: Tensor, scores: Tensor) -> tuple[Tensor, float]:
    """(N,) tiles by cluster, then score, then place in the bag; and the share that is tied within its cluster."""
    order = scores.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    label, score = labels[order], scores[order]
    same = (label[1:] == label[:-1]) & (score[1:] == score[:-1])  # (N - 1,) as the tile before
    tied = pad(same, (1, 0)) | pad(same, (0, 1))
    return order, tied.double().mean().item() if len(tied) else 0.0


def _is_end(labels: Tensor, counts: Tensor, *, half: int) -> Tensor:
    """(N,) whether a tile is among the first or last ``half`` of its cluster; labels are sorted."""
    rank = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels]
    return (rank < half) | (rank >= counts[labels] - half)


def _clusters(labels: Tensor, wanted: Tensor) -> Tensor:
    """Every tile of the wanted clusters, cluster by cluster, in the order of the bag."""
    tiles = wanted[labels].nonzero()[:, 0]
    return tiles[labels[tiles].argsort(stable=True)]


def _fill(rule: Tensor, n: int, missing: int, generator: torch.Generator | None) -> Tensor:
    """(missing,) tiles that no rule chose: the first ones of the bag, or drawn."""
    free = torch.ones(n, dtype=torch.bool, device=rule.device)
    free[rule] = False
    rest = free.nonzero()[:, 0]
    if generator is None:
        return rest[:missing]
    return rest[torch.randperm(len(rest), generator=generator)[:missing].to(rest.device)]


Score = Literal["log_odds", "posterior_f32", "posterior_f64", "mahalanobis", "log_likelihood"]


def scores(mixture: Mixture, features: Tensor, kind: Score = "log_odds") -> Tensor:
    """Score how clearly each tile speaks.

    Args:
        mixture: fitted to the same N tiles, C components.
        features: (N, D).
        kind: "log_odds" ranks as γ does, without its ties; "posterior_f32" is the largest γ as released, in float32,
            one for most tiles; "posterior_f64" is it in float64, one for fewer; "mahalanobis" is minus the squared
            distance to the own mean in own variances; "log_likelihood" is that of the whole mixture.

    Returns:
        (N,); a larger value means a surer, nearer or more typical tile.
    """
    return SCORES[kind](mixture, features)


def _posterior(joint: Tensor) -> Tensor:
    return (joint - joint.logsumexp(1, keepdim=True)).exp().amax(1)  # rounded in each step, as released


def _mahalanobis(mixture: Mixture, features: Tensor) -> Tensor:
    near = [
        -((tiles - mixture.means[k]) ** 2 / mixture.variances[k]).sum(1)
        for tiles, k in zip(features.split(ROWS), mixture.labels.split(ROWS), strict=True)
    ]
    return torch.cat(near)


SCORES: dict[Score, Callable[[Mixture, Tensor], Tensor]] = {
    "log_odds": lambda mixture, _: mixture.log_odds,
    "posterior_f32": lambda mixture, _: _posterior(mixture.log_joint.float()),
    "posterior_f64": lambda mixture, _: _posterior(mixture.log_joint.double()),
    "mahalanobis": _mahalanobis,
    "log_likelihood": lambda mixture, _: mixture.log_joint.logsumexp(1),
}
