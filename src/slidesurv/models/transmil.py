"""TransMIL: all tiles attend to all tiles (Shao et al., NeurIPS 2021).

Written from the specification. Differs: the head predicts T hazards. The default starts as the field's survival port
does (class token near zero, Xavier weights, dropout after the embedding); ``preset = "authors"`` starts as published.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

from torch import nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Weight, Width
from slidesurv.nn.encoder import ClassTransformer, tile_weights
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["TransMIL"]


@final
@models.register("transmil")
class TransMIL(SurvivalModel):
    """A transformer over tiles, with the square of tiles as position.

    Args:
        sizes: tile D and bins T are read.
        dim: width of a token.
        attention: "nystrom" (as published) or "exact".
        dropout: after the embedding.
        class_std: standard deviation of the class token at the start.
        init: "xavier", or "torch" for PyTorch's own.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="shao2021transmil",
        title="TransMIL: Transformer based Correlated Multiple Instance Learning for Whole Slide Image Classification",
        authors="Shao, Z. and Bian, H. and Chen, Y. and Wang, Y. and Zhang, J. and Ji, X. and Zhang, Y.",
        venue="Advances in Neural Information Processing Systems",
        year=2021,
        url="https://arxiv.org/abs/2106.00908",
        licence="authors' program: GPL-3.0, non-commercial; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "authors": {"dropout": 0.0, "class_std": 1.0, "init": "torch"},
    }
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "lookahead",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "schedule": "constant",
        "epochs": 200,
        "accumulate": 2,
        "patience": 10,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        dim: Width = 512,
        attention: Literal["nystrom", "exact"] = "nystrom",
        dropout: Dropout = 0.25,
        class_std: Weight = 1e-6,
        init: Literal["xavier", "torch"] = "xavier",
    ) -> None:
        super().__init__(sizes)
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.encoder = ClassTransformer(dim, position=True, exact=attention == "exact", class_std=class_std)
        self.head = nn.Linear(dim, sizes.bins)
        if init == "xavier":
            xavier(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        tiles = self.embed(bag.features)  # (N, dim)
        if not self.explains:
            return ModelOutput(self.head(self.encoder(tiles)))
        patient, row = self.encoder.explain(tiles)  # (dim,), (1 + N,)
        return ModelOutput(self.head(patient), tile_weights(row))
