"""Layers for tables of genes, and the initial weights of the field."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["GroupEncoder", "lecun", "self_normalising", "xavier"]


def self_normalising(wide: int, narrow: int, *, dropout: float = 0.25) -> nn.Sequential:
    """Make a block for gene values: linear, ELU, alpha dropout.

    Differs:
        Klambauer et al. (NeurIPS 2017) use SELU; every survival program of the field uses ELU.
    """
    return nn.Sequential(nn.Linear(wide, narrow), nn.ELU(), nn.AlphaDropout(dropout))


class GroupEncoder(nn.Module):
    """One self-normalising network a gene group, so that each group becomes a token.

    Args:
        groups: G_k, genes of each group.
        widths: of the hidden layers in turn; the last is the width of a token.
        dropout: alpha dropout of each block.

    Source:
        Chen et al., MCAT, ICCV 2021.
    """

    def __init__(self, groups: Sequence[int], widths: Sequence[int], *, dropout: float = 0.25) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(
                *(self_normalising(wide, narrow, dropout=dropout) for wide, narrow in pairwise((genes, *widths)))
            )
            for genes in groups
        )

    @override
    def forward(self, groups: Sequence[Tensor]) -> Tensor:
        """The values (G_k,) of L groups → (L, dim) one token a group."""
        return torch.stack([encode(genes) for encode, genes in zip(self.encoders, groups, strict=True)])


def lecun(module: nn.Module) -> None:
    """Draw every linear layer from N(0, 1 / fan in), biases 0 (Klambauer et al., 2017)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=1 / sqrt(layer.in_features))
            nn.init.zeros_(layer.bias)


def xavier(module: nn.Module) -> None:
    """Draw every linear layer from the Xavier normal, biases 0; leave convolutions and tokens as they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
