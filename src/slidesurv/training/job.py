"""One training: which model, which seed, which fold and which choices; and its fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slidesurv import __version__
from slidesurv.cohorts.study import Study, open_study
from slidesurv.config.experiment import Experiment
from slidesurv.config.row import ModelSection
from slidesurv.config.search import amend, below
from slidesurv.config.training import TrainingSection
from slidesurv.files import sha256
from slidesurv.registry import models
from slidesurv.seeds import seed_for
from slidesurv.survival.bins import assign
from slidesurv.training.device import pick_device
from slidesurv.training.fit import Progress, fit

if TYPE_CHECKING:
    from slidesurv.cohorts.fold import Fold
    from slidesurv.models.base import SurvivalModel
    from slidesurv.types import PatientData, Split

__all__ = ["Job", "opened", "reader", "train"]

# what a fold's numbers do not depend on, or is hashed by content
NOT_NUMBERS: Any = {
    "name": True,
    "models": True,
    "baselines": True,
    "records": True,
    "search": True,  # the row's own part of it is hashed
    "cohort": {"table", "features", "expression", "embeddings"},
    "genomics": {"signatures", "counts"},
    "splits": {"path"},
    "training": {"seeds", "device", "checkpoint_seconds"},
}


@dataclass(frozen=True)
class Job:
    """One model, one seed, one fold.

    Attributes:
        study: the experiment with its data.
        place: of the model in the experiment.
        seed: of weights, order of patients, dropout and prototypes.
        fold: of the study's splits.
        run_folder: of the run.
        chosen: what a search found, over what the experiment says: ``training.<key>`` and ``model.<keyword>``.
    """

    study: Study
    place: int
    seed: int
    fold: int
    run_folder: Path
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def experiment(self) -> Experiment:
        """What was asked."""
        return self.study.experiment

    @property
    def split(self) -> Split:
        """Who teaches, who tunes, who judges."""
        return self.study.splits[self.fold]

    @property
    def row(self) -> ModelSection:
        """Which model."""
        return self.experiment.models[self.place].choosing(below("model", self.chosen))

    @property
    def recipe(self) -> TrainingSection:
        """How the model is taught."""
        asked = self.experiment.recipe(self.experiment.models[self.place])
        return amend(asked, below("training", self.chosen))

    @property
    def name(self) -> str:
        """What progress and failures call it."""
        return f"{self.row.title}, seed {self.seed}, fold {self.fold}"

    @property
    def folder(self) -> Path:
        """Where everything about it is written."""
        return self.run_folder / self.row.slug / f"seed{self.seed}" / f"fold{self.fold}"

    @property
    def finished(self) -> Path:
        """The file that is written last."""
        return self.folder / "fold.json"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what can change the fold's numbers: settings, data and our version; no path, no device."""
        kept, search = self.experiment.model_dump_json(exclude=NOT_NUMBERS), self.experiment.search
        words = [__version__, self.study.fingerprint, kept, self.row.name, str(self.row.plain_choices())]
        words += [self.recipe.model_dump_json(exclude=NOT_NUMBERS["training"])]
        words += [] if search is None else [search.asked(self.experiment.models[self.place])]
        return sha256("\n".join(words).encode())


@lru_cache(maxsize=1)
def opened(text: str) -> Study:
    """The data of an experiment that is given as JSON, read once a process."""
    return open_study(Experiment.model_validate_json(text))


def reader(data: Fold, job: Job) -> Callable[[str], PatientData]:
    """Read patients of a fold onto the device; with the control "shuffle", training patients swap their genomes."""
    device, train = pick_device(job.experiment.training.device), data.split.train
    donors: dict[str, str] = {}
    if job.experiment.genomics.shuffle:
        generator = torch.Generator().manual_seed(seed_for("shuffle", job.seed, job.fold))
        donors = {train[k]: train[j] for k, j in enumerate(torch.randperm(len(train), generator=generator).tolist())}

    def read(patient: str) -> PatientData:
        known = data.patient(patient)
        if patient in donors:
            known = replace(known, genomics=data.patient(donors[patient]).genomics)
        return known.to(device)

    return read


def train(
    job: Job,
    data: Fold,
    read: Callable[[str], PatientData],
    *,
    tick: Callable[[Progress], None] = lambda progress: None,
) -> tuple[SurvivalModel, Progress]:
    """Build the job's model and fit it on the training patients of its fold.

    Args:
        job: what to train; its folder takes the checkpoint.
        data: its fold, fitted.
        read: from `reader`.
        tick: see `fit`.
    """
    recipe, split = job.recipe, job.split
    device = pick_device(recipe.device)
    torch.manual_seed(seed_for("weights", job.seed, job.fold))
    model: SurvivalModel = models.build(job.row.name, data.sizes, **job.row.choices()).to(device)
    model.prepare((bag.to(device) for bag in data.training_bags()), seed=seed_for("prepare", job.seed, job.fold))
    watched, choose = _choice(recipe, split)
    progress = fit(
        model,
        read,
        train=split.train,
        watch=getattr(split, watched),
        watched=watched,
        choose=choose,
        recipe=recipe,
        seed=seed_for("fit", job.seed, job.fold),
        checkpoint=job.folder / "checkpoint.safetensors",
        fingerprint=job.fingerprint,
        chances=_chances(job, data) if recipe.sampler == "weighted" else None,
        tick=tick,
    )
    return model, progress


def _chances(job: Job, data: Fold) -> list[float]:
    """One over the number of training patients with the same time bin and the same ending."""
    known = [job.study.dataset.cohort[patient] for patient in data.split.train]
    bins = assign(data.bins, [patient.time for patient in known]).tolist()
    strata = [(k, patient.event) for k, patient in zip(bins, known, strict=True)]
    return [1 / strata.count(stratum) for stratum in strata]


def _choice(recipe: TrainingSection, split: Split) -> tuple[str, str]:
    """Which part is watched, and what of it chooses the epoch."""
    if recipe.protocol == "paper":
        return "test", "c_index"
    return "tune", "nll" if recipe.choose == "tune" and split.tune else "last"
