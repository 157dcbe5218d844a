"""A transformer over a few tokens that have no order, and one vector that sums them up."""

from torch import Tensor, nn
from typing_extensions import override

from slidesurv.nn.attention import GatedAttention

__all__ = ["SetSummary", "SetTransformer"]


class SetTransformer(nn.Sequential):
    """Post-norm transformer layers without a code of position: (L, dim) → (L, dim), or (K, L, dim) for K sets.

    Args:
        dim: width of a token.
        layers: how many.
        heads: must divide ``dim``.
        dropout: on the attention and in each half of a layer.

    Source:
        Chen et al., MCAT, ICCV 2021.
    Differs:
        Each layer draws its own first weights; a `nn.TransformerEncoder` starts with copies of one layer.
    """

    def __init__(self, dim: int, *, layers: int = 2, heads: int = 8, dropout: float = 0.25) -> None:
        super().__init__(
            *(nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout, batch_first=True) for _ in range(layers))
        )


class SetSummary(nn.Module):
    """A set transformer, gated attention over its tokens, and a layer after the pooling.

    Args:
        dim: width of a token, and of the summary.
        dropout: inside each of the three.

    Source:
        Chen et al., MCAT, ICCV 2021.
    """

    def __init__(self, dim: int, *, dropout: float = 0.25) -> None:
        super().__init__()
        self.encoder = SetTransformer(dim, dropout=dropout)
        self.attention = GatedAttention(dim, dim, dropout=dropout)
        self.post = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout))

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(L, dim) → (dim,); of K sets at once (K, L, dim) → (K, dim)."""
        encoded = self.encoder(tokens)  # (..., L, dim)
        scores = self.attention(encoded.flatten(0, -2)).unflatten(0, encoded.shape[:-1])  # (..., L)
        pooled = (scores.softmax(-1)[..., None, :] @ encoded)[..., 0, :]  # (..., dim)
        summary: Tensor = self.post(pooled)
        return summary
