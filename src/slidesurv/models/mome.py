"""MoME: at each of four stages a router picks how one modality hears the other (Xiong et al., MICCAI 2024).

Written from the specification. Differs: of a layer only the rows that are read later are computed; tokens that are not
taught are saved with the weights; a norm that nothing uses is not built. The router is frozen as in the authors'
program, where no gradient reaches it; ``router`` says otherwise.
"""

from math import log
from typing import Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import HARNESS, Dropout, Paper, SurvivalModel, Width, need_groups
from slidesurv.models.micro_batch import MICRO_BATCH_LOSS, Count, deal, gather, mean_answer
from slidesurv.nn.encoder import tile_weights
from slidesurv.nn.nystrom import SelfAttention
from slidesurv.nn.snn import GroupEncoder, self_normalising
from slidesurv.registry import models
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["MoME"]

Routing = Literal["frozen", "straight_through", "soft_weighted"]

OMEGA = (9 / log(9) - 1) ** 0.5  # the weight of a residual, after Liu et al. (Admin, EMNLP 2020)


@final
@models.register("mome")
class MoME(SurvivalModel):
    """Mixture of multimodal experts; it needs tiles and gene groups for every prediction.

    The attention it gives is what the class token of the last layer looks at, the largest over heads.

    Args:
        sizes: tile D, bins T and groups G_k are read.
        dim: width of a token.
        router: "frozen" picks one expert by a network that is never taught, as released; "straight_through" picks as
            well and teaches the picking by the gradient of its probability; "soft_weighted" weighs all four.
        bottleneck: tokens through which the second expert hears the other modality.
        learn_tokens: teach the class token and those of the bottlenecks; as released they stay as drawn.
        micro_batch: most tiles judged at once. The bag is shuffled and parted, anew at every training step and the
            same for every prediction; chunks are taught one by one and predict by their mean survival curve. None
            judges the whole bag in its order.
        dropout: after each layer outside the attention.
    """

    slides = Use.ALWAYS
    genomics = Use.ALWAYS
    view = "groups"
    paper = Paper(
        key="xiong2024mome",
        title="MoME: Mixture of Multimodal Experts for Cancer Survival Prediction",
        authors="Xiong, C. and Chen, H. and Zheng, H. and Wei, D. and Zheng, Y. and Sung, J. J. Y. and King, I.",
        venue="Medical Image Computing and Computer Assisted Intervention",
        year=2024,
        url="https://arxiv.org/abs/2406.09696",
        licence="authors' program: no licence; not used",
    )
    native = HARNESS

    def __init__(
        self,
        sizes: Sizes,
        *,
        dim: Width = 512,
        router: Routing = "frozen",
        bottleneck: Count = 2,
        learn_tokens: bool = False,
        micro_batch: Count | None = 4096,
        dropout: Dropout = 0.25,
    ) -> None:
        super().__init__(sizes)
        self.micro_batch = micro_batch
        if micro_batch is not None:
            self.loss_weights = MICRO_BATCH_LOSS
        self.embed = nn.Sequential(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout))
        self.genes = GroupEncoder(sizes.groups, (dim, dim), dropout=dropout)
        experts = [
            nn.ModuleList([Joined(dim), Bottleneck(dim, bottleneck, learn_tokens), Added(dim, dropout), Dropped()])
            for _ in range(4)
        ]
        self.stages = nn.ModuleList(Stage(dim, four, router) for four in experts)
        self.token = nn.Parameter(torch.rand(1, dim), requires_grad=learn_tokens)
        self.last = Layer(dim, nn.LayerNorm(dim))
        self.head = nn.Linear(dim, sizes.bins)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        genes = self.genes(need_groups(bag, genomics))  # (L, dim)
        tiles = self.embed(bag.features)  # (N, dim)
        if self.micro_batch is None:
            return ModelOutput(*self._judge(tiles, genes))
        chunks = deal(bag, self.micro_batch, training=self.training)
        logits, attention = zip(*(self._judge(tiles[places], genes) for places in chunks), strict=True)
        return mean_answer(torch.stack(logits), gather(attention, chunks) if self.explains else None)

    def _judge(self, tiles: Tensor, genes: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, dim) tiles, (L, dim) genes → (T,) logits, (N,) attention if it is asked for."""
        for turn, stage in enumerate(self.stages):
            if turn % 2 == 0:
                tiles = stage(tiles, genes)
            else:
                genes = stage(genes, tiles)
        tokens = torch.cat([self.token, tiles, genes])  # (1 + N + L, dim)
        logits = self.head(self.last(tokens, 1)[0])
        return logits, tile_weights(self.last.first_row(tokens)[: 1 + len(tiles)]) if self.explains else None


class Stage(nn.Module):
    """A router and four experts, of which it picks one.

    Args:
        dim: width of a token.
        experts: each takes (n, dim) own and (m, dim) partner tokens to (n, dim).
        routing: see `MoME`.
    """

    def __init__(self, dim: int, experts: nn.ModuleList, routing: Routing) -> None:
        super().__init__()
        self.routing = routing
        self.experts = experts
        self.router = Router(dim, len(experts)).requires_grad_(routing != "frozen")

    @override
    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        """(n, dim) own and (m, dim) partner tokens → (n, dim) own tokens that have heard the partner."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.routing != "frozen"):
            gate = self.router(own, partner).softmax(-1)  # (4,)
        if self.routing == "soft_weighted":
            first, *others = (share * hear(own, partner) for share, hear in zip(gate, self.experts, strict=True))
            return sum(others, first)
        picked = int(gate.argmax())
        heard: Tensor = self.experts[picked](own, partner)
        if self.routing == "frozen":
            return heard
        return heard * (1 + gate[picked] - gate[picked].detach())  # its value unchanged, its gradient the gate's


class Router(nn.Module):
    """Scores of the experts, from the mean of both modalities."""

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.own, self.partner = (nn.Sequential(nn.Linear(dim, dim), RMSNorm(dim), nn.GELU()) for _ in range(2))
        self.score = nn.Linear(dim, experts)

    @override
    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        """(n, dim), (m, dim) → (experts,) scores, before the softmax."""
        scores: Tensor = self.score(self.own(own).mean(0) + self.partner(partner).mean(0))
        return scores


class Joined(nn.Module):
    """Expert 0: one layer over both modalities."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer = Layer(dim, RMSNorm(dim))

    @override
    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        """(n, dim), (m, dim) → (n, dim)."""
        heard: Tensor = self.layer(torch.cat([own, partner]), len(own))
        return heard


class Bottleneck(nn.Module):
    """Expert 1: a few tokens ask the partner, and the own tokens ask them."""

    def __init__(self, dim: int, tokens: int, learn_tokens: bool) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.rand(1, tokens, dim), requires_grad=learn_tokens)
        self.partner = Layer(dim, nn.LayerNorm(dim))
        self.own = Layer(dim, nn.LayerNorm(dim))

    @override
    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        """(n, dim), (m, dim) → (n, dim)."""
        told = self.partner(torch.cat([self.tokens[0], partner]), self.tokens.shape[1])
        heard: Tensor = self.own(torch.cat([own, told]), len(own))
        return heard


class Added(nn.Module):
    """Expert 2: the mean of the partner's tokens is added to each own token."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.own, self.partner = (
            nn.Sequential(RMSNorm(dim), self_normalising(dim, dim, dropout=dropout)) for _ in range(2)
        )

    @override
    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        """(n, dim), (m, dim) → (n, dim)."""
        heard: Tensor = self.own(own) + self.partner(partner).mean(0)
        return heard


class Dropped(nn.Module):
    """Expert 3: the partner is not heard."""

    @override
    def forward(self, own: Tensor, partner: Tensor) -> Tensor:
        """(n, dim), (m, dim) → (n, dim)."""
        return own


class Layer(nn.Module):
    """ω x + attention(norm(x)), of which the first rows are computed.

    Args:
        dim: width of a token.
        norm: of the attention's input.
    """

    def __init__(self, dim: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.attention = SelfAttention(dim, landmarks=dim // 2)

    @override
    def forward(self, tokens: Tensor, rows: int) -> Tensor:
        """(n, dim) → (rows, dim)."""
        attended: Tensor = self.attention.first(self.norm(tokens), rows)
        return OMEGA * tokens[:rows] + attended

    def first_row(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (n,) what the first token attends to, the largest over heads; it may be negative."""
        return self.attention.first_row(self.norm(tokens)).amax(0)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm in the precision of its gain, whatever autocast gives it."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """(n, dim) → (n, dim)."""
        return super().forward(tokens.to(self.weight.dtype))
