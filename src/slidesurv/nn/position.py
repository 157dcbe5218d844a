"""Where a token stands in the square of tiles (TransMIL's PPEG)."""

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

__all__ = ["PyramidPosition"]


class PyramidPosition(nn.Module):
    """PPEG: tokens plus three depth-wise convolutions of them, laid out row by row as a square.

    The identity and the three kernels are added into one 7×7 kernel before they meet the tokens: the same sum, one
    pass over memory.

    Args:
        dim: width of a token.

    Source:
        Shao et al., TransMIL, NeurIPS 2021, algorithm 3.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.middle = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.narrow = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(s², dim) → (s², dim)."""
        side = round(len(tokens) ** 0.5)
        image = tokens.T.unflatten(1, (side, side))[None]  # (1, dim, s, s), channels last in memory
        kernel = self.wide.weight + F.pad(self.middle.weight, (1,) * 4) + F.pad(self.narrow.weight, (2,) * 4)
        identity = F.pad(kernel.new_ones(1, 1, 1, 1), (3,) * 4)
        bias = self.wide.bias + self.middle.bias + self.narrow.bias  # type: ignore[operator]
        placed = F.conv2d(image, kernel + identity, bias, padding=3, groups=len(kernel))
        return placed[0].flatten(1).T
