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
from typing import Annotated, Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from typing_extensions import override

from slidesurv.models.base import Dropout, Paper, SurvivalModel, Weight, Width
from slidesurv.nn.attention import CrossAttention, GatedFeedForward
from slidesurv.nn.encoder import ClassTransformer, tile_weights
from slidesurv.nn.snn import xavier
from slidesurv.registry import models
from slidesurv.seeds import seed_for
from slidesurv.selection.prompts import ESE, PromptSelector
from slidesurv.types import Bag, Genomics, ModelOutput, Sizes, Use

__all__ = ["VGA", "VGAT", "Reconstruction", "reconstruction_loss"]

Count = Annotated[int, Field(gt=0)]


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

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    width: Width = 512
    tokens: Count = 1
    heads: Literal[1, 2, 4, 8] = 4
    passes: Count = 2
    gate: bool = True
    attend: bool = True
    shared: bool = True
    output: bool = True
    dropout: Dropout = 0.25


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
        vga: how the genome is reconstructed from them; false leaves ESE and VGA out (Table III).
        dim: width of both transformers.
        attention: "nystrom" (as published) or "exact".
        genomic_input: what the genomic transformer sees in training: the "reconstruction", or the "embedding" E_G.
        cap: most tiles of a patient that are looked at: drawn anew at every training step, the same for every
            prediction; None looks at all.
        dropout: of the pathology projection.
        loss: between E_R and E_G, the kind of `reconstruction_loss`.
        loss_weight: λ; 0 trains the same network without genomics.
        temperature: see `reconstruction_loss`.
    """

    slides = Use.ALWAYS
    genomics = Use.TRAINING
    view = "embedding"
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

    native: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "learning_rate": 2e-4,
        "weight_decay": 1e-5,
        "schedule": "cosine",
        "epochs": 100,
        "accumulate": 1,
    }

    def __init__(
        self,
        sizes: Sizes,
        *,
        ese: ESE = DEFAULT_ESE,
        vga: VGA | Literal[False] = DEFAULT_VGA,
        dim: Width = 256,
        attention: Literal["nystrom", "exact"] = "nystrom",
        genomic_input: Literal["reconstruction", "embedding"] = "reconstruction",
        cap: Count | None = None,
        dropout: Dropout = 0.25,
        loss: Literal["kl", "kl_reverse", "mse", "l1", "cosine"] = "kl",
        loss_weight: Weight = 1.0,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(sizes)
        self.genomic_input, self.cap = genomic_input, cap
        self.loss = partial(reconstruction_loss, kind=loss, temperature=temperature)
        self.loss_weights = {"reconstruction": loss_weight}
        if vga is False or (loss_weight == 0 and genomic_input == "reconstruction"):
            self.genomics = Use.NEVER
        self.embed = nn.Sequential(
            *(nn.Linear(sizes.tile, dim), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(dim, dim), nn.ReLU(), nn.Dropout(dropout)),
        )
        self.pathology = ClassTransformer(dim, position=True, exact=attention == "exact")
        self.vga = vga is not False
        if vga is not False:
            embedding = sizes.embedding or dim  # without genomes there is nothing to rebuild, but the way is the same
            self.prompts = PromptSelector(sizes.tile, ese)
            self.reconstruct = Reconstruction(sizes.tile, embedding, vga)
            self.lift = nn.Identity() if embedding == dim else nn.Linear(embedding, dim)
            self.genomic = ClassTransformer(dim, position=False, exact=attention == "exact")
        self.fusion = nn.Sequential(
            *(nn.Linear(2 * dim if self.vga else dim, dim), nn.ReLU()), *(nn.Linear(dim, dim), nn.ReLU())
        )
        self.head = nn.Linear(dim, sizes.bins)
        xavier(self)

    @override
    def prepare(self, bags: Iterable[Bag], *, seed: int = 0) -> None:
        if self.vga:
            self.prompts.fit(bags, seed=seed)

    @override
    def forward(self, bag: Bag, genomics: Genomics | None) -> ModelOutput:
        seen = self._cap(bag)
        patient, attention = self._pathology(bag, seen)  # (dim,), (N,) or None
        if not self.vga:
            return ModelOutput(self.head(self.fusion(patient)), attention)
        reconstruction = self.reconstruct(self._prompts(bag, seen))  # (D_g,) E_R
        target = genomics.embedding if self.training and genomics is not None else None  # (D_g,) E_G
        losses = {} if target is None else {"reconstruction": self.loss(reconstruction, target)}
        told = reconstruction if target is None or self.genomic_input == "reconstruction" else target
        return ModelOutput(self._judge(patient, told), attention, reconstruction=reconstruction, losses=losses)

    @override
    def rejudge(self, bag: Bag, reconstruction: Tensor) -> ModelOutput | None:
        if not self.vga:
            return None
        patient, _ = self._pathology(bag, self._cap(bag))
        return ModelOutput(self._judge(patient, reconstruction), reconstruction=reconstruction)

    def _cap(self, bag: Bag) -> Tensor | None:
        """(cap,) the tiles to look at; None for all of them."""
        if self.cap is None or len(bag) <= self.cap:
            return None
        fresh = [int(torch.randint(2**31, ()))] if self.training else []
        generator = torch.Generator().manual_seed(seed_for("cap", bag.patient, *fresh))
        return torch.randperm(len(bag), generator=generator)[: self.cap].to(bag.features.device)

    def _pathology(self, bag: Bag, seen: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(dim,) what the tiles say of the patient, and (N,) attention if it is asked for; 0 for tiles not seen."""
        tiles = self.embed(bag.features if seen is None else bag.features[seen])  # (N, dim) E_P
        if not self.explains:
            return self.pathology(tiles), None
        patient, row = self.pathology.explain(tiles)
        attention = tile_weights(row)
        if seen is not None:
            attention = attention.new_zeros(len(bag)).index_copy(0, seen, attention)
        return patient, attention

    def _prompts(self, bag: Bag, seen: Tensor | None) -> Tensor:
        """(N_S, D) E_S; of tiles drawn anew they are chosen anew."""
        if seen is None:
            prompts: Tensor = self.prompts(bag)
            return prompts
        drawn = bag[seen]
        return drawn.features[self.prompts.tiles(drawn)]

    def _judge(self, patient: Tensor, reconstruction: Tensor) -> Tensor:
        """(dim,) of the tiles and (D_g,) of the genome → (T,) logits."""
        genome = self.genomic(self.lift(reconstruction)[None])  # (dim,)
        logits: Tensor = self.head(self.fusion(torch.cat([patient, genome])))
        return logits

    @override
    def diagnose(self, bag: Bag) -> Mapping[str, float]:
        return self.prompts.diagnose(bag) if self.vga else {}
