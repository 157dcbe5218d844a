"""An experiment: its sections together, and what they mean for one another."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from slidesurv.config.data import CohortSection, FeatureSection, GenomicSection, SplitSection
from slidesurv.config.records import RecordSection
from slidesurv.config.row import ModelSection, require_name
from slidesurv.config.search import SearchSection
from slidesurv.config.section import Section
from slidesurv.config.training import BaselineSection, TrainingSection
from slidesurv.errors import ConfigError, listing
from slidesurv.registry import models

__all__ = ["Experiment"]


class Experiment(Section):
    """A whole experiment: ``slidesurv init`` writes one with comments."""

    name: str
    cohort: CohortSection
    splits: SplitSection = SplitSection()
    features: FeatureSection = FeatureSection()
    genomics: GenomicSection = GenomicSection()
    training: TrainingSection = TrainingSection()
    baselines: BaselineSection = BaselineSection()
    records: RecordSection = RecordSection()
    search: SearchSection | None = None
    models: tuple[ModelSection, ...] = Field(min_length=1)

    def check(self) -> None:
        """Check what needs the registry: every model's choices, and that rows can be told apart.

        Raises:
            ConfigError: see `ModelSection.choices` and `SearchSection.check`; or two rows have the same label.
        """
        require_name(self.name, what="name of the experiment", seen=self.name)
        slugs = [row.slug for row in self.models]
        if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise ConfigError(f"Several [[models]] are called {listing(twice)}: give each its own label.")
        for row in self.models:
            row.choices()
        if self.search is not None:
            self.search.check(self.models, [self.recipe(row) for row in self.models])

    def select(self, methods: Sequence[str]) -> Self:
        """The same experiment with other rows: of each method those that it has, or one with the method's defaults.

        Args:
            methods: names, in the order of the rows.

        Raises:
            ConfigError: a method is not known.
        """
        own = {name: [row for row in self.models if row.name == name] for name in methods}
        rows = tuple(row for name in methods for row in own[name] or [ModelSection(name=name)])
        selected = self.model_copy(update={"models": rows})
        selected.check()
        return selected

    def recipe(self, row: ModelSection) -> TrainingSection:
        """How one row is taught: ``[training]``, under ``recipe = "native"`` overridden by the method's authors."""
        if self.training.recipe == "unified":
            return self.training
        return TrainingSection.model_validate(self.training.model_dump() | dict(models[row.name].native))
