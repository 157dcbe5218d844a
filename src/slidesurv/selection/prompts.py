"""Which tiles of a patient become visual prompts: prototypes of the cohort, a mixture of the patient, a choice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.seeds import seed_for
from slidesurv.selection.baselines import select_all, select_cluster, select_random
from slidesurv.selection.ese import Selection, scores, select
from slidesurv.selection.mixture import map_em
from slidesurv.selection.prototypes import first_tiles, fit_prototypes, sample_tiles
from slidesurv.types import Bag

__all__ = ["ESE", "PromptSelector"]

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ESE:
    """Choices of the selection.

    Attributes:
        select: "em" (Algorithm 1), "cluster", "random", or "none": every tile is a prompt.
        prompts: N_S.
        prototypes: C, k-means means of training tiles.
        sample: most tiles to fit them on.
        sampling: "uniform" over training tiles, or the "first" of each patient, as PANTHER's program does.
        score: what Algorithm 1 ranks by. Posteriors round to 1 and are then ranked by their place in the bag.
        middle: what is taken of clusters between the two thresholds.
        quota: thresholds N_S/16 and N_S/32 as "release", or by "clusters" N_S/C and N_S/2C.
        fill: complete the prompts with "random" tiles, or with "ascending" ones.
        reselect: choose anew at every training step; otherwise a patient's prompts are chosen once a fold.
        iterations: of MAP-EM.
        strength: of its prior τ, in tiles.
        variance: of its prior, or "pooled": the mean variance inside the k-means clusters.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    select: Literal["em", "cluster", "random", "none"] = "em"
    prompts: Count = 1024
    prototypes: Count = 16
    sample: Count = 1_000_000
    sampling: Literal["uniform", "first"] = "uniform"
    score: Literal["log_odds", "posterior_f32", "posterior_f64", "mahalanobis", "log_likelihood"] = "log_odds"
    middle: Literal["none", "all", "both_ends"] = "none"
    quota: Literal["release", "clusters"] = "release"
    fill: Literal["random", "ascending"] = "random"
    reselect: bool = False
    iterations: Count = 3
    strength: Positive = 10.0
    variance: Positive | Literal["pooled"] = 0.1


class PromptSelector(nn.Module):
    """Chooses the prompts of one patient at a time; nothing in it is learned by gradient.

    What is chosen depends on the tiles and the prototypes alone, so the choice for a bag is kept until the prototypes
    change. A bag is known by its patient, its size and the sum of its features.

    Args:
        tile: D, width of a tile.
        choices: see `ESE`.
    """

    means: Tensor
    variance: Tensor
    seed: Tensor

    def __init__(self, tile: int, choices: ESE) -> None:
        super().__init__()
        self.choices = choices
        self.register_buffer("means", torch.zeros(choices.prototypes, tile))  # (C, D)
        self.register_buffer("variance", torch.ones(tile))  # (D,)
        self.register_buffer("seed", torch.tensor(0))
        self._kept: dict[tuple[str, int, float], Tensor] = {}
        self.register_load_state_dict_post_hook(self._forget)  # type: ignore[no-untyped-call] # torch has no annotation

    def _forget(self, *_: object) -> None:
        self._kept.clear()

    def fit(self, bags: Iterable[Bag], *, seed: int) -> None:
        """Fit the prototypes on training tiles.

        Args:
            bags: of training patients.
            seed: of the sample, of k-means and of the random fill.
        """
        self._kept.clear()
        self.seed.fill_(seed)
        if self.choices.select not in ("em", "cluster"):
            return
        if self.choices.sampling == "first":
            tiles = first_tiles(bags, limit=self.choices.sample)
        else:
            tiles = sample_tiles(bags, limit=self.choices.sample, seed=seed)
        prototypes = fit_prototypes(tiles, count=self.choices.prototypes, seed=seed)
        self.means.copy_(prototypes.means)
        self.variance.copy_(prototypes.variance)

    @override
    def forward(self, bag: Bag) -> Tensor:
        """A patient's tiles (N, D) → E_S (min(N_S, N), D)."""
        if self.training and self.choices.reselect:
            return bag.features[self.tiles(bag)]
        key = (bag.patient, len(bag), bag.features.sum(1).sum(dtype=torch.float64).item())
        if key not in self._kept:
            self._kept[key] = self.tiles(bag)
        return bag.features[self._kept[key]]

    @torch.no_grad()
    def tiles(self, bag: Bag) -> Tensor:
        """(min(N_S, N),) int64: which tiles of a patient become prompts."""
        prompts = self.choices.prompts
        match self.choices.select:
            case "none":
                return select_all(len(bag))
            case "random":
                return select_random(len(bag), prompts, self._generator(bag))
            case "cluster":
                return select_cluster(bag.features, self.means, prompts)
        return self.choose(bag).tiles

    @torch.no_grad()
    def choose(self, bag: Bag) -> Selection:
        """Run MAP-EM and Algorithm 1 on one patient."""
        choices = self.choices
        variance = self.variance if choices.variance == "pooled" else choices.variance
        mixture = map_em(bag.features, self.means, variance, iterations=choices.iterations, strength=choices.strength)
        return select(
            mixture.labels,
            scores(mixture, bag.features, choices.score),
            keep=choices.prompts,
            clusters=choices.prototypes,
            quota=choices.quota,
            middle=choices.middle,
            generator=self._generator(bag) if choices.fill == "random" else None,
        )

    def diagnose(self, bag: Bag) -> Mapping[str, float]:
        """Whether the mixture found clusters: see `Selection`; nothing for the other ways of choosing."""
        if self.choices.select != "em":
            return {}
        chosen = self.choose(bag)
        shares = {"share_filled": chosen.share_filled, "share_tied": chosen.ties}
        return {"prompts": float(len(chosen.tiles)), "clusters_full": float(chosen.clusters_full), **shares}

    def _generator(self, bag: Bag) -> torch.Generator:
        """Of the random tiles: fixed for a patient, or new at every training step."""
        fresh = [int(torch.randint(2**31, ()))] if self.training and self.choices.reselect else []
        return torch.Generator().manual_seed(seed_for("prompts", int(self.seed), bag.patient, *fresh))
