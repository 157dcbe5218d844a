"""DSMIL: one critical tile a bin, and all tiles by their likeness to it (Li et al., CVPR 2021).

Written from the specification. Differs: the classes are time bins and both streams are taught by the likelihood. The
default is the field's survival port, which teaches every tile the patient's follow-up; ``preset = "authors"`` has the
authors' modules and rule, ``"paper"`` their linear queries and values of 2021.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, final

from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Width
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["DSMIL"]

QUERY = 128  # width of a query


@final
@models.register("dsmil")
class DSMIL(SurvivalModel):
    """Dual-stream multiple-instance learning.

    ``attention`` is the mean over bins of the weights that each bin gives to tiles.

    Args:
        sizes: tile D and bins T are read.
        embed: width of an embedded tile; false judges the features as they are.
        query: "deep" (two layers and a tanh) or "linear".
        value: what is pooled: "relu" (a layer and a ReLU), "linear" (a layer), or the "identity".
        loss: how the stream of tiles is taught: by the "mean" of every tile's own likelihood, weight 1; or by the
            likelihood of the "max" over tiles in each bin, half and half with the bag's.
        average: predict the mean logits of the bag and of the maximum; training is not changed.
        dropout: on the tiles that are pooled.
        init: "torch", or "orthogonal" with biases 0.
    """

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(
        key="li2021dsmil",
        title="Dual-stream Multiple Instance Learning Network for Whole Slide Image Classification with "
        "Self-supervised Contrastive Learning",
        authors="Li, B. and Li, Y. and Eliceiri, K. W.",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        year=2021,
        url="https://arxiv.org/abs/2011.08939",
        licence="authors' program: MIT; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "authors": {"embed": False, "value": "identity", "loss": "max", "init": "orthogonal"},
        "paper": {"embed": False, "query": "linear", "value": "linear", "loss": "max"},
    }
    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "weight_decay": 1e-3,
        "schedule": "cosine",
        "epochs": 50,
        "patience": 10,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        embed: Width | Literal[False] = 512,
        query: Literal["deep", "linear"] = "deep",
        value: Literal["relu", "linear", "identity"] = "relu",
        loss: Literal["mean", "max"] = "mean",
        average: bool = False,
        dropout: Dropout = 0.0,
        init: Literal["torch", "orthogonal"] = "torch",
    ) -> None:
        super().__init__(sizes)
        self.bend, self.loss, self.average = value == "relu", loss, average
        if loss == "max":
            self.loss_weights = {"nll": 0.5, "branches": 0.5}
        dim = embed or sizes.tile
        deep = (nn.ReLU(), nn.Linear(QUERY, QUERY), nn.Tanh()) if query == "deep" else ()
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU()) if embed else nn.Identity()
        self.instance = nn.Linear(dim, sizes.bins)
        self.query = nn.Sequential(nn.Linear(dim, QUERY), *deep)
        self.value = nn.Identity() if value == "identity" else nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(sizes.bins * dim, sizes.bins)  # the published convolution has one place to stand
        if init == "orthogonal":
            _orthogonal(self)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        tiles = self.embed(bag.features)  # (N, dim)
        instances = self.instance(tiles)  # (N, T)
        queries = self.query(tiles)  # (N, 128)
        critical = queries.index_select(0, instances.argmax(0))  # (T, 128)
        attention = (queries @ critical.T / QUERY**0.5).softmax(0)  # (N, T), each column sums to 1
        logits = self.head(self._pool(attention, tiles).flatten())  # (T,)
        highest = instances.amax(0)  # (T,)
        if self.average and not self.training:
            logits = (logits + highest) / 2
        branches = instances if self.loss == "mean" else highest[None]
        return ModelOutput(logits, attention.mean(1), branches)

    def _pool(self, attention: Tensor, tiles: Tensor) -> Tensor:
        """(N, T) weights and (N, dim) tiles → (T, dim); a linear value can wait until after the weighted mean."""
        tiles = self.dropout(tiles)
        if self.bend:
            return attention.T @ self.value(tiles).relu()
        pooled: Tensor = self.value(attention.T @ tiles)
        return pooled


def _orthogonal(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
