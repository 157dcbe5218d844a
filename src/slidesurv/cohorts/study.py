"""From an experiment file to patients, data and folds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidesurv.cohorts.audit import AUDIT_COLUMNS, audit
from slidesurv.cohorts.clinical import describe, read_manifest
from slidesurv.cohorts.columns import EventRule
from slidesurv.cohorts.dataset import Dataset
from slidesurv.cohorts.fold import Fold, fit_fold
from slidesurv.cohorts.imports import read_mcat, read_mcat_genomics
from slidesurv.cohorts.splits import kfold, read_mcat_splits, read_splits, write_splits
from slidesurv.config import CohortSection, Experiment, SplitSection
from slidesurv.errors import ConfigError
from slidesurv.files import write_csv
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

    def fit_fold(self, split: Split) -> Fold:
        """Fit bins, scales and components on a fold's training patients, as the experiment asks."""
        genomics, training = self.experiment.genomics, self.experiment.training
        return fit_fold(
            self.dataset,
            split,
            n_bins=training.n_bins,
            bins_from="cohort" if training.protocol == "paper" else "train",
            standardise_features=self.experiment.features.standardise,
            embedding=genomics.embedding,
            components=genomics.components,
            whiten=genomics.whiten,
        )

    def facts(self) -> dict[str, Any]:
        """The cohort in numbers, of the patients that are used."""
        facts = describe(self.dataset.cohort)
        follow_up = facts.pop("median_follow_up")
        return {**facts, "median_follow_up_months": follow_up}

    def write(self, folder: Path) -> None:
        """Write ``splits.json`` and ``audit.csv``."""
        write_splits(folder / "splits.json", self.splits, origin=self.experiment.splits.kind)
        write_csv(folder / "audit.csv", audit(self.dataset.cohort, self.splits), AUDIT_COLUMNS)


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
        max_tiles=experiment.features.max_tiles,
        seed=experiment.splits.seed,
    )
    splits = read_folds(_without_tune(experiment), dataset.cohort)
    return Study(experiment, dataset, splits)


def read_cohort(section: CohortSection) -> Cohort:
    """Read the table of patients."""
    name = section.name or section.table.name.split(".", maxsplit=1)[0]
    if section.format == "mcat":
        return read_mcat(section.table, name=name, suffixes=(), drop_invalid=section.drop_invalid)[0]
    columns = {"time": section.time_column} if section.time_column else {}
    return read_manifest(
        section.table,
        name=name,
        event=_event_rule(section),
        time_unit=section.time_unit,
        columns=columns,
        drop_invalid=section.drop_invalid,
    )


def read_folds(section: SplitSection, cohort: Cohort) -> tuple[Split, ...]:
    """Make the folds, or read them."""
    if section.kind == "kfold" or section.path is None:
        return kfold(cohort, folds=section.folds, seed=section.seed, tune=section.tune)
    if section.kind == "mcat":
        return read_mcat_splits(section.path, cohort, tune=section.tune, seed=section.seed)
    return read_splits(section.path, cohort)


def _event_rule(section: CohortSection) -> EventRule | None:
    words = {"event_column": section.event_column, "dead": section.dead, "alive": section.alive}
    given: Mapping[str, str] = {key: word for key, word in words.items() if word is not None}
    if not given:
        return None
    if missing := sorted(words.keys() - given.keys()):
        raise ConfigError(f"[cohort] says {sorted(given)} but not {missing}: the event needs all three.")
    return EventRule(given["event_column"], dead=(given["dead"],), alive=(given["alive"],))


def _read_expression(section: CohortSection) -> Expression | None:
    if section.expression:
        return read_expression(section.expression, clip=section.clip or None)
    if section.format == "mcat" and section.suffixes:
        return read_mcat_genomics(section.table, suffixes=section.suffixes, clip=section.clip or float("inf"))
    return None


def _without_tune(experiment: Experiment) -> SplitSection:
    """The published protocol has two parts: what tunes is what judges, and everyone else teaches."""
    if experiment.training.protocol == "paper":
        return experiment.splits.model_copy(update={"tune": 0.0})
    return experiment.splits
