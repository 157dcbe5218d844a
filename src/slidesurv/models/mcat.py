"""MCAT: each gene group asks the tiles, and both halves speak for the patient (Chen et al., ICCV 2021).

Written from the specification. Differs: no key or value of a tile is computed, see `CoAttention`; the two layers of a
set transformer start from weights of their own.
"""

from typing import Literal, final

from torch import nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, Width, need_groups
from slidesurv.nn.coattention import CoAttention
from slidesurv.nn.fusion import Bilinear, Concatenation
from slidesurv.nn.set_transformer import SetSummary
from slidesurv.nn.snn import GroupEncoder
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["MCAT"]


@final
@models.register("mcat")
class MCAT(SurvivalModel):
    """Multimodal co-attention transformer; it needs tiles and gene groups for every prediction.

    The attention it gives is what the gene groups look at, their mean over groups.

    Args:
        sizes: tile D, bins T and groups G_k are read.
        size: of the encoders of gene groups: "small" (two layers) or "big" (three of four times the width, then one).
        fusion: "concat" or "bilinear", of the two halves of the patient.
        dim: width of a token.
        dropout: after each hidden layer.
    """

    slides = Use.ALWAYS
    genomics = Use.ALWAYS
    view = "groups"
    paper = Paper(
        key="chen2021mcat",
        title="Multimodal Co-Attention Transformer for Survival Prediction in Gigapixel Whole Slide Images",
        authors="Chen, R. J. and Lu, M. Y. and Weng, W.-H. and Chen, T. Y. and Williamson, D. F. K. and Manz, T. and "
        "Shady, M. and Mahmood, F.",
        venue="IEEE/CVF International Conference on Computer Vision",
        year=2021,
        licence="authors' program: GPL-3.0, non-commercial; not used",
    )
    native = HARNESS

    def __init__(
        self,
        sizes: Sizes,
        *,
        size: Literal["small", "big"] = "small",
        fusion: Literal["concat", "bilinear"] = "concat",
        dim: Width = 256,
        dropout: Dropout = 0.25,
    ) -> None:
        super().__init__(sizes)
        widths = (dim, dim) if size == "small" else (4 * dim, 4 * dim, 4 * dim, dim)
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.genes = GroupEncoder(sizes.groups, widths, dropout=dropout)
        self.ask = CoAttention(dim)
        self.pathology = SetSummary(dim, dropout=dropout)
        self.genomic = SetSummary(dim, dropout=dropout)
        self.fusion = Concatenation(dim) if fusion == "concat" else Bilinear(dim, dropout=dropout)
        self.head = nn.Linear(dim, sizes.bins)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        genes = self.genes(need_groups(bag, genomics))  # (L, dim)
        tiles = self.embed(bag.features)  # (N, dim)
        told, scores = self.ask(genes, tiles)  # (L, dim), (L, N)
        patient = self.fusion(self.pathology(told), self.genomic(genes))  # (dim,)
        return ModelOutput(self.head(patient), scores.softmax(-1).mean(0))
