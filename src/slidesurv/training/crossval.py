"""Cross-validation: every model, every seed, every fold is a task of its own; then the run is described.

::

    runs/<name>/
      run.json  splits.json  audit.csv
      <model>/seed<s>/fold<k>/  bundle/  history.csv  predictions.csv  reconstruction.csv  diagnostics.csv
                                timing.json  fold.json (last: a fold with one is finished)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slidesurv import __version__
from slidesurv.cohorts.study import Study, open_study
from slidesurv.config.experiment import Experiment
from slidesurv.config.row import ModelSection
from slidesurv.config.training import TrainingSection
from slidesurv.engine import Outcome, Task, run
from slidesurv.errors import ConfigError, listing
from slidesurv.files import read_json, sha256, write_csv, write_json
from slidesurv.registry import models
from slidesurv.seeds import seed_for
from slidesurv.survival.bins import assign
from slidesurv.training.baselines import beside
from slidesurv.training.bundle import write_bundle
from slidesurv.training.device import fast_matmul, peak_memory, pick_device
from slidesurv.training.fit import Progress, fit
from slidesurv.training.predict import answers, diagnoses, gradient_ratio, prediction, reconstructions, rejudged
from slidesurv.training.record import describe_run, obstacle, require_data

if TYPE_CHECKING:
    from slidesurv.cohorts.fold import Fold
    from slidesurv.models.base import SurvivalModel
    from slidesurv.types import PatientData, Split

__all__ = ["Job", "able", "plan", "run_fold", "run_jobs"]

# what a fold's numbers do not depend on, or is hashed by content
NOT_NUMBERS: Any = {
    "name": True,
    "models": True,
    "baselines": True,
    "cohort": {"table", "features", "expression", "embeddings"},
    "genomics": {"signatures", "counts"},
    "splits": {"path"},
    "training": {"seeds", "device", "checkpoint_seconds"},
}


def plan(experiment: Experiment, folder: Path) -> list[Job]:
    """Open the data of an experiment and list its folds, in the order in which results are wanted.

    Args:
        experiment: checked.
        folder: of the run; holds an earlier part of the same experiment, or nothing.

    Raises:
        ConfigError: the folder holds folds of another experiment.
        DataError: the cohort, its features or its splits cannot be used.
    """
    _study.cache_clear()  # the files may have changed since
    study = _study(experiment.model_dump_json())
    require_data(study)
    jobs = [
        Job(study, place, seed, fold, folder)
        for seed in experiment.training.seeds
        for fold in range(len(study.splits))
        for place in range(len(experiment.models))
    ]
    _require_same_experiment(jobs)
    return jobs


def able(experiment: Experiment) -> tuple[Experiment, dict[str, str]]:
    """Keep the rows that the data allow.

    Returns:
        The experiment with these rows, and for each of the others, by title, why it was left out.

    Raises:
        ConfigError: none is left.
        DataError: the cohort, its features or its splits cannot be used.
    """
    study = _study(experiment.model_dump_json())
    reasons = {row.title: str(reason) for row in experiment.models if (reason := obstacle(study, row))}
    kept = tuple(row for row in experiment.models if row.title not in reasons)
    if not kept:
        raise ConfigError(f"None of {len(reasons)} methods can be fitted. The first: {next(iter(reasons.values()))}")
    return experiment.model_copy(update={"models": kept}), reasons


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    command: str = "",
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run what is left of a plan and describe the run.

    Args:
        jobs: the whole plan.
        workers: processes.
        command: for the record.
        report: called with the outcome of each fold.

    Returns:
        One outcome a job.
    """
    study, folder = jobs[0].study, jobs[0].run_folder
    text = study.experiment.model_dump_json()
    study.write(folder)
    tasks = [Task(job.name, run_fold, (text, job.place, job.seed, job.fold, folder), job.finished) for job in jobs]
    outcomes = run(tasks, workers=workers, report=report)
    facts = describe_run(study, folder, command, outcomes)
    for methods, failures in beside(study, folder, facts["methods"]):
        facts["methods"] = [*facts["methods"], *methods]
        facts["failures"] = [*facts["failures"], *failures]
    write_json(folder / "run.json", facts)
    return outcomes


@dataclass(frozen=True)
class Job:
    """One model, one seed, one fold."""

    study: Study
    place: int
    seed: int
    fold: int
    run_folder: Path

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
        return self.experiment.models[self.place]

    @property
    def recipe(self) -> TrainingSection:
        """How the model is taught."""
        return self.experiment.recipe(self.row)

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
        kept = self.experiment.model_dump_json(exclude=NOT_NUMBERS)
        words = [__version__, self.study.fingerprint, kept, self.row.name, str(self.row.plain_choices())]
        words += [self.recipe.model_dump_json(exclude=NOT_NUMBERS["training"])]
        return sha256("\n".join(words).encode())


def run_fold(text: str, place: int, seed: int, fold: int, run_folder: Path) -> None:
    """Fit one model on one fold and write everything about it. Runs here or in a worker process.

    Args:
        text: the experiment as JSON.
        place: of the model in the experiment.
        seed: of weights, order of patients, dropout and prototypes.
        fold: of the splits.
        run_folder: of the run.
    """
    start = time.monotonic()
    job = Job(_study(text), place, seed, fold, run_folder)
    for stray in job.folder.rglob(".*.part"):  # of a writer that was killed
        stray.unlink()
    recipe = job.recipe
    torch.set_num_threads(recipe.threads)
    with fast_matmul(recipe.fast_matmul), peak_memory() as memory:
        data = job.study.fit_fold(job.split, n_bins=recipe.bins)
        read = _reader(data, job)
        model, progress = _fit(job, data, read)
        weights = _write_bundle(job, data, model)
        _write_tables(job, read, model, progress, weights=weights)
        ratio = gradient_ratio(model, map(read, job.split.train[:16]))
    write_json(job.folder / "timing.json", {"seconds": time.monotonic() - start, "memory_mb": memory.megabytes})
    for leftover in ("checkpoint.safetensors", "progress.json"):
        (job.folder / leftover).unlink(missing_ok=True)
    about = {
        "epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "edges": data.bins.edges,
        "model_hash": weights,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "genomics": model.genomics.value,
        "gradient_ratio": ratio,
        "fingerprint": job.fingerprint,
    }
    write_json(job.finished, about)


@lru_cache(maxsize=1)
def _study(text: str) -> Study:
    """The experiment's data, read once a process."""
    return open_study(Experiment.model_validate_json(text))


def _reader(data: Fold, job: Job) -> Callable[[str], PatientData]:
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


def _fit(job: Job, data: Fold, read: Callable[[str], PatientData]) -> tuple[SurvivalModel, Progress]:
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
        tick=lambda epoch: write_json(job.folder / "progress.json", {"epoch": epoch}),
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


def _write_bundle(job: Job, data: Fold, model: SurvivalModel) -> str:
    facts = {
        "title": f"{job.row.title}, {job.experiment.name}",
        "cohort": job.study.dataset.cohort.name,
        "patients": len(job.split.train),
        "deaths": sum(job.study.dataset.cohort[patient].event for patient in job.split.train),
        "features": job.study.dataset.origin,
        "clip": job.experiment.cohort.clip,
        "protocol": job.experiment.training.protocol,
        "fold": job.fold,
        "seed": job.seed,
    }
    choices = job.row.plain_choices()
    return write_bundle(job.folder / "bundle", model, data.preprocessing, choices=choices, facts=facts)


def _write_tables(
    job: Job, read: Callable[[str], PatientData], model: SurvivalModel, progress: Progress, *, weights: str
) -> None:
    """Write what was learnt, what is said of every patient, and what the model says of itself on test patients."""
    _write_rows(job.folder / "history.csv", progress.history)
    parts = {patient: part for part in ("train", "tune", "test") for patient in getattr(job.split, part)}
    rows, rebuilt, truth = [], {}, {}
    for patient, output in answers(model, map(read, parts), precision=job.recipe.precision):
        known = job.study.dataset.cohort[patient.id]
        said = {"fold": job.fold, "split": parts[patient.id], "model_hash": weights}
        seen = {"time_months": known.time, "event": int(known.event), "site": known.site}
        rows.append(said | seen | prediction(patient, output))
        if patient.genomics is not None and patient.genomics.embedding is not None:
            truth[patient.id] = patient.genomics.embedding
        if parts[patient.id] == "test" and model.view == "embedding" and output.reconstruction is not None:
            rebuilt[patient.id] = output.reconstruction
    if again := rejudged(model, map(read, rebuilt), rebuilt):
        nothing = {"risk_zeroed": None, "risk_shuffled": None}
        rows = [row | (again.get(str(row["patient_id"])) or nothing) for row in rows]
    _write_rows(job.folder / "predictions.csv", rows, first=("patient_id", "fold", "split", "risk"))
    taught = [truth[patient] for patient in job.split.train if patient in truth]
    _write_rows(job.folder / "reconstruction.csv", reconstructions(rebuilt, truth, taught))
    _write_rows(job.folder / "diagnostics.csv", diagnoses(model, (read(patient).bag for patient in job.split.test)))


def _write_rows(path: Path, rows: Sequence[dict[str, Any]], *, first: Sequence[str] = ()) -> None:
    """Write a table with the columns of its first row, some of them first; nothing for no rows."""
    if rows:
        write_csv(path, rows, list(dict.fromkeys([*first, *rows[0]])))


def _require_same_experiment(jobs: Sequence[Job]) -> None:
    """Refuse a folder whose finished folds were made with other settings."""
    finished = [job for job in jobs if job.finished.exists()]
    if others := [job.name for job in finished if read_json(job.finished)["fingerprint"] != job.fingerprint]:
        raise ConfigError(
            f"'{jobs[0].run_folder}' holds {len(others)} folds of another experiment: {listing(others)}. Give another "
            "--output, or remove the folder to start anew."
        )
