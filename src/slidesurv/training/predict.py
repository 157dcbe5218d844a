"""From a fitted model to tables: what it says of each patient, and whether it rebuilt their genomes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from slidesurv.files import replacing
from slidesurv.training.device import autocast
from slidesurv.training.step import losses, show

if TYPE_CHECKING:
    from slidesurv.models.base import SurvivalModel
    from slidesurv.types import Bag, Genomics, ModelOutput, PatientData

__all__ = [
    "answers",
    "diagnoses",
    "gradient_ratio",
    "prediction",
    "profile",
    "reconstructions",
    "rejudged",
    "write_rebuilt",
]


def answers(
    model: SurvivalModel, patients: Iterable[PatientData], *, precision: str = "float32"
) -> Iterator[tuple[PatientData, ModelOutput]]:
    """Ask a model about patients, one by one, all tiles, nothing random."""
    model.eval()
    for patient in patients:
        with torch.no_grad(), autocast(patient.bag.features.device, precision):
            output = show(model, patient)
        yield patient, output


def prediction(patient: PatientData, output: ModelOutput) -> dict[str, Any]:
    """One row of ``predictions.csv``: risk (a larger value means an earlier death) and the survival curve."""
    curve = {f"S_{k}": value for k, value in enumerate(output.survival.tolist())}
    return {
        "patient_id": patient.id,
        "risk": output.risk.item(),
        **curve,
        "n_slides": len(patient.bag.slide.unique()),  # with tiles
        "n_tiles": len(patient.bag),
    }


def diagnoses(model: SurvivalModel, bags: Iterable[Bag]) -> list[dict[str, Any]]:
    """What the model says of its own mechanism, a row a bag; no rows for a model that says nothing."""
    with torch.no_grad():
        rows = [{"patient_id": bag.patient, **model.diagnose(bag)} for bag in bags]
    return [row for row in rows if len(row) > 1]


def reconstructions(
    rebuilt: Mapping[str, Tensor], truth: Mapping[str, Tensor], training: Sequence[Tensor]
) -> list[dict[str, Any]]:
    """Judge rebuilt genomic embeddings against the true ones, both as densities over their dimensions.

    Args:
        rebuilt: E_R (D_g,) by patient.
        truth: E_G (D_g,) by patient, of every patient of ``rebuilt`` who has one.
        training: the embeddings (D_g,) of the training patients.

    Returns:
        A row a patient: ``kl`` KL(R‖G) in nats, 0 is perfect; ``kl_mean`` the same for the mean training embedding, the
        bar to stay under; ``rank`` of the true embedding among all ``candidates`` by KL, 1 is best; ``entropy_share``
        of the true one as a share of log D_g, near 1 when it is flat and a small KL proves nothing.
    """
    known = [patient for patient in rebuilt if patient in truth]
    if not known:
        return []
    candidates = torch.stack([truth[patient] for patient in known]).double()  # (B, D_g)
    distance = _divergences(torch.stack([rebuilt[patient] for patient in known]).double(), candidates)  # (B, B)
    own = distance.diagonal()
    bar = _divergences(torch.stack(list(training)).double().mean(0, keepdim=True), candidates)[0]  # (B,)
    ranks = 1 + (distance < own[:, None]).sum(1)
    logs = candidates.log_softmax(1)
    entropy = -(logs.exp() * logs).sum(1) / log(candidates.shape[1])  # (B,)
    columns = {"kl": own, "kl_mean": bar, "rank": ranks, "entropy_share": entropy}
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {"patient_id": patient, **dict(zip(columns, row, strict=True)), "candidates": len(known)}
        for patient, row in zip(known, values, strict=True)
    ]


def profile(model: SurvivalModel, genomics: Genomics | None) -> Tensor | None:
    """What the model's reconstruction is laid beside: the gene groups end to end if it reads those, or E_G (D_g,)."""
    if genomics is None or model.view != "groups":
        return None if genomics is None else genomics.embedding
    return None if genomics.groups is None else torch.cat(genomics.groups)  # (ΣG_k,)


def write_rebuilt(path: Path, rebuilt: Mapping[str, Tensor], truth: Mapping[str, Tensor], *, view: str | None) -> None:
    """Write reconstructions beside the true profiles, for the report to judge gene by gene; nothing for nobody.

    Args:
        path: ``rebuilt.safetensors`` of a fold: two float32 tables (B, D_g), ``rebuilt`` and ``truth``; the B ids and
            the view stand as JSON in the metadata, under ``about``.
        rebuilt: (D_g,) by test patient.
        truth: (D_g,) by patient; one without is left out.
        view: of the genome that is rebuilt, "embedding" or "groups".
    """
    known = [patient for patient in rebuilt if patient in truth]
    if not known:
        return
    tables = {"rebuilt": rebuilt, "truth": truth}
    tensors = {name: torch.stack([table[patient].float().cpu() for patient in known]) for name, table in tables.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps({"patients": known, "view": view})})


def rejudged(
    model: SurvivalModel, patients: Iterable[PatientData], rebuilt: Mapping[str, Tensor]
) -> dict[str, dict[str, float]]:
    """Ask again with the reconstruction set to zero, and with another patient's: is it used at all?

    Returns:
        ``risk_zeroed`` and ``risk_shuffled`` by patient; nothing for a model that rebuilds nothing.
    """
    names = list(rebuilt)
    donors = dict(zip(names, [*names[1:], *names[:1]], strict=True))  # everybody gets the next one's
    risks: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        for patient in patients:
            own, other = rebuilt[patient.id], rebuilt[donors[patient.id]]
            zeroed = model.rejudge(patient.bag, torch.zeros_like(own))
            shuffled = model.rejudge(patient.bag, other)
            if zeroed is not None and shuffled is not None:
                risks[patient.id] = {"risk_zeroed": zeroed.risk.item(), "risk_shuffled": shuffled.risk.item()}
    return risks


def gradient_ratio(model: SurvivalModel, patients: Iterable[PatientData]) -> float | None:
    """How strongly the model's own losses pull at the weights they reach, as a share of what the likelihood does there.

    Returns:
        ‖∇ own losses‖ / ‖∇ NLL‖ over those weights; None for a model without losses of its own. Far below 1 the
        genomes teach next to nothing, far above 1 survival does.
    """
    model.train()
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = {"own": 0.0, "nll": 0.0}
    for patient in patients:
        parts = losses(model, show(model, patient), patient.target)
        if parts.keys() == {"loss", "nll"}:
            continue
        own = torch.autograd.grad(parts["loss"] - parts["nll"], weights, retain_graph=True, allow_unused=True)
        nll = torch.autograd.grad(parts["nll"], weights, allow_unused=True)
        reached = [(a, b) for a, b in zip(own, nll, strict=True) if a is not None]
        sums["own"] += sum(a.square().sum().item() for a, _ in reached)
        sums["nll"] += sum(b.square().sum().item() for _, b in reached if b is not None)
    model.eval()
    return (sums["own"] / sums["nll"]) ** 0.5 if sums["nll"] else None


def _divergences(rebuilt: Tensor, candidates: Tensor) -> Tensor:
    """(A, D_g), (B, D_g) → (A, B) KL(softmax rebuilt ‖ softmax candidate) in nats."""
    r, g = rebuilt.log_softmax(-1), candidates.log_softmax(-1)
    return (r.exp() * r).sum(-1, keepdim=True) - r.exp() @ g.T
