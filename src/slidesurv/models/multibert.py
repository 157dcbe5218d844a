"""MultiBert: tiles and BulkRNABert's embedding, each summed up by a transformer, judged together.

A rival that the VGAT paper defines in one clause and no program was published for. Written from the specification:
VGAT without its selection, reconstruction and divergence, its genomic transformer fed E_G. Differs: docs/deviations.md.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Width, need_embedding
from slidesurv.models.vgat import VGA, Reconstruction
from slidesurv.nn.encoder import ClassTransformer, tile_weights
from slidesurv.nn.fusion import Concatenation
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["MultiBert"]


@final
@models.register("multibert")
class MultiBert(SurvivalModel):
    """Late fusion of a slide and a genomic embedding; it needs both for every prediction.

    Args:
        sizes: tile D, bins T and embedding D_g are read.
        dim: width of both transformers.
        attention: "nystrom" (as in VGAT) or "exact".
        vga: the paper's clause read otherwise: VGAT's learnable tokens ask E_G, in the place of tiles.
        dropout: of the pathology projection, and of VGA.
    """

    slides = Use.ALWAYS
    genomics = Use.ALWAYS
    view = "embedding"
    paper = Paper(
        key="chen2025vgat",
        title="VGAT: A Cancer Survival Analysis Framework Transitioning from Generative Visual Question Answering to "
        "Genomic Reconstruction",
        authors="Chen, Z. and others",
        venue="IEEE International Conference on Multimedia and Expo",
        year=2025,
        url="https://arxiv.org/abs/2503.19367",
        licence="no program of this method was published",
    )
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "schedule": "cosine",
        "epochs": 100,
        "accumulate": 1,
        "sampler": "uniform",
        "event_weight": 0.0,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        dim: Width = 256,
        attention: Literal["nystrom", "exact"] = "nystrom",
        vga: bool = False,
        dropout: Dropout = 0.25,
    ) -> None:
        super().__init__(sizes)
        embedding = sizes.embedding or dim
        self.embed = nn.Sequential(
            *(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout)),
        )
        self.pathology = ClassTransformer(dim, position=True, exact=attention == "exact")
        self.lift = _lift(embedding, dim, vga=VGA(dropout=dropout) if vga else None)
        self.genomic = ClassTransformer(dim, position=False, exact=attention == "exact")
        self.fusion = Concatenation(dim)
        self.head = nn.Linear(dim, sizes.bins)
        xavier(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        embedding = need_embedding(bag, genomics)  # (D_g,) E_G
        patient, attention = self._pathology(self.embed(bag.features))  # (dim,), (N,) or None
        genome = self.genomic(self.lift(embedding[None]).view(1, -1))  # (dim,)
        return ModelOutput(self.head(self.fusion(patient, genome)), attention)

    def _pathology(self, tiles: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, dim) → (dim,) what the tiles say of the patient, and (N,) attention if it is asked for."""
        if not self.explains:
            return self.pathology(tiles), None
        patient, row = self.pathology.explain(tiles)
        return patient, tile_weights(row)


def _lift(embedding: int, dim: int, *, vga: VGA | None) -> nn.Module:
    """What takes (1, D_g) to the transformer's width."""
    if vga is not None:
        return Reconstruction(embedding, dim, vga)
    return nn.Identity() if embedding == dim else nn.Linear(embedding, dim)
