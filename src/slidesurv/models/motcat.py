"""MOTCat: gene groups and tiles meet by optimal transport (Xu and Chen, ICCV 2023).

Written from the specification. It is MCAT but for the co-attention. Differs: of several chunks of a bag, genes are
encoded once; the plan keeps its precision until it meets the tiles.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, Width, need_groups
from slidesurv.models.micro_batch import MICRO_BATCH_LOSS, Count, deal, gather, mean_answer
from slidesurv.nn.fusion import Bilinear, Concatenation
from slidesurv.nn.set_transformer import SetSummary
from slidesurv.nn.snn import GroupEncoder
from slidesurv.nn.transport import Reference, sinkhorn, transport_cost
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["MOTCat"]


@final
@models.register("motcat")
class MOTCat(SurvivalModel):
    """Optimal-transport co-attention; it needs tiles and gene groups for every prediction.

    No gradient runs through the plan. The attention it gives is the share of the planned mass that a tile sends.

    Args:
        sizes: tile D, bins T and groups G_k are read.
        size: of the encoders of gene groups: "small" (two layers) or "big" (three of four times the width, then one).
        fusion: "concat" or "bilinear", of the two halves of the patient.
        dim: width of a token.
        dropout: after each hidden layer.
        epsilon: see `sinkhorn`; published: 0.05 for BLCA and LUAD, 0.1 for BRCA, UCEC and GBMLGG.
        tau: see `sinkhorn`.
        reference: see `sinkhorn`; the library that the authors used has since made "kl" its default.
        micro_batch: most tiles planned at once. The bag is shuffled and parted, anew at every training step and the
            same for every prediction; chunks are taught one by one and predict by their mean survival curve. None
            plans for the whole bag.
    """

    slides = Use.ALWAYS
    genomics = Use.ALWAYS
    view = "groups"
    paper = Paper(
        key="xu2023motcat",
        title="Multimodal Optimal Transport-based Co-Attention Transformer with Global Structure Consistency for "
        "Survival Prediction",
        authors="Xu, Y. and Chen, H.",
        venue="IEEE/CVF International Conference on Computer Vision",
        year=2023,
        url="https://arxiv.org/abs/2306.08330",
        licence="authors' program: no licence, non-commercial; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "blca": {"epsilon": 0.05},
        "brca": {"epsilon": 0.1},
        "gbmlgg": {"epsilon": 0.1},
        "luad": {"epsilon": 0.05},
        "ucec": {"epsilon": 0.1},
        "micro_batch": {"micro_batch": 256},  # of the paper; the documented commands plan for the whole bag
    }
    native = HARNESS

    def __init__(
        self,
        sizes: Sizes,
        *,
        size: Literal["small", "big"] = "small",
        fusion: Literal["concat", "bilinear"] = "concat",
        dim: Width = 256,
        dropout: Dropout = 0.25,
        epsilon: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = 0.1,  # a smaller one has no float64 kernel
        tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5,
        reference: Reference = "entropy",
        micro_batch: Count | None = None,
    ) -> None:
        super().__init__(sizes)
        self.epsilon, self.tau, self.reference, self.micro_batch = epsilon, tau, reference, micro_batch
        if micro_batch is not None:
            self.loss_weights = MICRO_BATCH_LOSS
        widths = (dim, dim) if size == "small" else (4 * dim, 4 * dim, 4 * dim, dim)
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.genes = GroupEncoder(sizes.groups, widths, dropout=dropout)
        self.pathology = SetSummary(dim, dropout=dropout)
        self.genomic = SetSummary(dim, dropout=dropout)
        self.fusion = Concatenation(dim) if fusion == "concat" else Bilinear(dim, dropout=dropout)
        self.head = nn.Linear(dim, sizes.bins)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        genes = self.genes(need_groups(bag, genomics))  # (L, dim)
        tiles = self.embed(bag.features)  # (N, dim)
        if self.micro_batch is None:
            told, attention = self._meet(tiles[None], genes)  # (1, L, dim), (1, N)
            return ModelOutput(self._judge(told, genes)[0], attention[0])
        chunks = deal(bag, self.micro_batch, training=self.training)
        stacks = [torch.stack([*alike]) for _, alike in groupby(chunks, len)]  # two at most: (k, n) and (k', n - 1)
        answers, shares = zip(*(self._meet(tiles[places], genes) for places in stacks), strict=True)
        attention = gather([share for stack in shares for share in stack], chunks)  # (N,)
        return mean_answer(self._judge(torch.cat(answers), genes), attention)

    def _meet(self, tiles: Tensor, genes: Tensor) -> tuple[Tensor, Tensor]:
        """(K, N, dim) chunks, (L, dim) genes → (K, L, dim) what genes are told, (K, N) each tile's share of mass."""
        plan = self.plan(tiles, genes)  # (K, L, N)
        mass = plan.sum(1)  # (K, N)
        return plan.to(tiles.dtype) @ tiles, (mass / mass.sum(-1, keepdim=True)).to(tiles.dtype)

    def plan(self, tiles: Tensor, genes: Tensor) -> Tensor:
        """(K, N, dim) chunks, (L, dim) genes → (K, L, N) float64, how much of each tile a gene group gets."""
        return sinkhorn(transport_cost(genes, tiles), epsilon=self.epsilon, tau=self.tau, reference=self.reference)

    def _judge(self, told: Tensor, genes: Tensor) -> Tensor:
        """(K, L, dim) what genes are told, (L, dim) genes → (K, T) logits."""
        pathology = self.pathology(told)  # (K, dim)
        logits: Tensor = self.head(self.fusion(pathology, self.genomic(genes).expand_as(pathology)))
        return logits
