"""The expression encoder: a transformer over genes, one token a gene (Gélard et al., PMLR 259, 2024).

Written from the specification. Parameters bear the names of the authors' release on the hub, so that its file fits as
it is. A gene's place is told by its own vector alone; there is no class token and no norm at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from slidesurv.errors import DataError
from slidesurv.genomics.tokens import TPMBins

__all__ = ["Block", "EncoderConfig", "ExpressionEncoder", "add_ia3", "merge_ia3"]

DROPPED = -1e30  # what the authors set a dropped score to: finite, so that a row of nothing else stays a number


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The sizes of an encoder, under the names of the authors' ``config.json``.

    Attributes:
        n_genes: G, genes, in the order of the list that the weights were taught on.
        n_expressions_bins: V, bins of expression, the zero bin included.
        embed_dim: D, width of a token.
        init_gene_embed_dim: width of the table of gene vectors.
        num_attention_heads: H.
        ffn_embed_dim: width inside the feed-forward part.
        num_layers: L, blocks.
        key_size: width of a head; None is D / H.
        project_gene_embedding: a linear layer takes gene vectors to D; always, where their width is another.
        use_gene_embedding: whether there are gene vectors at all.
        use_gradient_checkpointing: compute a block twice in training rather than keep what it made.
        use_log_normalization, use_max_normalization, normalization_factor: how TPM become bins, see `TPMBins`.

    Raises:
        DataError: the sizes do not fit together.
    """

    n_genes: int
    n_expressions_bins: int
    embed_dim: int
    init_gene_embed_dim: int
    num_attention_heads: int
    ffn_embed_dim: int
    num_layers: int
    key_size: int | None = None
    project_gene_embedding: bool = False
    use_gene_embedding: bool = True
    use_gradient_checkpointing: bool = False
    use_log_normalization: bool = True
    use_max_normalization: bool = True
    normalization_factor: float | None = None

    def __post_init__(self) -> None:
        sizes = [
            *(self.n_genes, self.n_expressions_bins, self.embed_dim, self.init_gene_embed_dim),
            *(self.num_attention_heads, self.ffn_embed_dim, self.num_layers, self.head_width),
        ]
        if min(sizes) < 1 or (self.key_size is None and self.embed_dim % self.num_attention_heads):
            raise DataError(
                f"An encoder of {self.n_genes} genes, {self.num_layers} layers and {self.num_attention_heads} heads of "
                f"a width of {self.embed_dim} cannot be built: sizes are 1 or more, and heads share the width evenly "
                "unless key_size is given. Give the config.json that came with the weights."
            )

    @property
    def head_width(self) -> int:
        """K, width of a head."""
        return self.embed_dim // max(1, self.num_attention_heads) if self.key_size is None else self.key_size

    @property
    def projects(self) -> bool:
        """Whether gene vectors go through a linear layer."""
        return self.use_gene_embedding and (self.project_gene_embedding or self.init_gene_embed_dim != self.embed_dim)

    @property
    def bins(self) -> TPMBins:
        """How TPM become token ids.

        Raises:
            DataError: the config does not name the factor; there is none to guess, each release has its own.
        """
        if not self.normalization_factor or self.normalization_factor < 0:
            raise DataError(
                f"The encoder's normalization_factor is {self.normalization_factor}, but must be positive: it belongs "
                "to the weights. Take config.json (or, from the hub, tokenizer_config.json) from where they came."
            )
        return TPMBins(
            count=self.n_expressions_bins,
            factor=self.normalization_factor,
            log=self.use_log_normalization,
            relative=self.use_max_normalization,
        )


def _asking(wide: int, narrow: int) -> nn.Linear:
    """A layer around attention, or the last: uniform, biases too."""
    layer = nn.Linear(wide, narrow)
    for values in (layer.weight, layer.bias):
        bound = sqrt(6 / values.shape[-1])
        nn.init.uniform_(values, -bound, bound)
    return layer


def _feeding(wide: int, narrow: int) -> nn.Linear:
    """Any other layer: normal, cut at two deviations, biases 0."""
    layer = nn.Linear(wide, narrow)
    std = 1 / sqrt(wide)
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer


def _table(count: int, dim: int) -> nn.Embedding:
    table = nn.Embedding(count, dim)
    nn.init.trunc_normal_(table.weight, a=-2.0, b=2.0)
    return table


class Attention(nn.Module):
    """Every gene asks every gene; scores are never kept, so that memory grows with G alone."""

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.w_q: nn.Module = _asking(dim, heads * width)
        self.w_k: nn.Module = _asking(dim, heads * width)
        self.w_v: nn.Module = _asking(dim, heads * width)
        self.output = _asking(heads * width, dim)

    @override
    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = (self._heads(part(tokens)) for part in (self.w_q, self.w_k, self.w_v))  # (B, H, G, K)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)  # (B, H, G, K)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (B, G, D)

    def rows(self, tokens: Tensor, genes: Tensor) -> Tensor:
        """What Q genes attend to: (B, H, Q, G)."""
        query, key = self._heads(self.w_q(tokens[:, genes])), self._heads(self.w_k(tokens))
        return (query @ key.transpose(2, 3) / sqrt(key.shape[-1])).softmax(-1)

    def _heads(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention, then a feed-forward part; each on a normalised copy, each added to what came in."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.layer_norm_self_attention = nn.LayerNorm(dim, eps=1e-5)
        self.mha = Attention(dim, config.num_attention_heads, config.head_width)
        self.layer_norm_mlp = nn.LayerNorm(dim, eps=1e-5)
        self.fc1 = _feeding(dim, config.ffn_embed_dim)
        self.activation: nn.Module = nn.GELU()
        self.fc2 = _feeding(config.ffn_embed_dim, dim)

    @override
    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = tokens + self.mha(self.layer_norm_self_attention(tokens), mask)
        return tokens + self.fc2(self.activation(self.fc1(self.layer_norm_mlp(tokens))))


class ExpressionEncoder(nn.Module):
    """A transformer over the genes of a sample.

    Args:
        config: the sizes. A new encoder starts as the authors' does, but for the gene vectors, which they take from
            Gene2Vec.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        dim, init = config.embed_dim, config.init_gene_embed_dim
        self.expression_embedding_layer = _table(config.n_expressions_bins, dim)
        self.gene_embedding_layer = _table(config.n_genes, init) if config.use_gene_embedding else None
        self.fc_gene_embedding = _feeding(init, dim) if config.projects else nn.Identity()
        self.transformer_layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.lm_head = _asking(dim, config.n_expressions_bins)

    @property
    def blocks(self) -> Sequence[Block]:
        """The L blocks."""
        return cast(Sequence[Block], self.transformer_layers)

    @override
    def forward(self, ids: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """Encode samples.

        Args:
            ids: (B, G) bins of expression; an id past the last bin is taken for the last, as the authors' program does.
            keep: (B, G) True where a gene may be attended to; None is everywhere.

        Returns:
            (B, G, D) the tokens after the last block; `lm_head` makes the logits (B, G, V) of the bins out of them.

        Raises:
            DataError: there are not G ids a sample.
        """
        return deque(self.layers(ids, keep=keep), maxlen=1).pop()

    def layers(self, ids: Tensor, *, keep: Tensor | None = None) -> Iterator[Tensor]:
        """Give the tokens (B, G, D) after each block, one after the other; arguments as for `forward`."""
        mask = None if keep is None else self._mask(keep)
        tokens = self.inputs(ids)
        for block in self.blocks:
            if self.config.use_gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, mask, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens = block(tokens, mask)
            yield tokens

    def inputs(self, ids: Tensor) -> Tensor:
        """Give the tokens (B, G, D) before the first block: expression and gene, added."""
        if ids.shape[-1] != self.config.n_genes:
            raise DataError(
                f"A sample has {ids.shape[-1]} genes, but the encoder was built for {self.config.n_genes}. "
                "Put the table's columns in the order of the weights' gene list first."
            )
        expression = self.expression_embedding_layer(ids.clamp(max=self.config.n_expressions_bins - 1))  # (B, G, D)
        if self.gene_embedding_layer is None:
            return expression
        return expression + self.fc_gene_embedding(self.gene_embedding_layer.weight)

    def embed(self, ids: Tensor) -> Tensor:
        """Sum samples up.

        Returns:
            (B, D) mean of the last tokens over all genes, in float32 at least.
        """
        tokens = self(ids)
        return tokens.mean(1, dtype=torch.promote_types(tokens.dtype, torch.float32))

    def attention(self, ids: Tensor, *, layer: int, genes: Tensor) -> Tensor:
        """Look at what genes attend to.

        Args:
            ids: (B, G) as for `forward`.
            layer: of the block, from 1 to L.
            genes: (Q,) whose rows are wanted; all G of them cost G² numbers a head.

        Returns:
            (B, H, Q, G) weights that sum to 1 over the last axis.
        """
        tokens = self.inputs(ids)
        for block in self.blocks[: layer - 1]:
            tokens = block(tokens)
        block = self.blocks[layer - 1]
        return block.mha.rows(block.layer_norm_self_attention(tokens), genes)

    def _mask(self, keep: Tensor) -> Tensor:
        """(B, 1, 1, G) what is added to the scores of each gene."""
        added = torch.zeros(keep.shape, dtype=self.lm_head.weight.dtype, device=keep.device)
        return added.masked_fill_(~keep, DROPPED)[:, None, None]


class Scaled(nn.Module):
    """A layer whose answers (..., width) are multiplied by learnt numbers, 1 at the start."""

    def __init__(self, layer: nn.Module, scale: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.scale = nn.Parameter(scale)

    @override
    def forward(self, values: Tensor) -> Tensor:
        return self.layer(values) * self.scale


def add_ia3(encoder: ExpressionEncoder) -> None:
    """Freeze an encoder, and let it learn multipliers of its keys, values and hidden units, and nothing else.

    Source:
        Liu et al., IA³ (NeurIPS 2022).
    """
    encoder.requires_grad_(False)
    for block in encoder.blocks:
        attention, weight = block.mha, block.fc2.weight
        attention.w_k = Scaled(attention.w_k, weight.new_ones(attention.output.in_features))
        attention.w_v = Scaled(attention.w_v, weight.new_ones(attention.output.in_features))
        block.activation = Scaled(block.activation, weight.new_ones(block.fc2.in_features))


@torch.no_grad()
def merge_ia3(encoder: ExpressionEncoder) -> None:
    """Work learnt multipliers into the weights: the same function, in an encoder as it was built."""
    for block in encoder.blocks:
        block.mha.w_k, block.mha.w_v = _merged(block.mha.w_k), _merged(block.mha.w_v)
        assert isinstance(block.activation, Scaled)
        block.fc2.weight.mul_(block.activation.scale)  # its columns are hidden units
        block.activation = block.activation.layer


def _merged(scaled: nn.Module) -> nn.Linear:
    assert isinstance(scaled, Scaled) and isinstance(scaled.layer, nn.Linear)
    scaled.layer.weight.mul_(scaled.scale[:, None])
    scaled.layer.bias.mul_(scaled.scale)
    return scaled.layer
