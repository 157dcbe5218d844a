"""Layers for tables of genes, and the initial weights of the field."""

from math import sqrt

from torch import nn

__all__ = ["lecun", "self_normalising", "xavier"]


def self_normalising(wide: int, narrow: int, *, dropout: float = 0.25) -> nn.Sequential:
    """Make a block for gene values: linear, ELU, alpha dropout.

    Differs:
        Klambauer et al. (NeurIPS 2017) use SELU; every survival program of the field uses ELU.
    """
    return nn.Sequential(nn.Linear(wide, narrow), nn.ELU(), nn.AlphaDropout(dropout))


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
