"""One patient: what a model may see, and what it is told about its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slidesurv.errors import ConfigError
from slidesurv.survival.losses import cox, nll
from slidesurv.types import Bag, ModelOutput, PatientData, SurvivalTarget, Use

if TYPE_CHECKING:
    from slidesurv.models.base import SurvivalModel

__all__ = ["cox_losses", "join", "losses", "show"]


def show(model: "SurvivalModel", patient: PatientData) -> ModelOutput:
    """Run a model on what it may see; nothing else in the house decides that.

    Tiles are shown unless the class says NEVER. Genomics are shown if the class says ALWAYS, or TRAINING while the
    model is in training mode.
    """
    bag = patient.bag if model.slides is not Use.NEVER else _no_tiles(patient.bag)
    allowed = model.genomics is Use.ALWAYS or (model.training and model.genomics is Use.TRAINING)
    output: ModelOutput = model(bag, patient.genomics if allowed else None)
    return _widen(output)


def _widen(output: ModelOutput) -> ModelOutput:
    """Bring an answer to float32 at least: bfloat16 would make equal risks of different ones."""
    if torch.finfo(output.logits.dtype).bits >= 32:
        return output
    branches, reconstruction = output.branches, output.reconstruction
    return replace(
        output,
        logits=output.logits.float(),
        branches=None if branches is None else branches.float(),
        reconstruction=None if reconstruction is None else reconstruction.float(),
        losses={name: loss.float() for name, loss in output.losses.items()},
        bin_losses={name: loss.float() for name, loss in output.bin_losses.items()},
    )


def _no_tiles(bag: Bag) -> Bag:
    return Bag(bag.patient, bag.features[:0], bag.coords[:0], bag.slide[:0])


def losses(
    model: "SurvivalModel", output: ModelOutput, target: SurvivalTarget, *, event_weight: float = 0.0
) -> dict[str, Tensor]:
    """What an answer costs: the likelihood, the same for extra branches, and the model's own losses.

    Args:
        model: gives the weights of its own losses.
        output: its answer for one patient.
        target: of this one patient, B = 1.
        event_weight: see `nll`.

    Returns:
        Each () by name, unweighted, and their weighted sum under "loss".
    """
    parts = {"nll": nll(output.logits[None], target, event_weight=event_weight)[0]}
    if output.branches is not None:
        count = len(output.branches)
        repeated = SurvivalTarget(target.time.expand(count), target.event.expand(count), target.bin.expand(count))
        parts["branches"] = nll(output.branches, repeated, event_weight=event_weight).mean()
    return _weigh(model, parts | _own(output, target))


def cox_losses(
    model: "SurvivalModel", outputs: Sequence[ModelOutput], targets: Sequence[SurvivalTarget]
) -> dict[str, Tensor]:
    """What the answers for the patients of one step cost: their partial likelihood, and the mean of their own losses.

    Args:
        model: gives the weights of its own losses.
        outputs: its answers; one logit each, the log hazard ratio.
        targets: of the same patients, B = 1 each.

    Returns:
        As `losses`; without "cox" when none of them died, for then their order says nothing.

    Raises:
        ConfigError: the model teaches extra branches, which only the discrete likelihood reaches.
    """
    if any(output.branches is not None for output in outputs):
        raise ConfigError(f"{type(model).__name__} teaches several streams by likelihood: set [training] loss = 'nll'.")
    joined = join(targets)
    own = [_own(output, target) for output, target in zip(outputs, targets, strict=True)]
    names = dict.fromkeys(name for each in own for name in each)
    parts = {name: torch.stack([each[name] for each in own if name in each]).mean() for name in names}
    if joined.event.any():
        parts["cox"] = cox(torch.cat([output.logits for output in outputs]), joined)
    return _weigh(model, parts)


def join(targets: Sequence[SurvivalTarget]) -> SurvivalTarget:
    """The follow-up of several patients in one."""
    return SurvivalTarget(*(torch.cat([getattr(t, name) for t in targets]) for name in ("time", "event", "bin")))


def _own(output: ModelOutput, target: SurvivalTarget) -> dict[str, Tensor]:
    """The model's own losses, those of the bin of death included where death was seen."""
    died = {name: values[target.bin[0]] for name, values in output.bin_losses.items()} if target.event.item() else {}
    return {**output.losses, **died}


def _weigh(model: "SurvivalModel", parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weighted = [model.loss_weights.get(name, 1.0) * value for name, value in parts.items()]
    return {"loss": torch.stack(weighted).sum() if weighted else torch.zeros(()), **parts}
