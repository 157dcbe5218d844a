"""SNNTrans: a transformer over six gene groups (the genomic branch of CMTA, Zhou and Chen, ICCV 2023, alone).

Written from the specification. Differs: no program of this baseline is published, so the genomic branch of CMTA stands
for it. Seven tokens are far fewer than the 128 landmarks, so 121 zero rows dilute the published attention;
``attention = "exact"`` is another model without them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

from torch import nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, Width, need_groups
from slidesurv.nn.encoder import ClassTransformer
from slidesurv.nn.snn import GroupEncoder, xavier
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["SNNTrans"]


@final
@models.register("snntrans")
class SNNTrans(SurvivalModel):
    """A self-normalising network a gene group, and a transformer over what they say.

    Args:
        sizes: groups G_k and bins T are read.
        hidden: width of the first layer of each group's network.
        dim: width of its second layer and of a token.
        attention: "nystrom" (as published) or "exact".
        dropout: alpha dropout of each block of the networks.
        init: "xavier" everywhere, or "torch" to start the groups' networks as PyTorch does.
    """

    slides = Use.NEVER
    genomics = Use.ALWAYS
    view = "groups"
    paper = Paper(
        key="zhou2023cross",
        title="Cross-Modal Translation and Alignment for Survival Analysis",
        authors="Zhou, F. and Chen, H.",
        venue="IEEE/CVF International Conference on Computer Vision",
        year=2023,
        url="https://arxiv.org/abs/2309.12855",
        licence="CMTA's program: no licence; not used. This baseline has no paper of its own",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mcat": {"hidden": 256, "init": "torch"}}
    native = HARNESS

    def __init__(
        self,
        sizes: Sizes,
        *,
        hidden: Width = 1024,
        dim: Width = 256,
        attention: Literal["nystrom", "exact"] = "nystrom",
        dropout: Dropout = 0.25,
        init: Literal["xavier", "torch"] = "xavier",
    ) -> None:
        super().__init__(sizes)
        self.embed = GroupEncoder(sizes.groups, (hidden, dim), dropout=dropout)
        self.encoder = ClassTransformer(dim, position=False, exact=attention == "exact")
        self.head = nn.Linear(dim, sizes.bins)
        for part in (self.encoder, self.head) if init == "torch" else (self,):
            xavier(part)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        tokens = self.embed(need_groups(bag, genomics))  # (K, dim)
        return ModelOutput(self.head(self.encoder(tokens)))
