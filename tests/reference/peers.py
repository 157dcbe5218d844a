"""Rows of the golden logits: ours, or a longer list named by SLIDESURV_GOLDEN."""

import csv
import os
from pathlib import Path

import torch

from slidesurv.types import Bag

__all__ = ["as_bag", "peer_rows"]


def peer_rows(model: str) -> list[tuple[str, int, torch.Tensor]]:
    """(variant, number of tiles, (4,) logits) of every row of a model."""
    path = os.environ.get("SLIDESURV_GOLDEN") or Path(__file__).with_name("peers_logits.csv")
    with Path(path).open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["model"] == model]
    logits = ([float(row[f"l{k}"]) for k in range(4)] for row in rows)
    return [
        (row["variant"], int(row["n_tiles"]), torch.tensor(values, dtype=torch.float64))
        for row, values in zip(rows, logits, strict=True)
    ]


def as_bag(features: torch.Tensor, patient: str = "golden") -> Bag:
    """Tiles that lie nowhere in particular."""
    n = len(features)
    return Bag(patient, features, torch.zeros(n, 2, dtype=torch.int64), torch.zeros(n, dtype=torch.int64))
