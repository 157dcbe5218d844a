"""Which choices suit a method in a fold: trials on inner folds of the fold's own training and tuning patients.

::

    runs/<name>/<model>/search/fold<k>/  trials.csv (a row a finished trial)  timing.json  search.json (last)

An inner cross-validation is a study of fewer patients: all that is fitted is fitted on its inner training part, and the
patients who judge the fold stand in none of it. One search serves all seeds of a model, so that their spread is that of
training alone.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slidesurv.cohorts.splits import kfold
from slidesurv.errors import ConfigError, DataError
from slidesurv.files import read_json, write_json
from slidesurv.report.words import without_folders
from slidesurv.seeds import seed_for
from slidesurv.survival.losses import nll
from slidesurv.survival.resampling import pooled_concordance
from slidesurv.training.device import fast_matmul
from slidesurv.training.job import Job, opened, reader, train
from slidesurv.training.predict import answers
from slidesurv.training.trials import Trial, propose, read_trials, require_optuna, write_trials

if TYPE_CHECKING:
    import optuna

    from slidesurv.cohorts.study import Study
    from slidesurv.config.search import SearchSection
    from slidesurv.types import Split

__all__ = ["forget_other", "found_at", "inner_splits", "require_search", "run_search", "search", "searches"]


@dataclass(frozen=True, slots=True)
class InnerPatient:
    """What the model of an inner fold says of a patient on whom nothing of it was fitted; ``nll`` in nats."""

    fold: int
    time: float
    event: bool
    risk: float
    nll: float


def require_search(study: Study) -> None:
    """Check before any training that the search of an experiment can be made, if it has one.

    Raises:
        MissingExtra: Optuna is not installed.
        ConfigError: a fold has too few patients for inner folds.
        DataError: a fold has too few deaths for inner folds.
    """
    if study.experiment.search is not None:
        require_optuna()
        for fold in range(len(study.splits)):
            inner_splits(study, fold, study.experiment.search)


def searches(jobs: Sequence[Job]) -> list[Job]:
    """The searches that a plan still needs: one job of each model and fold that has an unfinished seed."""
    if not jobs or jobs[0].experiment.search is None:
        return []
    unfinished: dict[tuple[int, int], Job] = {}
    for job in jobs:
        if not job.finished.exists():
            unfinished.setdefault((job.place, job.fold), job)
    return list(unfinished.values())


def found_at(job: Job) -> Path:
    """Where it is written, last, what was found for a job."""
    return job.run_folder / job.row.slug / "search" / f"fold{job.fold}" / "search.json"


def forget_other(job: Job) -> None:
    """Remove what was found with other settings or data."""
    if found_at(job).exists() and read_json(found_at(job))["fingerprint"] != job.fingerprint:
        found_at(job).unlink()


def run_search(text: str, place: int, fold: int, run_folder: Path) -> None:
    """Search for one model and one fold. Runs here or in a worker process.

    Args:
        text: the experiment as JSON.
        place: of the model in the experiment.
        fold: of the splits.
        run_folder: of the run.
    """
    study = opened(text)
    search(Job(study, place, study.experiment.training.seeds[0], fold, run_folder))


def search(job: Job) -> dict[str, Any] | None:
    """Find the choices of a job, or read what was found; None where nothing is searched.

    Args:
        job: as it was asked; its seed does not matter.

    Returns:
        ``choices`` by dotted key, the ``trial`` they come from and its ``value`` of ``metric``; then the budget:
        ``trials``, of which so many ``failed`` and so many were ``pruned``, and inner ``folds``.

    Raises:
        DataError: every trial failed, or the fold has too few deaths for inner folds.
    """
    section, place = job.experiment.search, found_at(job)
    if section is None:
        return None
    forget_other(job)
    if not place.exists():
        for stray in place.parent.rglob(".*.part"):  # of a writer that was killed
            stray.unlink(missing_ok=True)
        torch.set_num_threads(job.recipe.threads)
        with fast_matmul(job.recipe.fast_matmul):
            trials = _make_trials(job, section, place.parent)
        write_json(place, {**_describe(trials, section), "fingerprint": job.fingerprint})
    return {key: value for key, value in read_json(place).items() if key != "fingerprint"}


def inner_splits(study: Study, fold: int, section: SearchSection) -> tuple[Split, ...]:
    """Divide a fold's training and tuning patients into inner folds; each keeps the fold's tuning share.

    Raises:
        ConfigError: there are too few patients.
        DataError: there are too few deaths among them.
    """
    split = study.splits[fold]
    known = study.dataset.cohort.subset((*split.train, *split.tune))
    seed = seed_for("search", section.seed, fold)
    return kfold(known, folds=section.folds, seed=seed, tune=len(split.tune) / len(known))


def _make_trials(job: Job, section: SearchSection, place: Path) -> list[Trial]:
    """Make the trials that are left to make, and write each down as it ends."""
    trials = read_trials(place / "trials.csv", job.fingerprint)
    seconds = read_json(place / "timing.json") if trials else {}
    study = replace(job.study, splits=inner_splits(job.study, job.fold, section))
    inner = replace(job, study=study, seed=section.seed, run_folder=place / "inner")
    for number in range(len(trials), section.trials):
        start, seed = time.monotonic(), seed_for("propose", section.seed, job.fold, number)
        asked = propose(section.space(job.row), trials, maximise=section.metric == "c_index", seed=seed)
        trials.append(_make_trial(inner, asked, trials, section))
        seconds[str(number)] = time.monotonic() - start
        write_json(place / "timing.json", seconds)
        write_trials(place / "trials.csv", trials, job.fingerprint)
        write_json(place / "progress.json", {"trial": number + 1, "trials": section.trials})
    (place / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(place / "inner", ignore_errors=True)  # checkpoints
    return trials


def _make_trial(inner: Job, asked: optuna.trial.Trial, before: Sequence[Trial], section: SearchSection) -> Trial:
    """Teach and judge a proposal on every inner fold; one that was made before would end as it did then."""
    number, choices = len(before), dict(asked.params)
    if same := next((trial for trial in before if trial.choices == choices), None):
        return replace(same, number=number)
    values: list[float] = []
    try:
        for value in _judge(replace(inner, chosen=choices), section.metric):
            values.append(value)
            asked.report(value, len(values))
            if section.prune and len(values) < section.folds and asked.should_prune():
                return Trial(number, "pruned", choices, tuple(values))
    except (ConfigError, DataError) as error:
        return Trial(number, "failed", choices, tuple(values), without_folders(error))
    return Trial(number, "complete", choices, tuple(values))


def _judge(inner: Job, metric: str) -> Iterator[float]:
    """The metric after each inner fold, over the patients of all inner folds so far.

    Raises:
        DataError: it is not finite, or a loss was not.
    """
    judged: list[InnerPatient] = []
    for fold in range(len(inner.study.splits)):
        judged += _held_out(replace(inner, fold=fold))
        value = _c_index(judged) if metric == "c_index" else math.fsum(one.nll for one in judged) / len(judged)
        if not math.isfinite(value):
            raise DataError(
                f"The {metric} of {len(judged)} inner patients is {value}; a finite one is needed. Search fewer inner "
                "folds, or smaller learning rates."
            )
        yield value


def _held_out(job: Job) -> Iterator[InnerPatient]:
    """Teach on an inner fold and ask about the patients who judge it."""
    data = job.study.fit_fold(job.split, n_bins=job.recipe.bins)
    read = reader(data, job)
    model, _ = train(job, data, read)
    for patient, output in answers(model, map(read, job.split.test), precision=job.recipe.precision):
        target = patient.target
        cost = nll(output.logits[None], target).item()
        yield InnerPatient(job.fold, target.time.item(), bool(target.event.item()), output.risk.item(), cost)


def _c_index(judged: Sequence[InnerPatient]) -> float:
    told = {name: [getattr(one, name) for one in judged] for name in ("event", "time", "risk", "fold")}
    return pooled_concordance(told["event"], told["time"], told["risk"], told["fold"]).index


def _describe(trials: Sequence[Trial], section: SearchSection) -> dict[str, Any]:
    """What was found, and what it cost.

    Raises:
        DataError: nothing was.
    """
    worth = {trial.number: trial.value for trial in trials if trial.value is not None}
    if not worth:
        raise DataError(
            f"All {len(trials)} trials of the search failed; one at least must end. Mend what the first says, or "
            f"search other values. The first: {trials[0].reason}"
        )
    best = trials[(max if section.metric == "c_index" else min)(worth, key=worth.__getitem__)]  # the first of equals
    states = [trial.state for trial in trials]
    return {
        "choices": dict(best.choices),
        "trial": best.number,
        "value": best.value,
        "metric": section.metric,
        "trials": len(trials),
        "failed": states.count("failed"),
        "pruned": states.count("pruned"),
        "folds": section.folds,
    }
