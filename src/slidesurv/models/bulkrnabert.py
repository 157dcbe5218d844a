"""BulkRNABert: survival from a frozen encoder's embedding of the expression (Gélard et al., ML4H 2024).

Written from the specification. The encoder is not part of the model: ``slidesurv rna embed`` makes the embeddings once.
Differs: the released head tells five cohorts apart; the default is its layers with T hazards. ``preset = "cox"`` is the
head that was released later for a log hazard ratio: with ``[training] loss = "cox"`` its one logit is that.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, final

import torch.nn.functional as F
from pydantic import Field
from torch import nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, need_embedding
from slidesurv.nn.snn import lecun
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["BulkRNABert"]

Hidden = Annotated[int, Field(gt=0)]


@final
@models.register("bulkrnabert")
class BulkRNABert(SurvivalModel):
    """A few layers on a ready-made genomic embedding, which is taken as it is.

    Args:
        sizes: embedding D_g and bins T are read.
        hidden: widths of the hidden layers, each followed by SELU.
        dropout: once, after the last of them.
        norm: a layer norm before the head.
    """

    slides = Use.NEVER
    genomics = Use.ALWAYS
    view = "embedding"
    paper = Paper(
        key="gelard2024bulkrnabert",
        title="BulkRNABert: Cancer prognosis from bulk RNA-seq based language models",
        authors="Gélard, M. and Richard, G. and Pierrot, T. and Cournède, P.-H.",
        venue="Proceedings of the 4th Machine Learning for Health Symposium, PMLR 259",
        year=2024,
        url="https://www.biorxiv.org/content/10.1101/2024.06.18.599483",
        licence="authors' program and weights: CC BY-NC-SA 4.0, non-commercial; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cox": {"hidden": (512, 256), "norm": True}}

    def __init__(
        self, sizes: Sizes, *, hidden: tuple[Hidden, ...] = (256, 128), dropout: Dropout = 0.0, norm: bool = False
    ) -> None:
        super().__init__(sizes)
        widths = (sizes.embedding, *hidden)
        self.hidden = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(widths[-1]) if norm else nn.Identity()
        self.head = nn.Linear(widths[-1], sizes.bins)
        lecun(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        patient = need_embedding(bag, genomics)  # (D_g,)
        for layer in self.hidden:
            patient = F.selu(layer(patient))  # (width,)
        return ModelOutput(self.head(self.norm(self.dropout(patient))))
