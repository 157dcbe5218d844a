"""A method of your own, in one file outside the package: the mean of the tiles and the tile that is furthest from it.

    python examples/02_my_model.py
    SLIDESURV_PROTOCOL=examples/02_my_model.py python -m pytest tests/models/test_protocol.py

The first line shows it a bag; the second asks it the questions that every method here answers. A package of yours makes
it known to ``slidesurv crossval`` with an entry point::

    [project.entry-points."slidesurv.models"]
    my_model = "my_package.my_model"
"""

import torch
from torch import nn
from typing_extensions import override

from slidesurv.models.base import Paper, SurvivalModel, Width
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use


@models.register("my_model")
class MyModel(SurvivalModel):
    """Two summaries of a bag, joined."""

    slides = Use.ALWAYS
    genomics = Use.NEVER
    paper = Paper(key="you2026", title="The furthest tile", authors="You, A.", venue="Somewhere", year=2026)

    def __init__(self, sizes: Sizes, *, dim: Width = 128) -> None:
        super().__init__(sizes)
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU())
        self.head = nn.Linear(2 * dim, sizes.bins)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        tiles = self.embed(bag.features)  # (N, dim)
        mean = tiles.mean(0)  # (dim,)
        furthest = tiles[(tiles - mean).square().sum(1).argmax()]  # (dim,)
        return ModelOutput(self.head(torch.cat([mean, furthest])))


if __name__ == "__main__":
    nowhere = torch.zeros(50, 2)
    output = models.build("my_model", Sizes(tile=16, bins=4))(
        Bag("P0", torch.rand(50, 16), nowhere, nowhere[:, 0]), None
    )
    print(f"risk {output.risk:.3f}, survival {output.survival.tolist()}")
