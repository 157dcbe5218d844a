"""A bag in shuffled chunks that are judged one by one, for the models whose authors do so."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from slidesurv.seeds import seed_for
from slidesurv.types import Bag, ModelOutput

__all__ = ["MICRO_BATCH_LOSS", "Count", "deal", "gather", "mean_answer"]

Count = Annotated[int, Field(gt=0)]
MICRO_BATCH_LOSS = {"nll": 0.0, "branches": 1.0}  # chunks are taught one by one, not their mean


def deal(bag: Bag, size: int, *, training: bool) -> tuple[Tensor, ...]:
    """Shuffle the tiles of a bag and part them into chunks that differ by one tile at most.

    Args:
        bag: N tiles.
        size: no chunk has more tiles; as published there is one chunk more than needed when it divides N.
        training: shuffle anew at every call; the same way for every prediction of the patient otherwise.

    Returns:
        Of each of K chunks the tiles' places in the bag, (n,) int64.
    """
    fresh = [int(torch.randint(2**31, ()))] if training else []
    generator = torch.Generator().manual_seed(seed_for("micro-batch", bag.patient, *fresh))
    order = torch.randperm(len(bag), generator=generator).to(bag.features.device)
    return order.tensor_split(min(len(bag) // size + 1, len(bag)))


def gather(attention: Sequence[Tensor], chunks: Sequence[Tensor]) -> Tensor:
    """Put the attention (n,) of each chunk back in the order of the bag, (N,); where each sums to 1, so do all."""
    return torch.cat([*attention])[torch.cat([*chunks]).argsort()] / len(chunks)


def mean_answer(logits: Tensor, attention: Tensor | None) -> ModelOutput:
    """Answer for a patient by the mean survival curve of K chunks; its risk is the mean of their risks.

    Args:
        logits: (K, T) of the chunks.
        attention: (N,) of the tiles.

    Returns:
        The logits (T,) that have that curve, and the chunks' own as branches, to be taught with `MICRO_BATCH_LOSS`.
    """
    branches = logits.to(torch.promote_types(logits.dtype, torch.float32))
    alive = F.logsigmoid(-branches).cumsum(-1)  # (K, T) log S_t
    died = F.logsigmoid(branches) + F.pad(alive[:, :-1], (1, 0))  # (K, T) log h_t S_{t-1}
    return ModelOutput(died.logsumexp(0) - alive.logsumexp(0), attention, branches)
