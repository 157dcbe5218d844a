"""How weights move: the optimizers of the field's recipes, and the rate of an epoch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slidesurv.config.training import TrainingSection

__all__ = ["make_optimizer", "rate"]

LOOK_AHEAD = 6  # steps between two looks back; half the way is kept (Zhang et al., NeurIPS 2019)


def make_optimizer(weights: Iterable[nn.Parameter], recipe: TrainingSection) -> torch.optim.Optimizer:
    """Make the optimizer of a recipe.

    Args:
        weights: what is taught.
        recipe: names the optimizer, its rate and its decay.

    Source:
        "lookahead": Zhang et al., NeurIPS 2019, around RAdam (Liu et al., ICLR 2020), as TransMIL was trained.
    """
    taught = list(weights)
    lr, decay = recipe.learning_rate, recipe.weight_decay
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(taught, lr=lr, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(_decayed_and_not(taught), lr=lr, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(taught, lr=lr, weight_decay=decay, momentum=0.9)
        case "radam":
            return torch.optim.RAdam(taught, lr=lr, weight_decay=decay)
        case "lookahead":
            optimizer = torch.optim.RAdam(taught, lr=lr, weight_decay=decay)
            first: dict[Tensor, Tensor] = {parameter: parameter.detach().clone() for parameter in taught}
            optimizer.register_step_post_hook(lambda moved, *_: _look_back(moved, first))
            return optimizer


def _decayed_and_not(taught: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups of parameters: biases, gains and other vectors do not decay."""
    deep, flat = ([p for p in taught if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups: list[dict[str, Any]] = [{"params": deep}, {"params": flat, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def rate(recipe: TrainingSection, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0."""
    full = recipe.learning_rate
    match recipe.schedule:
        case "constant":
            return full
        case "step":
            return full * 0.1 ** (epoch // 30)
        case "warmup":
            return full / 10 if epoch == 0 else full * _cosine(epoch - 1, recipe.epochs - 1)
        case "cosine":
            return full * _cosine(epoch, recipe.epochs)


def _cosine(epoch: int, epochs: int) -> float:
    """From 1 to 0 after the last epoch."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


@torch.no_grad()
def _look_back(optimizer: torch.optim.Optimizer, first: Mapping[Tensor, Tensor]) -> None:
    """After every sixth step move the slow weights half the way, and go on from there.

    They start as the first weights and live in the optimizer's state, so that a checkpoint has them.
    """
    for parameter, state in optimizer.state.items():
        slow = state.setdefault("slow", first[parameter])
        if state["step"] % LOOK_AHEAD == 0:
            parameter.copy_(slow.lerp_(parameter, 0.5))
