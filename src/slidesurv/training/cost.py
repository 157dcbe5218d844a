"""What a method costs, counted and not timed: the same on every machine."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from slidesurv.registry import models
from slidesurv.training.step import show
from slidesurv.types import Bag, Genomics, PatientData, Sizes, SurvivalTarget

__all__ = ["USUAL", "gigaflops"]

USUAL = Sizes(tile=1024, bins=4, embedding=256, expression=2000, groups=(82, 328, 513, 443, 1536, 452))
"""ResNet-50 features, BulkRNABert's embedding, the signatures of MCAT."""


def gigaflops(name: str, *, tiles: int = 10_000, sizes: Sizes = USUAL) -> float:
    """Count the operations of one prediction with the method's defaults.

    Args:
        name: of the method.
        tiles: N of the patient.
        sizes: what the data dictates.

    Returns:
        10⁹ additions and multiplications in matrix products, convolutions and attention; a larger value costs more.
    """
    torch.manual_seed(0)
    model = models.build(name, sizes).eval()
    bag = Bag("cost", torch.rand(tiles, sizes.tile), torch.zeros(tiles, 2).long(), torch.zeros(tiles).long())
    model.prepare([bag[torch.arange(min(tiles, 500))]])
    groups = tuple(torch.zeros(size) for size in sizes.groups)
    genomics = Genomics(groups, torch.zeros(sizes.embedding), torch.zeros(sizes.expression))
    unknown = SurvivalTarget(torch.zeros(1), torch.zeros(1, dtype=torch.bool), torch.zeros(1).long())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        show(model, PatientData("cost", bag, genomics, unknown))
    return counter.get_total_flops() / 1e9
