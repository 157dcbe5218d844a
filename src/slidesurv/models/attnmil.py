"""AttnMIL: tiles weighted by attention (Ilse et al., ICML 2018).

Written from the specification. Differs: the head predicts T hazards instead of one class. Two survival variants are
published; "gated" adds a layer after the pooling, "plain" has neither gate nor that layer.
"""

from typing import Literal, final

from torch import nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, Width
from slidesurv.nn.attention import GatedAttention
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["AttnMIL"]


@final
@models.register("attnmil")
class AttnMIL(SurvivalModel):
    """Attention-based multiple-instance learning.

    Args:
        sizes: tile D and bins T are read.
        variant: "gated" (eq. 9) or "plain" (eq. 8).
        dim: width of an embedded tile.
        dropout: after each hidden layer.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="ilse2018attention",
        title="Attention-based Deep Multiple Instance Learning",
        authors="Ilse, M. and Tomczak, J. and Welling, M.",
        venue="International Conference on Machine Learning",
        year=2018,
        url="https://arxiv.org/abs/1802.04712",
        licence="survival programs: GPL-3.0, non-commercial, or none; not used",
    )

    native = HARNESS

    def __init__(
        self, sizes: Sizes, *, variant: Literal["gated", "plain"] = "gated", dim: Width = 512, dropout: Dropout = 0.25
    ) -> None:
        super().__init__(sizes)
        gated = variant == "gated"
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.attention = GatedAttention(dim, dim // 2 if gated else dim // 4, dropout=dropout * gated, gate=gated)
        self.post = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Dropout(dropout)) if gated else nn.Identity()
        self.head = nn.Linear(dim // 2 if gated else dim, sizes.bins)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        tiles = self.embed(bag.features)  # (N, dim)
        attention = self.attention(tiles).softmax(0)  # (N,)
        patient = attention @ tiles  # (dim,), eq. (7)
        return ModelOutput(self.head(self.post(patient)), attention)
