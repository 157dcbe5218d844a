"""Embeddings of a table's patients, made once by a frozen encoder and kept in one file.

::

    folder/
      embeddings.safetensors    one (D,) float32 tensor for each patient, and what it was made with
      index.csv                 hash of each patient's tokens; how many genes were zero, or past the last bin
      embeddings.partial        what is done so far, while a run goes on or after it was ended
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from slidesurv import __version__
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import replacing, sha256, write_csv
from slidesurv.genomics.expression import Expression
from slidesurv.genomics.kinds import Kind, require
from slidesurv.genomics.tokens import TPMBins
from slidesurv.genomics.weights import Checkpoint

__all__ = ["embed"]

FINAL, PARTIAL, INDEX = "embeddings.safetensors", "embeddings.partial", "index.csv"
TOLD = "slidesurv"  # the one key of the files' metadata: several would be written in any order
OFFICIAL_GENES = 19_062  # of every released checkpoint, and the sha256 of their list
OFFICIAL_ORDER = "ce44c2b58a3577878f43aa00fa4d940a090d678bd007f1dbd27ecb58c63d7ec5"
COLUMNS = ("patient_id", "tokens_sha256", "zeros", "clamped")


@dataclass
class Shelf:
    """What is embedded so far.

    Attributes:
        recipe: what the vectors depend on beside the expression.
        vectors: (D,) of each patient.
        entries: what the index says of each patient.
    """

    recipe: dict[str, Any]
    vectors: dict[str, Tensor] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Add what stands in a file.

        Raises:
            DataError: the file cannot be read.
            ConfigError: it was made with another recipe, or by another program.
        """
        if not path.exists():
            return
        try:
            with safe_open(path, "pt") as file:
                told = json.loads((file.metadata() or {}).get(TOLD, "{}"))
                vectors = {patient: file.get_tensor(patient) for patient in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise DataError(f"Cannot read '{path}': {error}. Delete it, and embed again.") from error
        if told.get("recipe") != self.recipe:
            raise ConfigError(f"'{path}' was made otherwise: {self._difference(told)}. Choose another folder.")
        self.vectors |= vectors
        self.entries |= told["entries"]

    def write(self, path: Path) -> None:
        """Write all of it, atomically; the same vectors give the same bytes."""
        told = {"schema_version": 1, "tool_version": __version__, "recipe": self.recipe, "entries": self.entries}
        with replacing(path) as temporary:
            save_file(self.vectors, temporary, metadata={TOLD: json.dumps(told, sort_keys=True)})

    def _difference(self, told: dict[str, Any]) -> str:
        theirs = told.get("recipe", {})
        return "; ".join(
            f"its {key} is {theirs.get(key, 'not told')!r}, here {value!r}"
            for key, value in self.recipe.items()
            if theirs.get(key) != value
        )


def embed(
    table: Expression,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    genes: Sequence[str],
    precision: Literal["float32", "bfloat16"] = "float32",
    device: torch.device | None = None,
    save_seconds: float = 30.0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Embed every patient of a table, and keep the vectors as a file that ``[cohort] embeddings`` takes.

    The same call after an interruption goes on where it stopped and ends with the same bytes. Patients who were
    embedded into the folder before stay in it; one whose expression changed is embedded again. Patients are computed
    one by one, so that no vector depends on its neighbours.

    Args:
        table: patients × genes, in the order of ``genes``; in TPM, unless the weights were taught on quantiles.
        checkpoint: the weights.
        folder: where the files go.
        genes: the list that belongs to the weights.
        precision: "bfloat16" takes less than half the memory, and shifts the vectors by about half a percent.
        device: where to compute; None is the CPU.
        save_seconds: how often what is done is saved; at most so much work is lost.
        report: called with the patients done and all patients, at the start and after each.

    Returns:
        ``embeddings.safetensors``.

    Raises:
        DataError: the table is not in the order of the weights' genes, or not in TPM; nothing is written.
        ConfigError: the folder holds embeddings that were made otherwise.

    Source:
        Gélard et al. (PMLR 259, 2024): the mean of the last block's tokens, not normalised.
    """
    _require_order(table, checkpoint, genes)
    if isinstance(checkpoint.bins, TPMBins):
        require(table.values, Kind.TPM, where="The table")
    device = device or torch.device("cpu")
    shelf = Shelf(_recipe(checkpoint, genes, precision, device))
    for name in (FINAL, PARTIAL):
        shelf.read(folder / name)
    rows = dict(zip(table.ids, table.values, strict=True))
    entries = {patient: _entry(checkpoint.bins(row), checkpoint) for patient, row in rows.items()}
    waiting = [patient for patient, entry in entries.items() if shelf.entries.get(patient) != entry]
    vectors = _vectors(checkpoint, (checkpoint.bins(rows[patient]) for patient in waiting), precision, device)
    done, saved = len(entries) - len(waiting), time.monotonic()
    report(done, len(entries))
    for patient, vector in zip(waiting, vectors, strict=False):
        shelf.vectors[patient], shelf.entries[patient] = vector, entries[patient]
        if time.monotonic() - saved >= save_seconds:
            shelf.write(folder / PARTIAL)
            saved = time.monotonic()
        done += 1
        report(done, len(entries))
    return _finish(shelf, folder)


def _require_order(table: Expression, checkpoint: Checkpoint, genes: Sequence[str]) -> None:
    if len(genes) != checkpoint.config.n_genes:
        raise DataError(
            f"The gene list has {len(genes)} ids, but the weights were taught on {checkpoint.config.n_genes}. "
            "Give the list that came with them."
        )
    if len(genes) == OFFICIAL_GENES and _order(genes) != OFFICIAL_ORDER:
        raise DataError(
            f"The gene list is not the one of the released weights, in its order: its sha256 is {_order(genes)}, "
            f"not {OFFICIAL_ORDER}. Give common_gene_id.txt as it was released."
        )
    if table.genes != tuple(genes):
        differ = sum(one != other for one, other in zip(table.genes, genes, strict=False))
        raise DataError(
            f"The table's {len(table.genes)} columns are not the weights' {len(genes)} genes in their order: "
            f"{differ} differ. 'slidesurv rna prepare' puts a table in the order of a list."
        )


def _order(genes: Iterable[str]) -> str:
    """The sha256 of a file with one gene a line."""
    return sha256("".join(f"{gene}\n" for gene in genes).encode())


def _recipe(checkpoint: Checkpoint, genes: Sequence[str], precision: str, device: torch.device) -> dict[str, Any]:
    """Everything that a vector depends on beside the expression, as JSON has it."""
    return {
        "weights_sha256": checkpoint.sha256,
        "release": checkpoint.release,
        "config": asdict(checkpoint.config),
        "genes_sha256": _order(genes),
        "pooling": "mean",
        "precision": precision,
        "device": device.type,
    }


def _entry(ids: NDArray[np.int64], checkpoint: Checkpoint) -> dict[str, Any]:
    """What the index says of a patient's tokens (G,)."""
    return {
        "tokens_sha256": sha256(ids.astype("<i4").tobytes()),
        "zeros": int((ids == 0).sum()),
        "clamped": int((ids >= checkpoint.config.n_expressions_bins).sum()),
    }


def _vectors(
    checkpoint: Checkpoint, tokens: Iterable[NDArray[np.int64]], precision: str, device: torch.device
) -> Iterator[Tensor]:
    """Embed patients (G,) one by one: each (D,) float32, on the CPU."""
    encoder = checkpoint.encoder().to(device, getattr(torch, precision))
    for ids in tokens:
        with torch.inference_mode():
            vector = encoder.embed(torch.from_numpy(ids)[None].to(device))[0]  # (D,)
        yield vector.cpu().clone()


def _finish(shelf: Shelf, folder: Path) -> Path:
    """Write the index, then the vectors, so that a file of vectors has its index; then drop what was kept till here."""
    write_csv(folder / INDEX, ({"patient_id": p, **shelf.entries[p]} for p in sorted(shelf.entries)), COLUMNS)
    shelf.write(folder / FINAL)
    (folder / PARTIAL).unlink(missing_ok=True)
    return folder / FINAL
