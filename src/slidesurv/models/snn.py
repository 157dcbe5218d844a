"""SNN: survival from a patient's genes alone (Klambauer et al., NeurIPS 2017; survival use by Chen et al., 2021).

Written from the specification. Differs: none; activation ELU and LeCun initialisation are the field's.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, final

from torch import nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, need_expression
from slidesurv.nn.snn import lecun, self_normalising
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["SNN"]

WIDTHS = {"small": (256, 256, 256, 256), "big": (1024, 1024, 1024, 256)}


@final
@models.register("snn")
class SNN(SurvivalModel):
    """A self-normalising network on scaled expression.

    Args:
        sizes: expression G and bins T are read.
        size: "small" (four layers of 256) or "big" (1024, 1024, 1024, 256).
        dropout: alpha dropout of each block.
    """

    slides = Use.NEVER
    genomics = Use.ALWAYS
    view = "expression"
    paper = Paper(
        key="klambauer2017self",
        title="Self-Normalizing Neural Networks",
        authors="Klambauer, G. and Unterthiner, T. and Mayr, A. and Hochreiter, S.",
        venue="Advances in Neural Information Processing Systems",
        year=2017,
        url="https://arxiv.org/abs/1706.02515",
        licence="survival programs: GPL-3.0, non-commercial; not used",
    )

    native: ClassVar[Mapping[str, Any]] = {**HARNESS, "l1": 1e-4}

    def __init__(self, sizes: Sizes, *, size: Literal["small", "big"] = "small", dropout: Dropout = 0.25) -> None:
        super().__init__(sizes)
        widths = (sizes.expression, *WIDTHS[size])
        self.blocks = nn.Sequential(
            *(self_normalising(wide, narrow, dropout=dropout) for wide, narrow in pairwise(widths))
        )
        self.head = nn.Linear(widths[-1], sizes.bins)
        lecun(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        return ModelOutput(self.head(self.blocks(need_expression(bag, genomics))))
