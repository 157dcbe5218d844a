"""A mixture of Gaussians for one patient's tiles, held near the prototypes by a prior (MAP-EM)."""

from dataclasses import dataclass
from math import tau as TAU
from typing import NamedTuple, Self

import torch
from torch import Tensor

from slidesurv.errors import ConfigError, DataError

__all__ = ["Mixture", "map_em"]

ROWS = 256  # tiles looked at together: their statistics stay in the processor's cache
LINE = 16  # numbers between rows, so that they do not all fall on the same lines of the cache: a fifth faster
FLOOR = 1e-8  # of a variance: a feature that never changes must not divide by zero


@dataclass(frozen=True, slots=True)
class Mixture:
    """C Gaussians with diagonal covariance, and what they say about N tiles.

    Attributes:
        weights: (C,) share of each component, sums to one.
        means: (C, D).
        variances: (C, D).
        log_joint: (N, C) log of weight times density, of the last E-step; a larger value means a better fit.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor
    log_joint: Tensor

    @property
    def responsibilities(self) -> Tensor:
        """(N, C) γ, the probability of each component given the tile; rows sum to one."""
        return self.log_joint.softmax(1)

    @property
    def labels(self) -> Tensor:
        """(N,) int64, the component with the largest responsibility."""
        return self.log_joint.argmax(1)

    @property
    def log_odds(self) -> Tensor:
        """(N,) log γ / (1 - γ) of the best component; a larger value means that the tile is surer of it.

        Ranks tiles as γ does, but is still exact where γ rounds to one. Infinite when there is one component.
        """
        best, label = self.log_joint.max(1, keepdim=True)
        others = self.log_joint.scatter(1, label, -torch.inf).logsumexp(1)
        return best[:, 0] - others


@torch.no_grad()
def map_em(
    features: Tensor,
    prototypes: Tensor,
    variance: Tensor | float = 0.1,
    *,
    iterations: int = 3,
    strength: float = 10.0,
    update: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Mixture:
    """Fit a mixture to one patient's tiles, starting from the prototypes and drawn to them.

    Args:
        features: (N, D) tile features; N may be 0.
        prototypes: (C, D) prior means.
        variance: () or (D,) prior variance.
        iterations: E-steps.
        strength: τ, how many tiles the prior counts as, for each component.
        update: end with the M-step of the last E-step, as PANTHER's representation needs. Without it the parameters
            are those that the returned ``log_joint`` was computed with.
        dtype: float32 is faster; its log-odds of hundreds may be off by a tenth.

    Returns:
        The mixture after the last E-step.

    Raises:
        ConfigError: there are no iterations, or the prior has no strength.
        DataError: features and prototypes differ in width.

    Source:
        Chen et al., VGAT (2025), eqs. (2)-(3); Song et al., PANTHER (CVPR 2024).
    Differs:
        The prior mean of all prototypes is taken out first and sums run in float64. A variance is at least 1e-8.
    """
    if iterations < 1 or strength <= 0:
        raise ConfigError(
            f"The mixture has {iterations} iterations and a prior of strength {strength}: "
            "it needs at least 1 iteration and a strength above 0."
        )
    if features.shape[1] != prototypes.shape[1]:
        raise DataError(
            f"The tiles have {features.shape[1]} features and the prototypes {prototypes.shape[1]}. "
            "Fit the prototypes on the features of the same encoder."
        )
    shift = prototypes.to(dtype).mean(0)
    prior = _Gaussians.start(prototypes.to(dtype) - shift, variance)
    fitted = prior
    for step in range(1, iterations + 1):
        moments = shift.new_zeros(len(prototypes), 2 * len(shift) + 1) if step < iterations or update else None
        alike = step == 1 < iterations  # in their variances: x² says nothing of the components yet
        log_joint = _expect(features, shift, fitted, moments, squares=not alike)
        if moments is not None:
            fitted = _maximise(moments, prior, strength)
    return Mixture(fitted.weights, fitted.means + shift, fitted.variances, log_joint)


class _Gaussians(NamedTuple):
    """Weights (C,), means (C, D) and variances (C, D); the means are taken from the prior's common mean."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    @classmethod
    def start(cls, means: Tensor, variance: Tensor | float) -> Self:
        """Equal weights and variances."""
        variances = torch.as_tensor(variance, dtype=means.dtype, device=means.device).clamp(min=FLOOR).expand_as(means)
        return cls(means.new_full((len(means),), 1 / len(means)), means, variances)

    def coefficients(self) -> Tensor:
        """(C, 2D + 1) a, b and c of log(weight · density) = a·x + b·x² + c."""
        constant = self.weights.log() - (self.means**2 / self.variances + (TAU * self.variances).log()).sum(1) / 2
        return torch.cat([self.means / self.variances, -0.5 / self.variances, constant[:, None]], 1)


def _expect(features: Tensor, shift: Tensor, gaussians: _Gaussians, moments: Tensor | None, *, squares: bool) -> Tensor:
    """E-step. Returns log_joint (N, C); adds Σ γx, Σ γx² and Σ γ to the (C, 2D + 1) moments if they are asked for.

    Without ``squares`` log_joint lacks a number for each tile, b·x², which γ does not need where b is the same for all.
    """
    coefficients = gaussians.coefficients()
    linear, constant = coefficients[:, : len(shift)], coefficients[:, -1:]
    log_joint = shift.new_empty(len(coefficients), len(features))
    width = len(shift)
    statistics = shift.new_ones(ROWS, 2 * width + LINE)[:, : 2 * width + 1]  # x, x² and 1 of a tile
    for tiles, joint in zip(features.split(ROWS), log_joint.split(ROWS, dim=1), strict=True):
        rows = statistics[: len(tiles)]
        centred = torch.sub(tiles.to(shift), shift, out=rows[:, :width])
        torch.mul(centred, centred, out=rows[:, width:-1])
        if squares:
            torch.mm(coefficients, rows.T, out=joint)
        else:
            torch.addmm(constant, linear, centred.T, out=joint)
        if moments is not None:
            moments.addmm_(joint.softmax(0), rows)
    return log_joint.T


def _maximise(moments: Tensor, prior: _Gaussians, strength: float) -> _Gaussians:
    """M-step: the prior counts as ``strength`` tiles of each component."""
    totals, squares, counts = moments.split([prior.means.shape[1], prior.means.shape[1], 1], dim=1)
    counts = counts + strength
    means = (totals + strength * prior.means) / counts
    squares = (squares + strength * (prior.variances + prior.means**2)) / counts
    return _Gaussians((counts / counts.sum())[:, 0], means, (squares - means**2).clamp(min=FLOOR))
