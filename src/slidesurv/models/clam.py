"""CLAM-SB: gated attention, and tiles that learn what their attention says (Lu et al., Nature Biomed. Eng. 2021).

Written from the specification. Differs: the head predicts T hazards; the class of the instance loss is the bin of
death, so censored patients have none. The default is the field's survival port: no instance loss, no dropout, Xavier
weights. Without the instance loss this is AttnMIL without its last layer, so say which of the two was trained.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.errors import ConfigError
from slidesurv.models.base import Dropout, Paper, SurvivalModel, Width
from slidesurv.nn.attention import GatedAttention
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["CLAM"]

GATES = {"small": 256, "big": 384}
MARGINS = {"ce": 0.0, "svm": 1.0}


@final
@models.register("clam")
class CLAM(SurvivalModel):
    """Clustering-constrained attention with a single branch.

    Args:
        sizes: tile D and bins T are read.
        size: width of the gate, "small" 256 or "big" 384.
        dim: width of an embedded tile.
        instance: what the tiles of highest and lowest attention are taught: "none"; "ce", the cross-entropy of evidence
            for the bin of death against none; "svm", its smooth hinge with margin 1.
        sampled: how many tiles of each end are taught; a smaller bag gives all it has.
        subtyping: teach the other bins as well that the tiles of highest attention are no evidence for them.
        bag_weight: of the likelihood beside the instance loss, which gets the rest.
        dropout: after each hidden layer.
        init: "xavier", or "torch" for PyTorch's own.
        as_released: build the instance classifiers even when nothing teaches them, as the survival port does.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="lu2021clam",
        title="Data-efficient and Weakly Supervised Computational Pathology on Whole-slide Images",
        authors="Lu, M. Y. and Williamson, D. F. K. and Chen, T. Y. and Chen, R. J. and Barbieri, M. and Mahmood, F.",
        venue="Nature Biomedical Engineering",
        year=2021,
        url="https://arxiv.org/abs/2004.09666",
        licence="authors' program: GPL-3.0, non-commercial; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "authors": {"instance": "svm", "dropout": 0.25, "init": "torch"},
        "port": {"as_released": True},
    }
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "epochs": 200,
        "patience": 20,
        "accumulate": 1,
        "sampler": "weighted",
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        size: Literal["small", "big"] = "small",
        dim: Width = 512,
        instance: Literal["none", "ce", "svm"] = "none",
        sampled: Annotated[int, Field(gt=0)] = 8,
        subtyping: bool = False,
        bag_weight: Annotated[float, Field(ge=0, le=1)] = 0.7,
        dropout: Dropout = 0.0,
        init: Literal["xavier", "torch"] = "xavier",
        as_released: bool = False,
    ) -> None:
        super().__init__(sizes)
        self.instance, self.sampled, self.subtyping = instance, sampled, subtyping
        if instance != "none":
            _need_bins(sizes, instance)
            self.loss_weights = {"nll": bag_weight, "instance": 1 - bag_weight}
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.attention = GatedAttention(dim, GATES[size], dropout=dropout)
        self.head = nn.Linear(dim, sizes.bins)
        classifiers = sizes.bins if as_released or instance != "none" else 0
        self.instances = nn.ModuleList(nn.Linear(dim, 2) for _ in range(classifiers))
        if init == "xavier":
            xavier(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        tiles = self.embed(bag.features)  # (N, dim)
        scores = self.attention(tiles)  # (N,)
        attention = scores.softmax(0)  # (N,)
        taught = self.training and self.instance != "none"
        bin_losses = {"instance": self._instance_loss(tiles, scores)} if taught else {}
        return ModelOutput(self.head(attention @ tiles), attention, bin_losses=bin_losses)

    def _instance_loss(self, tiles: Tensor, scores: Tensor) -> Tensor:
        """(N, dim) tiles and their (N,) scores → (T,) loss if death was in bin t, in nats."""
        count, margin = min(self.sampled, len(tiles)), MARGINS[self.instance]
        ends = torch.cat([scores.topk(count, largest=largest).indices for largest in (True, False)])  # (2 count,)
        chosen = tiles.index_select(0, ends)  # (2 count, dim)
        answers = torch.stack([classify(chosen) for classify in self.instances])  # (T, 2 count, 2)
        evidence = answers[..., 1] - answers[..., 0]  # (T, 2 count) log odds of evidence against none
        if_some, if_none = F.softplus(margin - evidence), F.softplus(margin + evidence)
        own = torch.cat([if_some[:, :count], if_none[:, count:]], 1).mean(1)  # (T,)
        if not self.subtyping:
            return own
        foreign = if_none[:, :count].mean(1)  # (T,) what the highest tiles cost a bin that is not the patient's
        return (own + foreign.sum() - foreign) / len(own)


def _need_bins(sizes: Sizes, instance: str) -> None:
    """The classes of the instance loss are bins; a proportional hazard has none."""
    if sizes.bins == 1:
        raise ConfigError(
            f"In model 'clam': option 'instance' is '{instance}', which needs two time bins or more, but there is one. "
            'Set instance = "none", or [training] loss = "nll".'
        )
