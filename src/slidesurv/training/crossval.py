"""Cross-validation: every model, every seed, every fold is a task of its own; then the run is described.

::

    runs/<name>/
      run.json  splits.json  audit.csv
      <model>/search/fold<k>/   trials.csv  search.json (where choices are searched)
      <model>/seed<s>/fold<k>/  bundle/  history.csv  predictions.csv  reconstruction.csv
                                rebuilt.safetensors  diagnostics.csv
                                history.jsonl (a line an epoch, while it trains)  timing.json
                                fold.json (last: a fold with one is finished)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slidesurv.config.experiment import Experiment
from slidesurv.engine import Outcome, Task, run
from slidesurv.errors import ConfigError, listing
from slidesurv.files import read_json, write_csv, write_json
from slidesurv.training.baselines import beside
from slidesurv.training.bundle import write_bundle
from slidesurv.training.device import fast_matmul, peak_memory
from slidesurv.training.job import Job, opened, reader, train
from slidesurv.training.predict import (
    answers,
    diagnoses,
    gradient_ratio,
    prediction,
    profile,
    reconstructions,
    rejudged,
    write_rebuilt,
)
from slidesurv.training.provenance import code_version
from slidesurv.training.record import describe_run, obstacle, require_data
from slidesurv.training.search import forget_other, found_at, run_search, search, searches
from slidesurv.training.trackers.base import Place
from slidesurv.training.tracking import Follower, begin

if TYPE_CHECKING:
    from slidesurv.cohorts.fold import Fold
    from slidesurv.models.base import SurvivalModel
    from slidesurv.training.fit import Progress
    from slidesurv.types import PatientData

__all__ = ["able", "plan", "run_fold", "run_jobs"]


def plan(experiment: Experiment, folder: Path) -> list[Job]:
    """Open the data of an experiment and list its folds, in the order in which results are wanted.

    Args:
        experiment: checked.
        folder: of the run; holds an earlier part of the same experiment, or nothing.

    Raises:
        ConfigError: the folder holds folds of another experiment.
        DataError: the cohort, its features or its splits cannot be used.
    """
    opened.cache_clear()  # the files may have changed since
    study = opened(experiment.model_dump_json())
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
    study = opened(experiment.model_dump_json())
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
    """Run what is left of a plan, searches first, and describe the run.

    Args:
        jobs: the whole plan.
        workers: processes.
        command: for the record.
        report: called with the outcome of each search, and then of each fold.

    Returns:
        One outcome a job; a search that failed fails its folds, with its reason.
    """
    study, folder = jobs[0].study, jobs[0].run_folder
    text = study.experiment.model_dump_json()
    if not all(job.finished.exists() for job in jobs):
        begin(study.experiment.records.tracker, folder, study.experiment.name)
    code = code_version()
    study.write(folder)
    reasons = _search(searches(jobs), text, workers=workers, report=report)
    known = {
        job.name: Outcome(job.name, "failed", reasons[job.place, job.fold])
        for job in jobs
        if (job.place, job.fold) in reasons and not job.finished.exists()
    }
    for outcome in known.values():
        report(outcome)
    tasks = [
        Task(job.name, run_fold, (text, job.place, job.seed, job.fold, folder), job.finished)
        for job in jobs
        if job.name not in known
    ]
    known |= {outcome.name: outcome for outcome in run(tasks, workers=workers, report=report)}
    outcomes = [known[job.name] for job in jobs]
    facts = {**describe_run(study, folder, command, outcomes), "code": code}
    for methods, failures in beside(study, folder, facts["methods"]):
        facts["methods"] = [*facts["methods"], *methods]
        facts["failures"] = [*facts["failures"], *failures]
    write_json(folder / "run.json", facts)
    return outcomes


def _search(
    needed: Sequence[Job], text: str, *, workers: int, report: Callable[[Outcome], None]
) -> dict[tuple[int, int], str]:
    """Search before any fold is taught, so that all seeds of a model find the same choices there.

    Returns:
        Why a search failed, by place of the model and fold.
    """
    for job in needed:
        forget_other(job)
    tasks = [
        Task(
            f"{job.row.title}, search, fold {job.fold}", run_search, (text, job.place, job.fold, job.run_folder), place
        )
        for job, place in zip(needed, map(found_at, needed), strict=True)
    ]
    outcomes = run(tasks, workers=workers, report=report)
    return {
        (job.place, job.fold): outcome.reason
        for job, outcome in zip(needed, outcomes, strict=True)
        if outcome.status == "failed"
    }


def run_fold(text: str, place: int, seed: int, fold: int, run_folder: Path) -> None:
    """Fit one model on one fold and write everything about it. Runs here or in a worker process.

    Where choices are to be searched and were not yet, they are searched first.

    Args:
        text: the experiment as JSON.
        place: of the model in the experiment.
        seed: of weights, order of patients, dropout and prototypes.
        fold: of the splits.
        run_folder: of the run.
    """
    asked = Job(opened(text), place, seed, fold, run_folder)
    found = search(asked)
    job, start = asked if found is None else replace(asked, chosen=found["choices"]), time.monotonic()
    for stray in job.folder.rglob(".*.part"):  # of a writer that was killed
        stray.unlink(missing_ok=True)
    recipe = job.recipe
    torch.set_num_threads(recipe.threads)
    with fast_matmul(recipe.fast_matmul), peak_memory() as memory:
        data = job.study.fit_fold(job.split, n_bins=recipe.bins)
        read = reader(data, job)
        with Follower(_place(job), job.experiment.records.tracker) as follower:
            model, progress = train(job, data, read, tick=partial(_tick, job, follower))
            follower.tell(progress.history)
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
        "fingerprint": asked.fingerprint,
    }
    write_json(job.finished, about if found is None else {**about, "search": found})


def _tick(job: Job, follower: Follower, progress: Progress) -> None:
    write_json(job.folder / "progress.json", {"epoch": progress.epoch})
    follower.tell(progress.history)


def _place(job: Job) -> Place:
    stamp = "OPTIMISTIC" if job.experiment.training.protocol == "paper" else ""
    return Place(job.run_folder, job.experiment.name, job.row.slug, job.seed, job.fold, stamp)


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
        if (whole := profile(model, patient.genomics)) is not None:
            truth[patient.id] = whole
        if parts[patient.id] == "test" and output.reconstruction is not None:
            rebuilt[patient.id] = output.reconstruction
    write_rebuilt(job.folder / "rebuilt.safetensors", rebuilt, truth, view=model.view)
    rebuilt = rebuilt if model.view == "embedding" else {}  # groups are no density
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
