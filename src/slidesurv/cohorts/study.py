"""From an experiment file to patients, data and folds."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from slidesurv.cohorts.audit import AUDIT_COLUMNS, audit
from slidesurv.cohorts.clinical import describe, read_manifest
from slidesurv.cohorts.columns import EventRule
from slidesurv.cohorts.dataset import Dataset
from slidesurv.cohorts.fold import Fold, fit_fold
from slidesurv.cohorts.imports import read_mcat, read_mcat_genomics
from slidesurv.cohorts.splits import kfold, read_mcat_splits, read_splits, write_splits
from slidesurv.config import CohortSection, Experiment, SplitSection
from slidesurv.files import sha256, write_csv
from slidesurv.genomics.expression import Expression, read_embeddings, read_expression
from slidesurv.slides.store import FeatureStore
from slidesurv.types import Cohort, Split

__all__ = ["Study", "open_study", "read_cohort", "read_folds"]


@dataclass(frozen=True)
class Study:
    """An experiment with its data at hand.

    Attributes:
        dataset: the patients that can be used, with slides and genomics.
        splits: one a fold.
    """

    experiment: Experiment
    dataset: Dataset
    splits: tuple[Split, ...]

    def fit_fold(self, split: Split, *, n_bins: int | None = None) -> Fold:
        """Fit bins, scales and components on a fold's training patients, as the experiment asks.

        Args:
            split: the fold.
            n_bins: T, where a model's recipe needs another number than the experiment's.
        """
        genomics, training = self.experiment.genomics, self.experiment.training
        return fit_fold(
            self.dataset,
            split,
            n_bins=n_bins or training.n_bins,
            bins_from="cohort" if training.protocol == "paper" else "train",
            standardise_features=self.experiment.features.standardise,
            embedding=self.embedding,
            components=genomics.components,
            whiten=genomics.whiten,
            max_tiles=self.experiment.features.max_tiles,
            seed=self.experiment.splits.seed,
        )

    @property
    def embedding(self) -> Literal["none", "table", "pca"]:
        """Where the genomic embedding comes from, once "auto" has looked at the data."""
        wanted = self.experiment.genomics.embedding
        if wanted != "auto":
            return wanted
        return "table" if self.dataset.embeddings else "pca" if self.dataset.expression else "none"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the patients, their features and genomics, and the folds: of everything that was read."""
        tables = [table for table in (self.dataset.expression, self.dataset.embeddings) if table is not None]
        store, cohort = self.dataset.store, self.dataset.cohort
        return sha256(
            repr((cohort, self.splits, [(table.ids, table.genes) for table in tables])).encode(),
            *(table.values.tobytes() for table in tables),
            store.fingerprint(cohort.slides).encode() if store else b"",
        )

    def facts(self) -> dict[str, Any]:
        """The cohort in numbers, of the patients that are used."""
        return describe(self.dataset.cohort)

    def write(self, folder: Path) -> None:
        """Write ``splits.json``, ``audit.csv``, and ``dropped.csv`` if patients were left out."""
        write_splits(folder / "splits.json", self.splits, origin=self.experiment.splits.kind)
        write_csv(folder / "audit.csv", audit(self.dataset.cohort, self.splits), AUDIT_COLUMNS)
        if dropped := self.dataset.cohort.dropped:
            rows = [{"patient_id": patient, "reason": reason} for patient, reason in dropped]
            write_csv(folder / "dropped.csv", rows, ["patient_id", "reason"])


def open_study(experiment: Experiment) -> Study:
    """Read the cohort, find its features and genomics, and make or import its folds.

    Raises:
        ConfigError: two settings contradict each other.
        DataError: a table or a feature file cannot be used.
    """
    section = experiment.cohort
    dataset = Dataset(
        read_cohort(section),
        store=FeatureStore(section.features) if section.features else None,
        expression=_read_expression(section),
        embeddings=read_embeddings(section.embeddings) if section.embeddings else None,
        missing=section.missing,
        allow_mixed=section.allow_mixed,
    )
    if experiment.genomics.missing == "drop":
        dataset.keep_patients_with_genomics()
    return Study(experiment, dataset, read_folds(experiment.splits, dataset.cohort, two_parts=_two_parts(experiment)))


def read_cohort(section: CohortSection) -> Cohort:
    """Read the table of patients."""
    name = section.name or section.table.name.split(".", maxsplit=1)[0]
    if section.format == "mcat":
        return read_mcat(section.table, name=name, suffixes=(), drop_invalid=section.drop_invalid)[0]
    return read_manifest(
        section.table,
        name=name,
        event=_event_rule(section),
        time_unit=section.time_unit,
        columns={str(key): name for key, name in section.columns.items()},
        drop_invalid=section.drop_invalid,
    )


def read_folds(section: SplitSection, cohort: Cohort, *, two_parts: bool = False) -> tuple[Split, ...]:
    """Make the folds, or read them.

    Args:
        section: how.
        cohort: whom.
        two_parts: keep no tuning part: its patients teach.
    """
    tune = 0.0 if two_parts else section.tune
    if section.kind == "kfold" or section.path is None:
        return kfold(cohort, folds=section.folds, seed=section.seed, tune=tune)
    if section.kind == "mcat":
        return read_mcat_splits(section.path, cohort, tune=tune, seed=section.seed, merge_tune=two_parts)
    return read_splits(section.path, cohort, merge_tune=two_parts)


def _event_rule(section: CohortSection) -> EventRule | None:
    if section.event_column is None or section.dead is None or section.alive is None:
        return None
    return EventRule(section.event_column, dead=(section.dead,), alive=(section.alive,))


def _read_expression(section: CohortSection) -> Expression | None:
    if section.expression:
        return read_expression(section.expression, clip=section.clip or None)
    if section.format == "mcat" and section.suffixes:
        return read_mcat_genomics(section.table, suffixes=section.suffixes, clip=section.clip or float("inf"))
    return None


def _two_parts(experiment: Experiment) -> bool:
    """The published protocol has two parts: what tunes is what judges, and everyone else teaches."""
    return experiment.training.protocol == "paper"
