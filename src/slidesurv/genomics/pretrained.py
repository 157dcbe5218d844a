"""What pre-training leaves on the disk, while it goes on and at its end.

::

    folder/
      config.json, model.safetensors   weights and bins, as `slidesurv.genomics.weights` reads them
      mask.safetensors                 the vector of a hidden token, to go on teaching with
      genes.txt                        the genes in their order
      patients.csv                     who taught and who was held out; nobody else was seen
      history.csv                      one row an epoch
      pretrain.json                    what made them; written last, so that where it stands all is complete
      pretrain.partial                 where teaching stands, while it goes on or after it was ended
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from slidesurv import __version__
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_json, replacing, sha256, write_csv, write_json, write_text
from slidesurv.genomics.bulkrnabert import ExpressionEncoder, merge_ia3
from slidesurv.genomics.corpus import Corpus
from slidesurv.genomics.masking import drop_mask
from slidesurv.genomics.weights import write_checkpoint

__all__ = ["WEIGHTS", "History", "Progress", "Record", "read_mask"]

WEIGHTS, MASK, PARTIAL, DONE = "model.safetensors", "mask.safetensors", "pretrain.partial", "pretrain.json"
TOLD = "slidesurv"  # the one key of the files' metadata
VECTOR = "mask"
COLUMNS = (
    *("epoch", "learning_rate", "train_loss"),
    *("held_out_loss", "held_out_accuracy", "majority_loss", "majority_accuracy"),
)

History = list[dict[str, float]]


@dataclass(slots=True)
class Progress:
    """Where teaching stands; everything in it survives a checkpoint.

    Attributes:
        step: steps done, over all epochs.
        loss: of the epoch that goes on, as far as it has come.
        history: one row an epoch.
        best_epoch: the one that is kept, whose loss on the patients held out is lowest; 0 before the first.
        best_loss: that loss, in nats.
        best_weights: the encoder's state then.
    """

    step: int = 0
    loss: float = 0.0
    history: History = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def close(
        self,
        encoder: ExpressionEncoder,
        *,
        learning_rate: float,
        held_out: Mapping[str, float],
        majority: Mapping[str, float],
    ) -> None:
        """End an epoch: note what it came to, and keep its weights if they are the best so far."""
        epoch = len(self.history) + 1
        judged = {f"held_out_{name}": value for name, value in held_out.items()}
        guessed = {f"majority_{name}": value for name, value in majority.items()}
        row = {"epoch": epoch, "learning_rate": learning_rate, "train_loss": self.loss}
        self.history.append({**row, **judged, **guessed})
        self.loss = 0.0
        if held_out["loss"] < self.best_loss:
            self.best_epoch, self.best_loss = epoch, held_out["loss"]
            self.best_weights = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


class Record:
    """The folder of one call: the work of another call is neither gone on with nor overwritten.

    Args:
        folder: may exist.
        about: what was asked for, as JSON has it.
        corpus: who teaches.
        encoder: as it was before.
        mask: (D,) the vector of a hidden token before; None if there was none.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, Any], corpus: Corpus, encoder: ExpressionEncoder, mask: Tensor | None
    ) -> None:
        self.folder = folder
        self._corpus = corpus
        words = json.dumps([about, corpus.genes, corpus.teachers, corpus.watchers, repr(encoder.config)])
        before = [*encoder.state_dict().values(), *([] if mask is None else [mask])]
        arrays = (corpus.bins.edges, corpus.taught, corpus.watched, *(tensor.cpu().numpy() for tensor in before))
        self._about = {**about, "fingerprint": sha256(words.encode(), *(array.tobytes() for array in arrays))}

    def is_done(self) -> bool:
        """Say whether all of it stands there already.

        Raises:
            ConfigError: the folder holds the work of another call, or weights from elsewhere.
        """
        if (self.folder / DONE).exists():
            self._require_same(read_json(self.folder / DONE), DONE)
            return True
        if (self.folder / WEIGHTS).exists() and not (self.folder / PARTIAL).exists():
            raise ConfigError(f"'{self.folder}' holds weights from elsewhere, which stay. Choose another folder.")
        return False

    def _require_same(self, told: Mapping[str, Any], name: str) -> None:
        if told.get("fingerprint") != self._about["fingerprint"]:
            raise ConfigError(
                f"'{self.folder / name}' was made with other patients, values or settings. Choose another folder, or "
                "delete this one."
            )

    def save(self, encoder: ExpressionEncoder, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write where teaching stands."""
        tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in progress.best_weights.items()}
        for place, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in state.items()}
        numbers = {name: getattr(progress, name) for name in ("step", "loss", "history", "best_epoch")}
        numbers["best_loss"] = progress.best_loss if progress.best_epoch else None  # JSON has no infinity
        words = json.dumps({"progress": numbers, "fingerprint": self._about["fingerprint"]})
        with replacing(self.folder / PARTIAL) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {TOLD: words})

    def resume(self, encoder: ExpressionEncoder, optimizer: torch.optim.Optimizer) -> Progress:
        """Go on where teaching stands, if it has begun.

        Raises:
            DataError: the file that says so cannot be read.
            ConfigError: it is of another call.
        """
        path = self.folder / PARTIAL
        if not path.exists():
            return Progress()
        groups: dict[str, dict[str, Tensor]] = defaultdict(dict)
        try:
            with safe_open(path, "pt") as file:
                words = json.loads((file.metadata() or {}).get(TOLD, "{}"))
                for key in file.keys():  # noqa: SIM118 - a safetensors file is no dictionary
                    group, _, name = key.partition(".")
                    groups[group][name] = file.get_tensor(key)
        except (OSError, SafetensorError, ValueError) as error:
            raise DataError(f"Cannot read '{path}': {error}. Delete it, and begin again.") from error
        self._require_same(words, PARTIAL)
        encoder.load_state_dict(groups["encoder"])
        state: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for key, tensor in groups["optimizer"].items():
            place, _, name = key.partition(".")
            state[int(place)][name] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
        numbers = words["progress"] if words["progress"]["best_epoch"] else {**words["progress"], "best_loss": math.inf}
        return Progress(**numbers, best_weights=groups["best"])

    def finish(self, encoder: ExpressionEncoder, progress: Progress) -> Path:
        """Write the best weights and their account; then drop what was kept till here."""
        encoder.load_state_dict(progress.best_weights)
        if self._about["taught"] != "all":
            merge_ia3(encoder)
        mask, corpus = drop_mask(encoder), self._corpus
        path = write_checkpoint(self.folder, encoder, corpus.bins)
        with replacing(self.folder / MASK) as temporary:
            save_file({VECTOR: mask.cpu().contiguous()}, temporary)
        write_text(self.folder / "genes.txt", "".join(f"{gene}\n" for gene in corpus.genes))
        parts = {"train": corpus.teachers, "held out": corpus.watchers}
        rows = ({"patient_id": patient, "part": part} for part, ids in parts.items() for patient in ids)
        write_csv(self.folder / "patients.csv", rows, ["patient_id", "part"])
        write_csv(self.folder / "history.csv", progress.history, COLUMNS)
        write_json(self.folder / DONE, self._account(progress))
        (self.folder / PARTIAL).unlink(missing_ok=True)
        return path

    def _account(self, progress: Progress) -> dict[str, Any]:
        corpus = self._corpus
        return {
            "schema_version": 1,
            "tool_version": __version__,
            **self._about,
            "weights_sha256": sha256(self.folder / WEIGHTS),
            "genes": len(corpus.genes),
            "bins": {"count": corpus.bins.count, "rule": type(corpus.bins).__name__},
            "patients": {"train": len(corpus.teachers), "held_out": len(corpus.watchers)},
            "kept": progress.history[progress.best_epoch - 1],
        }


def read_mask(folder: Path) -> Tensor | None:
    """Read the vector (D,) of a hidden token that stands beside weights of our own; None where there is none."""
    path = folder / MASK
    try:
        return load_file(path)[VECTOR] if path.exists() else None
    except (OSError, SafetensorError, KeyError) as error:
        raise DataError(f"Cannot read '{path}': {error}. Delete it to begin with another vector.") from error
