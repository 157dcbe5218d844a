"""G-HANet: tiles learn to rebuild the genome, and where they looked for it guides survival (Wang et al., 2024).

Written from the specification. Symbols: R answers, one a gene group (K, dim) · H tiles as survival sees them (N, dim) ·
M what the second question of the reconstruction scored (K, N). Differs: docs/deviations.md.
"""

from math import inf
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, Weight, Width
from slidesurv.nn.attention import CrossAttention, GatedAttention, GatedFeedForward
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["GHANet", "GeneQuestions", "hyper_attention", "reconstruction_errors"]

Share = Annotated[float, Field(gt=0, le=1)]


class GeneQuestions(nn.Module):
    """Learnable tokens, one a gene group, ask the tiles twice for their genes.

    Args:
        tile: D, width of a tile feature.
        tokens: K.
        dim: width of a token.
        heads: of the cross-attention.
        shared: one cross-attention for both questions, or one a question.
        dropout: everywhere.
    """

    def __init__(self, tile: int, tokens: int, dim: int, *, heads: int, shared: bool, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.tokens = nn.Parameter(torch.randn(1, tokens, dim))
        self.first = CrossAttention(dim, heads=heads, dropout=dropout)
        self.second = None if shared else CrossAttention(dim, heads=heads, dropout=dropout)
        self.feed_forward = nn.ModuleList(GatedFeedForward(dim, dropout=dropout) for _ in range(2))
        self.tile_norm = nn.LayerNorm(dim)
        self.token_norm = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.answer_norm = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.final_norm = nn.LayerNorm(dim)

    @override
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) → (K, dim) R, and (K, N) M: scaled scores before the softmax, their mean over heads, no gradient."""
        seen = self.tile_norm(self.project(features))  # (N, dim)
        tokens = self.tokens[0]  # (K, dim)
        second = self.first if self.second is None else self.second
        answers = self._digest(0, self.first(self.token_norm[0](tokens), seen))
        queries = self.token_norm[1](tokens + answers)
        answers = self._digest(1, second(queries, seen))
        with torch.no_grad():
            scores = second.scores(queries, seen).mean(0)  # (K, N)
        return self.final_norm(answers), scores

    def _digest(self, turn: int, answers: Tensor) -> Tensor:
        fed: Tensor = self.feed_forward[turn](self.answer_norm[turn](answers))
        return fed + answers


def hyper_attention(nodes: Tensor, scores: Tensor, *, keep: float = 0.2) -> Tensor:
    """Look half where every token looks, half where each token alone looks most.

    Args:
        nodes: (N,) scores of the tiles, alike for every token.
        scores: (K, N) scores of the tiles for each token.
        keep: share of tiles that a token keeps of its own, in (0, 1]; at least one, and more where scores are tied.

    Returns:
        (K, N) weights; every row sums to 1.
    """
    tiles = scores.shape[-1]
    kept = max(1, int(keep * tiles))
    least = scores.kthvalue(tiles - kept + 1, dim=-1, keepdim=True).values  # (K, 1)
    own = scores.masked_fill(scores < least, -inf).softmax(-1)  # (K, N)
    return (nodes.softmax(-1) + own) / 2


def reconstruction_errors(rebuilt: Tensor, group: Tensor) -> Tensor:
    """How far a rebuilt gene group (G_k,) is from the true one: (2,) cubed cosine distance and mean squared error."""
    cosine = F.cosine_similarity(rebuilt, group, dim=0)
    return torch.stack([(1 - cosine) ** 3, F.mse_loss(rebuilt, group)])


@final
@models.register("ghanet")
class GHANet(SurvivalModel):
    """Histo-genomic knowledge distillation: gene groups teach, the slide alone predicts.

    Its attention is the hyper-attention, mean over gene groups. Its reconstruction is (ΣG_k,), the groups end to end.

    Args:
        sizes: tile D, bins T and groups G_k are read; without groups there is nothing to rebuild, and six tokens ask.
        dim: width of a token.
        heads: of both attentions.
        keep: share of tiles that a token keeps of its own in the hyper-attention.
        shared: one cross-attention for both questions, as released; false gives the second its own, which the release
            builds and never uses.
        dropout: everywhere but on the node scores.
        loss_weight: of the reconstruction; 0 trains the same network without genomics.
    """

    slides = Use.ALWAYS
    genomics = Use.TRAINING
    view = "groups"
    paper = Paper(
        key="wang2024ghanet",
        title="Histo-Genomic Knowledge Distillation For Cancer Prognosis From Histopathology Whole Slide Images",
        authors="Wang, Z. and Zhang, Y. and Xu, Y. and Imoto, S. and Chen, H. and Song, J.",
        venue="arXiv preprint arXiv:2403.10040",
        year=2024,
        url="https://arxiv.org/abs/2403.10040",
        licence="authors' program: no licence; not used",
    )
    native = HARNESS

    def __init__(
        self,
        sizes: Sizes,
        *,
        dim: Width = 512,
        heads: Literal[1, 2, 4, 8] = 4,
        keep: Share = 0.2,
        shared: bool = True,
        dropout: Dropout = 0.25,
        loss_weight: Weight = 0.3,
    ) -> None:
        super().__init__(sizes)
        self.keep = keep
        self.loss_weights = {"reconstruction": loss_weight}
        rebuilt = sizes.groups if loss_weight else ()
        if loss_weight == 0:
            self.genomics = Use.NEVER
        tokens, half = len(sizes.groups) or 6, dim // 2
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.LayerNorm(dim), nn.ReLU(), nn.Dropout(dropout))
        self.node = GatedAttention(dim, half)
        self.questions = GeneQuestions(sizes.tile, tokens, dim, heads=heads, shared=shared, dropout=dropout)
        self.rebuild = nn.ModuleList(_gene_head(dim, genes, dropout=dropout) for genes in rebuilt)
        self.hyper = nn.Sequential(
            *(nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ReLU()), *(nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ReLU())
        )
        self.mix = CrossAttention(dim, heads=heads, dropout=dropout)
        self.merge_norm = nn.LayerNorm(dim)
        self.merge = GatedFeedForward(dim, dropout=dropout)
        self.squeeze = nn.Sequential(nn.Linear(dim, half), nn.LayerNorm(half), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(tokens * half, sizes.bins)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        answers, scores = self.questions(bag.features)  # (K, dim) R, (K, N) M
        tiles = self.embed(bag.features)  # (N, dim) H
        attention = hyper_attention(self.node(tiles), scores, keep=self.keep)  # (K, N)
        logits = self._judge(attention @ tiles, answers)
        rebuilt = self._rebuild(answers)
        losses = self._losses(rebuilt, genomics) if self.training else {}
        reconstruction = torch.cat(rebuilt) if rebuilt else None  # (ΣG_k,)
        return ModelOutput(logits, attention.mean(0), reconstruction=reconstruction, losses=losses)

    def _judge(self, gathered: Tensor, answers: Tensor) -> Tensor:
        """(K, dim) of the tiles and (K, dim) R → (T,) logits."""
        merged = (self.hyper(gathered) + gathered + answers) / 2  # (K, dim)
        merged = self.mix(merged, merged) + merged
        merged = self.merge(self.merge_norm(merged)) + merged
        logits: Tensor = self.head(self.squeeze(merged).flatten())
        return logits

    def _rebuild(self, answers: Tensor) -> list[Tensor]:
        """(K, dim) R → each gene group (G_k,); none where nothing is rebuilt."""
        return [head(answer) for head, answer in zip(self.rebuild, answers, strict=False)]

    def _losses(self, rebuilt: list[Tensor], genomics: Genomics | None) -> dict[str, Tensor]:
        if not rebuilt or genomics is None or genomics.groups is None:
            return {}
        pairs = zip(rebuilt, genomics.groups, strict=True)
        return {"reconstruction": torch.stack([reconstruction_errors(*pair) for pair in pairs]).sum()}


def _gene_head(dim: int, genes: int, *, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim), nn.ELU(), nn.Dropout(dropout), nn.Linear(dim, genes))
