"""The loop: one model, one fold, from first weights to the epoch that is kept.

Every epoch starts from a seed of its own, so a run that is killed and started again from its last checkpoint makes
the same numbers as one that was left alone.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from slidesurv.errors import DataError, listing
from slidesurv.files import replacing
from slidesurv.seeds import seed_for
from slidesurv.survival.concordance import concordance
from slidesurv.survival.losses import cox, nll
from slidesurv.training.device import autocast
from slidesurv.training.optimizers import make_optimizer, rate
from slidesurv.training.step import cox_losses, join, losses, show

if TYPE_CHECKING:
    from torch import Tensor

    from slidesurv.config.training import TrainingSection
    from slidesurv.models.base import SurvivalModel
    from slidesurv.types import ModelOutput, PatientData, SurvivalTarget

__all__ = ["Progress", "fit"]

Read = Callable[[str], "PatientData"]


@dataclass(slots=True)
class Progress:
    """Where a fit stands; everything in it survives a checkpoint.

    Attributes:
        epoch: epochs finished.
        history: one row an epoch.
        best_epoch: the epoch that is kept, counted from 1; 0 before the first.
        best_value: its value; a larger one is better.
        best_weights: the model's state at that epoch.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: SurvivalModel,
    read: Read,
    *,
    train: Sequence[str],
    watch: Sequence[str],
    watched: str,
    choose: str,
    recipe: TrainingSection,
    seed: int,
    checkpoint: Path,
    fingerprint: str = "",
    chances: Sequence[float] | None = None,
    tick: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Fit a model and leave it with the weights of the epoch that is kept.

    Args:
        model: prepared, on its device.
        read: gives a patient by id, on the model's device.
        train: patients that teach.
        watch: patients judged after every epoch; they never teach.
        watched: what the history calls them: "tune" or "test".
        choose: "nll" keeps the epoch with the lowest NLL on ``watch``; "c_index" the one with the highest C-index
            there; "last" the last.
        recipe: optimiser, epochs, schedule.
        seed: of the order of patients and of dropout.
        checkpoint: file to resume from and to write to; removed by the caller when the fold is done.
        fingerprint: of everything that shapes the fit; a checkpoint of another one is not resumed from.
        chances: of each training patient, to be drawn with replacement; by default each is taken once an epoch.
        tick: called after every epoch with where the fit stands.

    Returns:
        The history and the epoch that was kept.

    Raises:
        DataError: the loss is not finite; names the patient.
    """
    optimizer = make_optimizer((weights for weights in model.parameters() if weights.requires_grad), recipe)
    progress = _resume(checkpoint, fingerprint, model, optimizer)
    saved = time.monotonic()
    for epoch in range(progress.epoch, recipe.epochs):
        if recipe.patience and choose != "last" and epoch - progress.best_epoch >= recipe.patience:
            break
        torch.manual_seed(seed_for("epoch", seed, epoch))
        for group in optimizer.param_groups:
            group["lr"] = rate(recipe, epoch)
        taught = _teach(model, optimizer, read, _draw(train, chances), recipe)
        judged = _judge(model, read, watch, recipe) if watch else {}
        named = {f"{watched}_{name}": value for name, value in judged.items()}
        progress.history.append({"epoch": epoch + 1, "learning_rate": rate(recipe, epoch), **taught, **named})
        progress.epoch = epoch + 1
        _keep_best(progress, model, _value(choose, judged, epoch))
        if time.monotonic() - saved >= recipe.checkpoint_seconds:
            _save(checkpoint, fingerprint, model, optimizer, progress)
            saved = time.monotonic()
        tick(progress)
    model.load_state_dict(progress.best_weights)
    return progress


def _draw(train: Sequence[str], chances: Sequence[float] | None) -> list[str]:
    """The patients of one epoch, in the order in which they teach."""
    if chances is None:
        return [train[place] for place in torch.randperm(len(train))]
    drawn = torch.multinomial(torch.tensor(chances, dtype=torch.float64), len(train), replacement=True)
    return [train[place] for place in drawn]


def _teach(
    model: SurvivalModel, optimizer: torch.optim.Optimizer, read: Read, order: Sequence[str], recipe: TrainingSection
) -> dict[str, float]:
    """Go once through the patients of an epoch; the mean of every loss by name."""
    model.train()
    descend = _descend_together if recipe.loss == "cox" else _descend_one_by_one
    told: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(order), recipe.accumulate):
        window = order[start : start + recipe.accumulate]  # the last one may be shorter, and is not lost
        optimizer.zero_grad(set_to_none=True)
        for parts in descend(model, map(read, window), recipe, share=1 / len(window)):
            for name, value in parts.items():
                told[name].append(value.item())
        if recipe.l1:
            (recipe.l1 * torch.stack([w.abs().sum() for w in model.parameters() if w.requires_grad]).sum()).backward()
        optimizer.step()
    return {f"train_{name}": sum(values) / len(values) for name, values in told.items()}


def _descend_one_by_one(
    model: SurvivalModel, patients: Iterable[PatientData], recipe: TrainingSection, *, share: float
) -> Iterator[dict[str, Tensor]]:
    """Add up the gradients of a step, one patient in memory at a time."""
    for patient in patients:
        parts = losses(model, _answer(model, patient, recipe), patient.target, event_weight=recipe.event_weight)
        _require_finite(parts["loss"], [patient.id])
        (parts["loss"] * share).backward()
        yield parts


def _descend_together(
    model: SurvivalModel, patients: Iterable[PatientData], recipe: TrainingSection, *, share: float
) -> Iterator[dict[str, Tensor]]:
    """The gradient of a step whose patients are each other's risk set; nothing where that teaches nothing."""
    window = list(patients)
    outputs = [_answer(model, patient, recipe) for patient in window]
    parts = cox_losses(model, outputs, [patient.target for patient in window])
    _require_finite(parts["loss"], [patient.id for patient in window])
    if parts["loss"].requires_grad:
        parts["loss"].backward()
        yield parts


def _answer(model: SurvivalModel, patient: PatientData, recipe: TrainingSection) -> ModelOutput:
    with autocast(patient.bag.features.device, recipe.precision):
        return show(model, patient)


def _require_finite(loss: Tensor, patients: Sequence[str]) -> None:
    if not math.isfinite(loss.item()):
        raise DataError(
            f"The training loss became {loss.item()} at {'patient' if len(patients) == 1 else 'one of the patients'} "
            f"{listing(patients)}. Look at their features and expression, lower the learning rate, or set "
            "features.standardise = true."
        )


def _judge(model: SurvivalModel, read: Read, watch: Sequence[str], recipe: TrainingSection) -> dict[str, float]:
    """NLL per patient, or per death under Cox, and C-index of patients that do not teach."""
    model.eval()
    outputs, targets = [], []
    with torch.no_grad():
        for patient in map(read, watch):
            outputs.append(_answer(model, patient, recipe))
            targets.append(patient.target)
        target = join(targets)
        logits = torch.stack([output.logits for output in outputs])  # (B, T)
        cost = _cost(logits, target, recipe).item()
    risks = np.array([output.risk.item() for output in outputs])
    index = concordance(target.event.numpy(force=True), target.time.numpy(force=True), risks).index
    return {"nll": cost, "c_index": index}


def _cost(logits: Tensor, target: SurvivalTarget, recipe: TrainingSection) -> Tensor:
    if recipe.loss == "nll":
        return nll(logits, target).mean()
    return cox(logits[:, 0], target) if target.event.any() else logits.new_tensor(math.nan)


def _value(choose: str, judged: dict[str, float], epoch: int) -> float:
    """What an epoch is worth; a larger value is better, NaN is worth nothing."""
    if choose == "last":
        return epoch
    return -judged["nll"] if choose == "nll" else judged["c_index"]


def _keep_best(progress: Progress, model: SurvivalModel, value: float) -> None:
    if not progress.best_epoch or value > progress.best_value or math.isnan(progress.best_value):
        progress.best_epoch, progress.best_value = progress.epoch, value
        progress.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _save(
    checkpoint: Path, fingerprint: str, model: SurvivalModel, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best_weights.items()}
    for place, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in state.items()}
    tensors["random.state"] = torch.get_rng_state()
    about = {name: getattr(progress, name) for name in ("epoch", "history", "best_epoch", "best_value")}
    words = json.dumps({"progress": about, "fingerprint": fingerprint})
    with replacing(checkpoint) as temporary:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary, {"words": words})


def _resume(checkpoint: Path, fingerprint: str, model: SurvivalModel, optimizer: torch.optim.Optimizer) -> Progress:
    """Go on from a checkpoint of the same fit; a file that is none, or is another fit's, is left behind."""
    try:
        with safe_open(checkpoint, framework="pt") as file:
            words = json.loads((file.metadata() or {}).get("words", "{}"))
            groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
            for key in file.keys():  # noqa: SIM118 - a safetensors file is no dictionary
                group, _, name = key.partition(".")
                groups[group][name] = file.get_tensor(key)
    except (OSError, SafetensorError):
        return Progress()
    if words.get("fingerprint") != fingerprint:
        return Progress()
    model.load_state_dict(groups["model"])
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in groups["optimizer"].items():
        place, _, name = key.partition(".")
        state[int(place)][name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
    torch.set_rng_state(groups["random"]["state"])
    return Progress(**words["progress"], best_weights=groups["best"])
