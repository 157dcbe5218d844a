"""What an encoder is asked while it teaches itself: which genes are hidden, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from slidesurv.errors import ConfigError
from slidesurv.genomics.bulkrnabert import Block, ExpressionEncoder

__all__ = ["Masking", "Question", "add_mask", "answer", "costs", "drop_mask", "judge"]

HIDDEN = -1  # the id of a hidden token: it is no bin


@dataclass(frozen=True, slots=True)
class Question:
    """Patients with some of their genes hidden, and what stood there.

    Attributes:
        shown: (B, G) bins as the encoder sees them; hidden ones are -1.
        chosen: (B, M) places of the genes that are asked for, the same number in every patient.
        truth: (B, M) their bins.
    """

    shown: Tensor
    chosen: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.shown)

    def parts(self, size: int) -> Iterator[Question]:
        """The same question in parts of so many patients."""
        tensors = (self.shown.split(size), self.chosen.split(size), self.truth.split(size))
        return (Question(*part) for part in zip(*tensors, strict=True))

    def to(self, device: torch.device) -> Question:
        """The same question with its tensors on a device."""
        return Question(self.shown.to(device), self.chosen.to(device), self.truth.to(device))


@dataclass(frozen=True, slots=True)
class Masking:
    """How genes are chosen and what is shown in their places; genes that are not expressed are treated like others.

    Attributes:
        share: of the genes of a patient, to be asked for; at least one gene is.
        hidden: share of these that show nothing.
        swapped: share that show a bin drawn at random from all; the rest show what they are.

    Raises:
        ConfigError: the shares cannot be.

    Source:
        Devlin et al., BERT (NAACL 2019).
    """

    share: float = 0.15
    hidden: float = 0.8
    swapped: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or min(self.hidden, self.swapped) < 0 or self.hidden + self.swapped > 1:
            raise ConfigError(
                f"Genes cannot be masked with share {self.share}, hidden {self.hidden} and swapped {self.swapped}: the "
                "first lies in (0, 1], the others are 0 or more and no more than 1 together. BERT's are 0.15, 0.8, 0.1."
            )

    def __call__(self, bins: Tensor, *, n_bins: int, seeds: Sequence[int]) -> Question:
        """Hide genes of patients; what becomes of one does not depend on the others.

        Args:
            bins: (B, G) in [0, V), of any whole type.
            n_bins: V.
            seeds: B, one for each patient.
        """
        parts = [self._hide(row.long(), n_bins, seed) for row, seed in zip(bins, seeds, strict=True)]
        return Question(*map(torch.stack, zip(*parts, strict=True)))

    def _hide(self, bins: Tensor, n_bins: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """What one patient (G,) shows, which genes (M,) are asked for, and their bins (M,)."""
        random = torch.Generator().manual_seed(seed)
        count = max(1, round(self.share * len(bins)))
        chosen = torch.randperm(len(bins), generator=random)[:count]  # (M,)
        fate = torch.rand(count, generator=random)
        other = torch.randint(n_bins, (count,), generator=random)
        truth = bins[chosen]
        seen = torch.where(fate < self.hidden + self.swapped, other, truth)
        shown = bins.clone()
        shown[chosen] = torch.where(fate < self.hidden, HIDDEN, seen)
        return shown, chosen, truth


class MaskedTable(nn.Embedding):
    """A table of bins, and one vector more for what is hidden.

    Args:
        weight: (V, D) the table as it was.
        mask: (D,) the vector of hidden tokens.
        frozen: whether that vector is to stay.
    """

    def __init__(self, weight: Tensor, mask: Tensor, *, frozen: bool) -> None:
        super().__init__(len(weight), weight.shape[1], _weight=weight)
        self.weight = weight  # the same parameter, frozen if it was
        self.mask = nn.Parameter(mask, requires_grad=not frozen)

    @override
    def forward(self, input: Tensor) -> Tensor:
        rows = torch.cat([self.weight, self.mask[None]])  # (V + 1, D)
        return F.embedding(input.remainder(len(rows)), rows)  # -1 is the last row


def add_mask(encoder: ExpressionEncoder, mask: Tensor | None = None, *, frozen: bool = False) -> None:
    """Let an encoder read tokens that are hidden.

    Args:
        encoder: its table of bins is taken over, not copied.
        mask: (D,) the vector of a hidden token; None is the last bin's, where the authors' program would find it.
        frozen: whether that vector is to stay as it is.
    """
    weight = encoder.expression_embedding_layer.weight
    start = weight[-1] if mask is None else mask
    encoder.expression_embedding_layer = MaskedTable(weight, start.detach().clone(), frozen=frozen)


def drop_mask(encoder: ExpressionEncoder) -> Tensor:
    """Undo `add_mask`; gives back the vector (D,), which an encoder does not need to embed."""
    table = encoder.expression_embedding_layer
    assert isinstance(table, MaskedTable)
    encoder.expression_embedding_layer = nn.Embedding(len(table.weight), len(table.mask), _weight=table.weight)
    return table.mask.detach()


def answer(encoder: ExpressionEncoder, question: Question) -> Tensor:
    """Say which bin stands at each place that is asked for.

    The last block is computed for these places alone: nothing else of it is read.

    Args:
        encoder: after `add_mask`.
        question: of B patients.

    Returns:
        (B, M, V) logits, float32 at least.
    """
    run = _run_twice if encoder.config.use_gradient_checkpointing and torch.is_grad_enabled() else _run
    *first, last = encoder.blocks
    tokens = encoder.inputs(question.shown)  # (B, G, D)
    for block in first:
        tokens = run(block, tokens)
    asked = run(partial(_asked, last), tokens, question.chosen)  # (B, M, D)
    logits: Tensor = encoder.lm_head(asked)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _run(part: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    return part(*tensors)


def _run_twice(part: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Run again on the way back, rather than keep what it made."""
    return checkpoint(part, *tensors, use_reentrant=False, preserve_rng_state=False)


def _asked(block: Block, tokens: Tensor, chosen: Tensor) -> Tensor:
    """The tokens (B, M, D) after a block, at places (B, M) alone."""
    normed, attention = block.layer_norm_self_attention(tokens), block.mha  # (B, G, D)
    query = _pick(normed, chosen)  # (B, M, D)
    parts = attention.w_q(query), attention.w_k(normed), attention.w_v(normed)
    heads = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)  # (B, H, ·, K)
    mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)  # (B, M, H K)
    asked = _pick(tokens, chosen) + attention.output(mixed)
    return asked + block.fc2(block.activation(block.fc1(block.layer_norm_mlp(asked))))


def _pick(tokens: Tensor, chosen: Tensor) -> Tensor:
    """(B, M, D) the tokens (B, G, D) at places (B, M)."""
    return tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))


def costs(logits: Tensor, question: Question) -> Tensor:
    """Give the losses (B, M), in nats, of logits (B, M, V); genes that are not asked for cost nothing."""
    return F.cross_entropy(logits.movedim(-1, 1), question.truth.to(logits.device), reduction="none")


@torch.inference_mode()
def judge(question: Question, say: Callable[[Question], Tensor], *, size: int) -> dict[str, float]:
    """Judge what is said to a question.

    Args:
        question: of all patients.
        say: gives logits (B, M, V) to a part of it.
        size: patients of a part.

    Returns:
        ``loss``, the mean in nats; ``accuracy``, the share of genes whose most likely bin is the true one.
    """
    loss, right = 0.0, 0
    for part in question.parts(size):
        logits = say(part)
        loss += costs(logits, part).sum(dtype=torch.float64).item()
        right += int((logits.argmax(-1) == part.truth.to(logits.device)).sum())
    return {"loss": loss / question.truth.numel(), "accuracy": right / question.truth.numel()}
