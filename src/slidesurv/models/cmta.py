"""CMTA: each modality is translated into the other, and both speak for the patient (Zhou and Chen, ICCV 2023).

Written from the specification. Symbols: p, g class tokens of the encoders of tiles and of genes · p̂, ĝ those of the
decoders, which see how one modality answered the other. Differs: docs/deviations.md.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Weight, Width, need_groups
from slidesurv.nn.coattention import CoAttention
from slidesurv.nn.encoder import ClassTransformer
from slidesurv.nn.fusion import Bilinear, Concatenation
from slidesurv.nn.snn import GroupEncoder, xavier
from slidesurv.registry import models
from slidesurv.seeds import seed_for
from slidesurv.selection.baselines import select_random
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["CMTA", "alignment"]

Count = Annotated[int, Field(gt=0)]


def alignment(encoded: Tensor, translated: Tensor) -> Tensor:
    """How far the class tokens of the decoders are from those of the encoders; 0 is perfect.

    Args:
        encoded: (2, dim) p and g; they are a target and are not moved.
        translated: (2, dim) p̂ and ĝ.

    Returns:
        (2,) mean absolute difference, of tiles and of genes.
    """
    return (translated - encoded.detach()).abs().mean(-1)


@final
@models.register("cmta")
class CMTA(SurvivalModel):
    """Cross-modal translation and alignment; it needs tiles and gene groups for every prediction.

    Its attention is what the gene groups look at, their mean over groups.

    Args:
        sizes: tile D, bins T and groups G_k are read.
        size: "small", or "large": wider in the embedding of tiles, deeper in that of genes.
        fusion: "concat" or "bilinear", of the two halves of the patient.
        dim: width of a token.
        attention: inside the four transformers: "nystrom" (as published) or "exact".
        cap: most tiles of a patient that are looked at: drawn anew at every training step, the same for every
            prediction; None looks at all.
        dropout: of both embeddings, and of a bilinear fusion.
        loss_weight: of the alignment; the presets have the paper's for each cohort.
    """

    slides = Use.ALWAYS
    genomics = Use.ALWAYS
    view = "groups"
    paper = Paper(
        key="zhou2023cmta",
        title="Cross-Modal Translation and Alignment for Survival Analysis",
        authors="Zhou, F. and Chen, H.",
        venue="IEEE/CVF International Conference on Computer Vision",
        year=2023,
        url="https://arxiv.org/abs/2309.12855",
        licence="authors' program: no licence, non-commercial; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "blca": {"loss_weight": 1.0},
        "brca": {"loss_weight": 100.0},
        "gbmlgg": {"loss_weight": 1.0},
        "luad": {"loss_weight": 1e-4},
        "ucec": {"loss_weight": 1.0},
    }
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "weight_decay": 1e-5,
        "schedule": "constant",
        "epochs": 30,
        "accumulate": 1,
        "sampler": "weighted",
        "event_weight": 0.0,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        size: Literal["small", "large"] = "small",
        fusion: Literal["concat", "bilinear"] = "concat",
        dim: Width = 256,
        attention: Literal["nystrom", "exact"] = "nystrom",
        cap: Count | None = None,
        dropout: Dropout = 0.25,
        loss_weight: Weight = 1.0,
    ) -> None:
        super().__init__(sizes)
        self.cap = cap
        self.loss_weights = {"alignment": loss_weight}
        hidden, deep = (dim, 1) if size == "small" else (2 * dim, 3)
        self.embed = nn.Sequential(
            *(nn.Linear(sizes.tile, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, dim), nn.ReLU(), nn.Dropout(dropout)),
        )
        self.genes = GroupEncoder(sizes.groups, (*[4 * dim] * deep, dim), dropout=dropout)
        exact = attention == "exact"
        self.pathology_encoder = ClassTransformer(dim, position=True, exact=exact)
        self.genomic_encoder = ClassTransformer(dim, position=False, exact=exact)
        self.tiles_ask = CoAttention(dim)
        self.genes_ask = CoAttention(dim)
        self.pathology_decoder = ClassTransformer(dim, position=True, exact=exact)
        self.genomic_decoder = ClassTransformer(dim, position=False, exact=exact)
        self.fusion = Concatenation(dim) if fusion == "concat" else Bilinear(dim, dropout=dropout)
        self.head = nn.Linear(dim, sizes.bins)
        xavier(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        genes = self.genes(need_groups(bag, genomics))  # (K, dim)
        seen = self._cap(bag)
        tiles = self.embed(bag.features if seen is None else bag.features[seen])  # (N, dim)
        encoded, translated, scores = self._translate(tiles, genes)
        path, gene = (encoded + translated) / 2  # (dim,) each
        losses = {"alignment": alignment(encoded, translated).sum()} if self.training else {}
        attention = _tile_attention(scores, len(tiles))  # (N,)
        if seen is not None:
            attention = attention.new_zeros(len(bag)).index_copy(0, seen, attention)
        return ModelOutput(self.head(self.fusion(path, gene)), attention, losses=losses)

    def _translate(self, tiles: Tensor, genes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, dim), (K, dim) → (2, dim) p and g, (2, dim) p̂ and ĝ, (K, s²) what genes look at, before the softmax."""
        path, gene = self.pathology_encoder.encode(tiles), self.genomic_encoder.encode(genes)  # class tokens first
        tiles_told, _ = self.tiles_ask(path[1:], gene[1:])  # (s², dim)
        genes_told, scores = self.genes_ask(gene[1:], path[1:])  # (K, dim), (K, s²)
        translated = torch.stack([self.pathology_decoder(tiles_told), self.genomic_decoder(genes_told)])
        return torch.stack([path[0], gene[0]]), translated, scores

    def _cap(self, bag: Bag) -> Tensor | None:
        """(cap,) the tiles to look at; None for all of them."""
        if self.cap is None or len(bag) <= self.cap:
            return None
        fresh = [int(torch.randint(2**31, ()))] if self.training else []
        generator = torch.Generator().manual_seed(seed_for("cap", bag.patient, *fresh))
        return select_random(len(bag), self.cap, generator).to(bag.features.device)


def _tile_attention(scores: Tensor, tiles: int) -> Tensor:
    """(K, s²) → (N,) mean over gene groups; a tile that completed the square gets the weight of its copy too."""
    attention = scores.softmax(-1).mean(0)  # (s²,)
    return attention[:tiles] + F.pad(attention[tiles:], (0, 2 * tiles - len(attention)))
