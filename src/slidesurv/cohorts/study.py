"""From an experiment file to patients, data and folds."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slidesurv.cohorts.audit import AUDIT_COLUMNS, audit
from slidesurv.cohorts.clinical import describe, read_manifest
from slidesurv.cohorts.columns import EventRule
from slidesurv.cohorts.dataset import Dataset
from slidesurv.cohorts.fold import Embedding, Fold, fit_fold
from slidesurv.cohorts.group_folds import column_of, group_fold, temporal_fold
from slidesurv.cohorts.imports import read_mcat, read_mcat_genomics
from slidesurv.cohorts.site_folds import leave_site_out, site_kfold
from slidesurv.cohorts.splits import kfold, left_out, read_mcat_splits, read_splits, write_splits
from slidesurv.config.data import CohortSection, GenomicSection, SplitSection
from slidesurv.config.experiment import Experiment
from slidesurv.errors import ConfigError
from slidesurv.files import sha256, write_csv
from slidesurv.genomics.expression import Expression, read_embeddings, read_expression
from slidesurv.genomics.groups import GeneGroups, read_signatures
from slidesurv.genomics.screening import Screening
from slidesurv.slides.store import FeatureStore
from slidesurv.types import Cohort, Split

__all__ = ["Study", "open_study", "read_cohort", "read_folds"]


@dataclass(frozen=True)
class Study:
    """An experiment with its data at hand.

    Attributes:
        dataset: the patients that can be used, with slides and genomics.
        splits: one a fold.
        groups: gene groups of the expression; None when the experiment names none.
    """

    experiment: Experiment
    dataset: Dataset
    splits: tuple[Split, ...]
    groups: GeneGroups | None = None

    def fit_fold(self, split: Split, *, n_bins: int | None = None) -> Fold:
        """Fit bins, scales, genes and components on a fold's training patients, as the experiment asks; once a process.

        Args:
            split: the fold.
            n_bins: T, where a model's recipe needs another number than the experiment's.
        """
        wanted = split, n_bins or self.experiment.training.n_bins
        if wanted not in self._fitted:
            self._fitted[wanted] = self._fit_fold(*wanted)
        return self._fitted[wanted]

    @cached_property
    def _fitted(self) -> dict[tuple[Split, int], Fold]:
        return {}

    def _fit_fold(self, split: Split, n_bins: int) -> Fold:
        genomics, training = self.experiment.genomics, self.experiment.training
        return fit_fold(
            self.dataset,
            split,
            n_bins=n_bins,
            bins_from="cohort" if training.protocol == "paper" else "train",
            standardise_features=self.experiment.features.standardise,
            embedding=self.embedding,
            components=genomics.components,
            whiten=genomics.whiten,
            groups=self.groups,
            screening=Screening(genomics.screening, genomics.p_value),
            screen_groups=genomics.screen_groups,
            empty_groups=genomics.empty_groups,
            max_tiles=self.experiment.features.max_tiles,
            seed=self.experiment.splits.seed,
        )

    @property
    def embedding(self) -> Embedding:
        """Where the genomic embedding comes from, once "auto" has looked at the data."""
        wanted = self.experiment.genomics.embedding
        if wanted != "auto":
            return wanted
        return "table" if self.dataset.embeddings else "pca" if self.dataset.expression else "none"

    @property
    def views(self) -> set[str]:
        """The views of the genome that can be made: fields of `Genomics`."""
        has_expression = self.dataset.expression is not None
        ready_made = {"none": False, "table": self.dataset.embeddings is not None}
        made = {
            "expression": has_expression,
            "embedding": ready_made.get(self.embedding, has_expression),
            "groups": self.groups is not None,
        }
        return {view for view, there in made.items() if there}

    def lacking(self, view: str) -> list[str]:
        """Patients for whom a view cannot be made: they have no row in its table."""
        ready_made = view == "embedding" and self.embedding == "table"
        table = self.dataset.embeddings if ready_made else self.dataset.expression
        return [patient for patient in self.dataset.cohort.ids if table is None or patient not in table]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the patients, their features and genomics, and the folds: of everything that was read."""
        data, cohort = self.dataset, self.dataset.cohort
        tables = [table for table in (data.expression, data.embeddings, data.counts) if table is not None]
        return sha256(
            repr((cohort, self.splits, [(table.ids, table.genes) for table in tables], self.groups)).encode(),
            *(table.values.tobytes() for table in tables),
            data.store.fingerprint(cohort.slides).encode() if data.store else b"",
        )

    def facts(self) -> dict[str, Any]:
        """The cohort in numbers, of the patients that are used."""
        return describe(self.dataset.cohort)

    def write(self, folder: Path) -> None:
        """Write ``splits.json``, ``audit.csv``, and ``dropped.csv`` if patients were left out."""
        nowhere = left_out(self.dataset.cohort, self.splits)
        write_splits(folder / "splits.json", self.splits, origin=self.experiment.splits.kind, left_out=nowhere)
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
    section, genomics = experiment.cohort, experiment.genomics
    dataset = Dataset(
        read_cohort(section),
        store=FeatureStore(section.features) if section.features else None,
        expression=_read_expression(section),
        embeddings=read_embeddings(section.embeddings) if section.embeddings else None,
        counts=read_expression(genomics.counts) if genomics.counts else None,
        missing=section.missing,
        allow_mixed=section.allow_mixed,
    )
    if genomics.missing == "drop":
        dataset.keep_patients_with_genomics()
    splits = read_folds(experiment.splits, dataset.cohort, two_parts=_two_parts(experiment))
    return Study(experiment, dataset, splits, _read_groups(genomics, dataset.expression))


def read_cohort(section: CohortSection) -> Cohort:
    """Read the table of patients."""
    name = section.name or section.table.name.split(".", maxsplit=1)[0]
    if section.format == "mcat-csv":
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
    tune, seed = 0.0 if two_parts else section.tune, section.seed
    if section.path is not None and section.kind == "mcat-csv":
        return read_mcat_splits(section.path, cohort, tune=tune, seed=seed, merge_tune=two_parts)
    if section.path is not None and section.kind == "file":
        return read_splits(section.path, cohort, merge_tune=two_parts)
    if section.kind == "leave-site-out":
        return leave_site_out(cohort, least=section.site_deaths, seed=seed, tune=tune)
    if section.kind == "group":
        group, judge = column_of(cohort, section.column, section.path), section.unknown == "judge"
        return (group_fold(cohort, group, teach=section.teach, unknown_judge=judge, seed=seed, tune=tune),)
    if section.kind == "temporal":
        moment = column_of(cohort, section.column, section.path)
        return (temporal_fold(cohort, moment, until=section.until, share=1 / section.folds, seed=seed, tune=tune),)
    make = site_kfold if section.kind == "site" else kfold
    return make(cohort, folds=section.folds, repeats=section.repeats, seed=seed, tune=tune)


def _event_rule(section: CohortSection) -> EventRule | None:
    if section.event_column is None or section.dead is None or section.alive is None:
        return None
    return EventRule(section.event_column, dead=(section.dead,), alive=(section.alive,))


def _read_expression(section: CohortSection) -> Expression | None:
    if section.expression:
        return read_expression(section.expression, clip=section.clip or None)
    if section.format == "mcat-csv" and section.suffixes:
        return read_mcat_genomics(section.table, suffixes=section.suffixes, clip=section.clip or float("inf"))
    return None


def _read_groups(section: GenomicSection, expression: Expression | None) -> GeneGroups | None:
    if section.signatures is None:
        return None
    if expression is None:
        raise ConfigError("[genomics] signatures groups the genes of a table: set [cohort] expression.")
    return GeneGroups.match(read_signatures(section.signatures), expression.genes, empty=section.empty_groups)


def _two_parts(experiment: Experiment) -> bool:
    """The published protocol has two parts: what tunes is what judges, and everyone else teaches."""
    return experiment.training.protocol == "paper"
