"""VGAT: a slide asks itself for the genome it was trained beside (Chen et al., ICME 2025).

Written from the paper and the specification of its released program; symbols as in the paper:
E_P tile features (N, D) · E_S visual prompts (N_S, D) · E_L learnable tokens (L, width) · E_G genomic embedding (D_g,)
· E_R its reconstruction (D_g,).

Where the paper contradicts itself: eq. (5) gives an N_L × N_S attention while the sentence calls A ∈ R^(N_S×N_L); here
each token spreads weights that sum to 1 over the prompts. After eq. (6) g(x) is called the density of E_S, though the
divergence is to E_G; here it is KL(softmax E_R ‖ softmax E_G). Every other choice: docs/deviations.md#vgat.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Paper, SurvivalModel
from slidesurv.nn.attention import CrossAttention, GatedFeedForward
from slidesurv.nn.encoder import ClassTransformer, tile_weights
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.selection.prompts import ESE, PromptSelector
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["VGA", "VGAT", "Reconstruction", "reconstruction_loss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VGA:
    """Choices of the reconstruction.

    Attributes:
        width: of tokens and projected prompts.
        tokens: L; their answers are averaged.
        heads: of the cross-attention.
        passes: how often the tokens ask.
        gate: scale each prompt by a learned number; the layer norm after it leaves next to nothing of that.
        attend: False replaces the cross-attention by the mean prompt (Table VIII).
        shared: one cross-attention for all passes, as released, or one a pass.
        output: project the attention's answer; eq. (5) has no such layer.
        dropout: everywhere.
    """

    width: int = 512
    tokens: int = 1
    heads: int = 4
    passes: int = 2
    gate: bool = True
    attend: bool = True
    shared: bool = True
    output: bool = True
    dropout: float = 0.25


DEFAULT_ESE, DEFAULT_VGA = ESE(), VGA()


class Reconstruction(nn.Module):
    """VGA: learnable tokens ask the visual prompts for the genome.

    Args:
        tile: D, width of a prompt.
        embedding: D_g, width of the reconstruction.
        choices: see `VGA`.

    Source:
        Chen et al., VGAT (2025), section II-C, eq. (5).
    """

    def __init__(self, tile: int, embedding: int, choices: VGA) -> None:
        super().__init__()
        width, dropout = choices.width, choices.dropout
        self.project = nn.Sequential(nn.Linear(tile, width), nn.ReLU(), nn.Dropout(dropout))
        self.gate = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1)) if choices.gate else None
        self.tokens = nn.Parameter(torch.randn(1, choices.tokens, width))  # E_L
        self.attention = nn.ModuleList(
            CrossAttention(width, heads=choices.heads, dropout=dropout, output=choices.output)
            for _ in range((1 if choices.shared else choices.passes) * choices.attend)
        )
        self.feed_forward = nn.ModuleList(GatedFeedForward(width, dropout=dropout) for _ in range(choices.passes))
        self.prompt_norm = nn.LayerNorm(width)
        self.token_norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(choices.passes))
        self.answer_norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(choices.passes))
        self.final_norm = nn.LayerNorm(width)
        self.output = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.ELU(), nn.Dropout(dropout), nn.Linear(width, embedding)
        )

    @override
    def forward(self, prompts: Tensor) -> Tensor:
        """E_S (N_S, D) → E_R (D_g,); the order of the prompts does not matter."""
        seen = self.project(prompts)  # (N_S, width)
        if self.gate is not None:
            seen = seen * self.gate(seen).sigmoid()
        seen = self.prompt_norm(seen)
        queries = self.tokens[0]  # (L, width)
        answers = torch.zeros_like(queries)
        for turn, feed_forward in enumerate(self.feed_forward):
            answers = self._ask(turn, self.token_norm[turn](queries + answers), seen)
            answers = feed_forward(self.answer_norm[turn](answers)) + answers
        reconstruction: Tensor = self.output(self.final_norm(answers)).mean(0)
        return reconstruction

    def _ask(self, turn: int, queries: Tensor, seen: Tensor) -> Tensor:
        if not len(self.attention):
            return seen.mean(0, keepdim=True).expand(len(queries), -1)
        answer: Tensor = self.attention[turn % len(self.attention)](queries, seen)
        return answer


def reconstruction_loss(
    reconstruction: Tensor,
    embedding: Tensor,
    *,
    kind: Literal["kl", "kl_reverse", "mse", "l1", "cosine"] = "kl",
    temperature: float = 1.0,
) -> Tensor:
    """How far a reconstruction is from the genomic embedding; 0 is perfect, a larger value is worse.

    Args:
        reconstruction: (D_g,) E_R.
        embedding: (D_g,) E_G.
        kind: "kl" KL(R‖G) in nats; "kl_reverse" KL(G‖R); "mse"; "l1"; "cosine" 1 − cos.
        temperature: divides both before the softmax of the two KLs.

    Source:
        Chen et al., VGAT (2025), eq. (6) and Fig. 4.
    """
    match kind:
        case "mse":
            return F.mse_loss(reconstruction, embedding)
        case "l1":
            return F.l1_loss(reconstruction, embedding)
        case "cosine":
            return 1 - F.cosine_similarity(reconstruction, embedding, dim=0)
    r, g = (reconstruction / temperature).log_softmax(0), (embedding / temperature).log_softmax(0)
    if kind == "kl_reverse":
        r, g = g, r
    return (r.exp() * (r - g)).sum()


@final
@models.register("vgat")
class VGAT(SurvivalModel):
    """Visual-genomic answering-guided transformer: genomics teaches, the slide alone predicts.

    Args:
        sizes: tile D, bins T and embedding D_g are read.
        ese: how the visual prompts are selected.
        vga: how the genome is reconstructed from them; None leaves ESE and VGA out (Table III).
        dim: width of both transformers.
        attention: "nystrom" (as published) or "exact".
        genomic_input: what the genomic transformer sees in training: the "reconstruction", or the "embedding" E_G.
        cap: most tiles of a patient that are looked at, drawn anew each time; None looks at all.
        dropout: of the pathology projection.
        loss: between E_R and E_G, the kind of `reconstruction_loss`.
        loss_weight: λ; 0 trains the same network without genomics.
        temperature: see `reconstruction_loss`.
    """

    slides = Use.ALWAYS
    genomics = Use.TRAINING
    paper = Paper(
        key="chen2025vgat",
        title="VGAT: A Cancer Survival Analysis Framework Transitioning from Generative Visual Question Answering to "
        "Genomic Reconstruction",
        authors="Chen, Z. and others",
        venue="IEEE International Conference on Multimedia and Expo",
        year=2025,
        url="https://arxiv.org/abs/2503.19367",
        licence="authors' program: no licence; not used",
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "default": {},
            "release": {"ese": {"score": "posterior_f32", "reselect": True}, "cap": 4096},
            "paper": {"vga": {"heads": 1, "passes": 1, "gate": False, "output": False}},
        }
    )

    def __init__(
        self,
        sizes: Sizes,
        *,
        ese: ESE = DEFAULT_ESE,
        vga: VGA | None = DEFAULT_VGA,
        dim: int = 256,
        attention: Literal["nystrom", "exact"] = "nystrom",
        genomic_input: Literal["reconstruction", "embedding"] = "reconstruction",
        cap: int | None = None,
        dropout: float = 0.25,
        loss: Literal["kl", "kl_reverse", "mse", "l1", "cosine"] = "kl",
        loss_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(sizes)
        self.genomic_input, self.cap = genomic_input, cap
        self.loss = partial(reconstruction_loss, kind=loss, temperature=temperature)
        self.loss_weights = {"reconstruction": loss_weight}
        if loss_weight == 0 and genomic_input == "reconstruction":
            self.genomics = Use.NEVER
        self.embed = nn.Sequential(
            *(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout)),
        )
        self.pathology = ClassTransformer(dim, position=True, exact=attention == "exact")
        if vga is not None:
            self.prompts = PromptSelector(sizes.tile, ese)
            self.reconstruct = Reconstruction(sizes.tile, sizes.embedding, vga)
            self.lift = nn.Identity() if sizes.embedding == dim else nn.Linear(sizes.embedding, dim)
            self.genomic = ClassTransformer(dim, position=False, exact=attention == "exact")
        self.vga = vga
        self.fusion = nn.Sequential(
            *(nn.Linear(dim if vga is None else 2 * dim, dim), nn.ReLU()), *(nn.Linear(dim, dim), nn.ReLU())
        )
        self.head = nn.Linear(dim, sizes.bins)
        xavier(self)

    @override
    def prepare(self, bags: Iterable[Bag], *, seed: int = 0) -> None:
        if self.vga is not None:
            self.prompts.fit(bags, seed=seed)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        if self.cap is not None and len(bag) > self.cap:
            bag = bag[torch.randperm(len(bag), device=bag.features.device)[: self.cap]]
        tiles = self.embed(bag.features)  # (N, dim) E_P
        attention = None
        if self.training:
            patient = self.pathology(tiles)  # (dim,)
        else:
            patient, row = self.pathology.explain(tiles)  # (dim,), (1 + N,)
            attention = tile_weights(row)
        if self.vga is None:
            return ModelOutput(self.head(self.fusion(patient)), attention)
        reconstruction = self.reconstruct(self.prompts(bag))  # (D_g,) E_R
        target = None if genomics is None else genomics.embedding  # (D_g,) E_G
        losses = {} if target is None else {"reconstruction": self.loss(reconstruction, target)}
        told = reconstruction if target is None or self.genomic_input == "reconstruction" else target
        genome = self.genomic(self.lift(told)[None])  # (dim,)
        logits = self.head(self.fusion(torch.cat([patient, genome])))
        return ModelOutput(logits, attention, reconstruction=reconstruction, losses=losses)

    @override
    def diagnose(self, bag: Bag) -> Mapping[str, float]:
        return {} if self.vga is None else self.prompts.diagnose(bag)
