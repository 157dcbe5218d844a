"""PANTHER: a patient as a mixture of morphological prototypes (Song et al., CVPR 2024).

Written from the specification. The mixture does not learn, so it is fitted once for a bag and only the head is
trained. Differs: the head predicts T hazards; a variance is at least 1e-8. The published scripts say τ = 1 and ε = 1
while their program runs with τ = 0.001 and ε = 0.1: the latter is the default, ``preset = "printed"`` the former.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.errors import ConfigError
from slidesurv.models.base import Dropout, Paper, SurvivalModel
from slidesurv.registry import models
from slidesurv.selection.mixture import Mixture, map_em
from slidesurv.selection.prototypes import first_tiles, fit_prototypes, sample_tiles
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["Panther", "represent"]

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Representation = Literal["allcat", "weighted_cat", "weighted_mean_variance", "weighted_mean", "top", "bottom"]

SHARED, INDIVIDUAL, POST = 256, 128, 1024  # widths of the hidden layers
MOST_KEPT = 1024  # representations in memory: 134 MB at the published sizes


def represent(mixture: Mixture, kind: Representation, *, keep: int = 4) -> tuple[Tensor, ...]:
    """Sum up a patient's mixture as one or several lists of K tokens.

    Args:
        mixture: of C prototypes.
        kind: "allcat" takes weights, means and variances; "top" and "bottom" the same of the ``keep`` prototypes with
            the largest or smallest weights, the extreme one first; "weighted_cat" means and variances, both times the
            weights; "weighted_mean_variance" and "weighted_mean" their sums over prototypes.
        keep: K of "top" and "bottom".

    Returns:
        One to three tensors, each (K, 1) or (K, D); the published vector is all of them, flattened one after the other.

    Source:
        Song et al., PANTHER (CVPR 2024).
    """
    weights = mixture.weights[:, None]  # (C, 1)
    everything = weights, mixture.means, mixture.variances
    match kind:
        case "allcat":
            return everything
        case "top" | "bottom":
            order = mixture.weights.argsort(descending=kind == "top", stable=True)[:keep]
            return tuple(part[order] for part in everything)
        case "weighted_cat":
            return weights * mixture.means, weights * mixture.variances
        case "weighted_mean_variance":
            return weights.T @ mixture.means, weights.T @ mixture.variances
        case "weighted_mean":
            return (weights.T @ mixture.means,)


class Individual(nn.Module):
    """A layer of its own for each of K tokens.

    Args:
        tokens: K.
        width: of a token.
        dropout: after each layer.
    """

    def __init__(self, tokens: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layer(width, INDIVIDUAL, dropout) for _ in range(tokens))

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(K, width) → (K, 128)."""
        return torch.stack([layer(token) for layer, token in zip(self.layers, tokens, strict=True)])


def _layer(wide: int, narrow: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(dropout))


def _head(kind: str, tokens: int, width: int, bins: int, dropout: float) -> nn.Module:
    """(K · width,) → (bins,) if it is linear, else (K, width) → (bins,); the classifier has no bias."""
    if kind == "linear":
        return nn.Linear(tokens * width, bins, bias=False)
    shared = kind == "shared"
    encode = _layer(width, SHARED, dropout) if shared else Individual(tokens, width, dropout=dropout)
    flat = tokens * (SHARED if shared else INDIVIDUAL)
    if kind != "individual+post":
        return nn.Sequential(encode, nn.Flatten(0), nn.Linear(flat, bins, bias=False))
    post = _layer(flat, POST, dropout)
    return nn.Sequential(encode, nn.Flatten(0), post, nn.Linear(POST, bins, bias=False))


@final
@models.register("panther")
class Panther(SurvivalModel):
    """Prototypes of the cohort, a mixture of the patient, and a head.

    Args:
        sizes: tile D and bins T are read.
        prototypes: C, k-means means of training tiles.
        sample: most tiles to fit them on.
        sampling: the "first" tiles of each patient, as published, or "uniform" over training tiles.
        iterations: L of MAP-EM.
        strength: τ of its prior, in tiles.
        variance: ε of its prior.
        representation: see `represent`.
        keep: prototypes in the representations "top" and "bottom".
        head: "linear"; or MLPs over the prototypes' tokens: one "shared", one "individual" to each, or
            "individual+post" with a layer after them.
        dropout: after each hidden layer of the MLPs.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="song2024morphological",
        title="Morphological Prototyping for Unsupervised Slide Representation Learning in Computational Pathology",
        authors="Song, A. H. and Chen, R. J. and Ding, T. and Williamson, D. F. K. and Jaume, G. and Mahmood, F.",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        year=2024,
        url="https://arxiv.org/abs/2405.11643",
        licence="authors' program: CC BY-NC-SA 4.0; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"printed": {"strength": 1.0, "variance": 1.0}}
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "weight_decay": 1e-5,
        "schedule": "warmup",
        "epochs": 50,
        "patience": None,
        "accumulate": 64,
        "sampler": "uniform",
        "event_weight": 0.5,
    }

    means: Tensor

    def __init__(
        self,
        sizes: Sizes,
        *,
        prototypes: Count = 16,
        sample: Count = 1_000_000,
        sampling: Literal["first", "uniform"] = "first",
        iterations: Count = 1,
        strength: Positive = 0.001,
        variance: Positive = 0.1,
        representation: Representation = "allcat",
        keep: Count = 4,
        head: Literal["linear", "shared", "individual", "individual+post"] = "linear",
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__(sizes)
        if keep > prototypes and representation in ("top", "bottom"):
            raise ConfigError(
                f"The representation '{representation}' keeps {keep} prototypes, and there are {prototypes}. "
                "Keep fewer, or fit more."
            )
        self.sample, self.sampling = sample, sampling
        self.iterations, self.strength, self.variance = iterations, strength, variance
        self.representation, self.keep, self.linear = representation, keep, head == "linear"
        self.register_buffer("means", torch.zeros(prototypes, sizes.tile))  # (C, D)
        nothing = Mixture(self.means[:, 0], self.means, self.means, self.means)
        parts = represent(nothing, representation, keep=keep)
        tokens, width = len(parts[0]), sum(part.shape[1] for part in parts)
        self.head = _head(head, tokens, width, sizes.bins, dropout)
        self._kept: dict[tuple[str, int, float], Tensor] = {}
        self.register_load_state_dict_post_hook(self._forget)  # type: ignore[no-untyped-call] # torch has no annotation

    def _forget(self, *_: object) -> None:
        self._kept.clear()

    @override
    def prepare(self, bags: Iterable[Bag], *, seed: int = 0) -> None:
        self._forget()
        if self.sampling == "first":
            tiles = first_tiles(bags, limit=self.sample)
        else:
            tiles = sample_tiles(bags, limit=self.sample, seed=seed)
        self.means.copy_(fit_prototypes(tiles, count=len(self.means), seed=seed).means)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        return ModelOutput(self.head(self._summary(bag)))

    def _summary(self, bag: Bag) -> Tensor:
        """(K · W,) for the linear head or (K, W) for the others: what the mixture says, kept from the first time."""
        key = (bag.patient, len(bag), bag.features.sum(1).sum(dtype=torch.float64).item())
        if key in self._kept:
            return self._kept[key].to(bag.features)
        summary = self._fit(bag.features)
        if len(self._kept) < MOST_KEPT:
            self._kept[key] = summary
        return summary

    @torch.no_grad()
    @torch.inference_mode(False)  # what is kept from a prediction may be taught with later
    def _fit(self, features: Tensor) -> Tensor:
        """(N, D) → `_summary` of the patient's mixture, fitted in the precision of the features."""
        mixture = map_em(
            features,
            self.means,
            self.variance,
            iterations=self.iterations,
            strength=self.strength,
            update=True,
            dtype=torch.promote_types(features.dtype, torch.float32),
        )
        parts = represent(mixture, self.representation, keep=self.keep)
        summary = torch.cat([part.flatten() for part in parts]) if self.linear else torch.cat(parts, 1)
        return summary.to(features)
