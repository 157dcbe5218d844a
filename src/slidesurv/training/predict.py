"""From a fitted model to tables: what it says of each patient, and whether it rebuilt their genomes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slidesurv.training.device import autocast
from slidesurv.training.step import show

if TYPE_CHECKING:
    from slidesurv.models.base import SurvivalModel
    from slidesurv.types import Bag, ModelOutput, PatientData

__all__ = ["answers", "diagnoses", "prediction", "reconstructions"]


def answers(
    model: SurvivalModel, patients: Iterable[PatientData], *, precision: str = "float32"
) -> Iterator[tuple[PatientData, ModelOutput]]:
    """Ask a model about patients, one by one, all tiles, nothing random."""
    model.eval()
    for patient in patients:
        with torch.inference_mode(), autocast(patient.bag.features.device, precision):
            output = show(model, patient)
        yield patient, output


def prediction(patient: PatientData, output: ModelOutput) -> dict[str, Any]:
    """One row of ``predictions.csv``: risk (a larger value means an earlier death) and the survival curve."""
    curve = {f"S_{k}": value for k, value in enumerate(output.survival.double().tolist())}
    slides = int(patient.bag.slide.max()) + 1 if len(patient.bag) else 0
    return {
        "patient_id": patient.id,
        "risk": output.risk.double().item(),
        **curve,
        "n_slides": slides,
        "n_tiles": len(patient.bag),
    }


def diagnoses(model: SurvivalModel, bags: Iterable[Bag]) -> list[dict[str, Any]]:
    """What the model says of its own mechanism, a row a bag; no rows for a model that says nothing."""
    with torch.inference_mode():
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
        bar to stay under; ``rank`` of the true embedding among all ``candidates`` by KL, 1 is best.
    """
    known = [patient for patient in rebuilt if patient in truth]
    if not known:
        return []
    candidates = torch.stack([truth[patient] for patient in known]).double()  # (B, D_g)
    distance = _divergences(torch.stack([rebuilt[patient] for patient in known]).double(), candidates)  # (B, B)
    own = distance.diagonal()
    bar = _divergences(torch.stack(list(training)).double().mean(0, keepdim=True), candidates)[0]  # (B,)
    ranks = 1 + (distance < own[:, None]).sum(1)
    return [
        {"patient_id": patient, "kl": kl, "kl_mean": mean, "rank": rank, "candidates": len(known)}
        for patient, kl, mean, rank in zip(known, own.tolist(), bar.tolist(), ranks.tolist(), strict=True)
    ]


def _divergences(rebuilt: Tensor, candidates: Tensor) -> Tensor:
    """(A, D_g), (B, D_g) → (A, B) KL(softmax rebuilt ‖ softmax candidate) in nats."""
    r, g = rebuilt.log_softmax(-1), candidates.log_softmax(-1)
    return (r.exp() * r).sum(-1, keepdim=True) - r.exp() @ g.T
