"""DTFD-MIL: pseudo-bags are judged, and what each one distils is judged again (Zhang et al., CVPR 2022).

Written from the specification. Differs: the classes are time bins and both tiers are taught by the likelihood, jointly
as in the field's survival port; pseudo-bags are shuffled at every training step and seeded by the patient otherwise;
a bag of fewer tiles than pseudo-bags makes fewer of them. ``preset = "authors"`` teaches the tiers apart.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Width
from slidesurv.nn.attention import GatedAttention
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.seeds import seed_for
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["DTFDMIL"]

HIDDEN = 128  # width of both attentions
Count = Annotated[int, Field(gt=0)]


class Distilled(NamedTuple):
    """What one pseudo-bag comes to.

    Attributes:
        mean: (dim,) its tiles by their attention; the first tier judges it.
        rows: (R, dim) what it hands on to the second tier.
        places: (M,) tiles of the bag that the rows are made of.
        shares: (M,) of each of these tiles in its row; either R = M, or one row is made of all of them.
    """

    mean: Tensor
    rows: Tensor
    places: Tensor
    shares: Tensor


@final
@models.register("dtfdmil")
class DTFDMIL(SurvivalModel):
    """Double-tier feature distillation.

    ``attention`` is what the second tier gives to each distilled row, laid on the tiles that the row is made of.

    Args:
        sizes: tile D and bins T are read.
        pseudo_bags: G, parts that a bag is cut into, alike in size to within one tile.
        distillation: what a pseudo-bag hands on: "maxs", its tiles that speak most for the last bin; "maxmins", those
            and the ones that speak least for it; "afs", the mean that its attention makes.
        kept: tiles of each end and pseudo-bag that "maxs" and "maxmins" hand on.
        split: "shuffled"; "contiguous" in the order of the bag; or "released": contiguous in training, shuffled in
            evaluation, as the survival port does.
        draws: shuffles whose logits a prediction is the mean of.
        detach: let the second tier teach itself alone, as two optimisers do; otherwise it teaches the first too.
        dim: width of a reduced tile.
        dropout: after the reduction and before both heads.
        init: "xavier", or "torch" for PyTorch's own.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="zhang2022dtfd",
        title="DTFD-MIL: Double-Tier Feature Distillation Multiple Instance Learning for Histopathology Whole Slide "
        "Image Classification",
        authors="Zhang, H. and Meng, Y. and Zhao, Y. and Qiao, Y. and Yang, X. and Coupland, S. E. and Zheng, Y.",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        year=2022,
        url="https://arxiv.org/abs/2203.12081",
        licence="authors' program: MIT; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "authors": {"pseudo_bags": 4, "distillation": "afs", "detach": True, "dropout": 0.0, "init": "torch"},
        "port": {"split": "released"},
    }
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "weight_decay": 1e-4,
        "epochs": 200,
        "accumulate": 1,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        pseudo_bags: Count = 8,
        distillation: Literal["maxs", "maxmins", "afs"] = "maxmins",
        kept: Count = 1,
        split: Literal["shuffled", "contiguous", "released"] = "shuffled",
        draws: Count = 1,
        detach: bool = False,
        dim: Width = 512,
        dropout: Dropout = 0.25,
        init: Literal["xavier", "torch"] = "xavier",
    ) -> None:
        super().__init__(sizes)
        self.pseudo_bags, self.distillation, self.kept = pseudo_bags, distillation, kept
        self.split, self.draws, self.detach = split, draws, detach
        self.reduce = nn.Sequential(nn.Linear(sizes.tile, dim, bias=False), nn.ReLU(), nn.Dropout(dropout))
        self.first_attention = GatedAttention(dim, HIDDEN)
        self.first_head = nn.Linear(dim, sizes.bins)
        self.second_attention = GatedAttention(dim, HIDDEN)
        self.second_head = nn.Linear(dim, sizes.bins)
        self.dropout = nn.Dropout(dropout)
        if init == "xavier":
            xavier(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        judged = [self._judge(bag.features, order.to(bag.features.device)) for order in self._orders(bag)]
        logits, attention, branches = map(torch.stack, zip(*judged, strict=True))
        return ModelOutput(logits.mean(0), attention.mean(0), branches.flatten(0, 1))

    def _orders(self, bag: Bag) -> list[Tensor]:
        """The orders (N,) in which the tiles are cut into pseudo-bags: one, or for a prediction ``draws`` of them."""
        if self.split == "contiguous" or (self.split == "released" and self.training):
            return [torch.arange(len(bag))]
        if self.training:
            return [torch.randperm(len(bag))]
        seeds = [seed_for("pseudo-bags", bag.patient, draw) for draw in range(self.draws)]
        return [torch.randperm(len(bag), generator=torch.Generator().manual_seed(seed)) for seed in seeds]

    def _judge(self, features: Tensor, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) features in one order → (T,) logits, (N,) attention, (G, T) logits of the first tier."""
        parts = [self._distil(features, places) for places in order.tensor_split(min(self.pseudo_bags, len(order)))]
        rows = torch.cat([part.rows for part in parts])  # (ΣR, dim)
        rows = rows.detach() if self.detach else rows
        weights = self.second_attention(rows).softmax(0)  # (ΣR,)
        logits = self.second_head(self.dropout(weights @ rows))  # (T,)
        branches = self.first_head(self.dropout(torch.stack([part.mean for part in parts])))  # (G, T)
        return logits, _lay(weights, parts, len(features)), branches

    def _distil(self, features: Tensor, places: Tensor) -> Distilled:
        """(N, D) features and the (n,) places of one pseudo-bag → what it comes to."""
        tiles = self.reduce(features.index_select(0, places))  # (n, dim)
        inside = self.first_attention(tiles).softmax(0)  # (n,)
        mean = inside @ tiles  # (dim,)
        if self.distillation == "afs":
            return Distilled(mean, mean[None], places, inside)
        ends = self._ends(tiles, inside)  # (R,)
        return Distilled(mean, tiles.index_select(0, ends), places[ends], inside.new_ones(len(ends)))

    @torch.no_grad()
    def _ends(self, tiles: Tensor, inside: Tensor) -> Tensor:
        """(R,) the tiles that a pseudo-bag hands on, by what each alone says of the last bin."""
        evidence = inside[:, None] * (tiles @ self.first_head.weight.T)  # (n, T), without the bias as published
        rank = evidence.double().log_softmax(-1)[:, -1]  # (n,); shares of many tiles are so small that float32 ties
        directions = (True, False) if self.distillation == "maxmins" else (True,)
        count = min(self.kept, len(tiles))
        return torch.cat([rank.topk(count, largest=largest).indices for largest in directions])


def _lay(weights: Tensor, parts: list[Distilled], n: int) -> Tensor:
    """(ΣR,) weights of the rows → (N,) weights of the tiles that they are made of; they sum to 1."""
    each = weights.split([len(part.rows) for part in parts])
    laid = torch.cat([weight * part.shares for weight, part in zip(each, parts, strict=True)])
    return laid.new_zeros(n).index_add(0, torch.cat([part.places for part in parts]), laid)
