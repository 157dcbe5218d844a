"""The paper's tables, and ours, as TOML in ``tables/``: their rows, and what they ask of a cohort's experiment."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from slidesurv.config.experiment import Experiment
from slidesurv.config.read import read_experiment
from slidesurv.config.row import ModelSection
from slidesurv.errors import ConfigError, unknown
from slidesurv.report.overview.printed import PrintedTable, read_printed

__all__ = ["PaperTable", "TableRow", "read_table"]

TABLES = Path(__file__).with_name("tables")
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
OTHERS = {"figure4": "Figure 4", "ablations": "Ablations"}
NAMES = {str(number): f"Table {roman}" for number, roman in enumerate(ROMAN, start=1)} | OTHERS


class TableRow(BaseModel):
    """One row: a model, what the table asks of it, and what it asks of the data.

    Attributes:
        label: how the row is called here.
        printed: how the paper calls it; the label if left out.
        model: its name.
        choices: of the model, over those of the user's experiment.
        set: overrides of the experiment that this row alone needs, over the user's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    printed: str = ""
    model: str
    choices: dict[str, Any] = {}
    set: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """How folders call the row."""
        return ModelSection(name=self.model, label=self.label).slug

    def of(self, experiment: Experiment) -> ModelSection:
        """The row in an experiment: its first row of the same method, with what the table asks."""
        own = experiment.select([self.model]).models[0]
        return own.choosing(self.choices).model_copy(update={"label": self.label})


class PaperTable(BaseModel):
    """A table.

    Attributes:
        name: which of ``tables`` was asked for.
        tables: what the paper calls it, two where it asks the same of three cohorts and of five; or what we call it.
        question: that it answers.
        reference: label of the row that the others are compared with.
        set: overrides of every experiment, under the user's own.
        notes: what a reader must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tables: tuple[str, ...]
    title: str
    question: str
    reference: str
    set: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[TableRow, ...]

    def experiments(self, path: Path, overrides: Sequence[str]) -> dict[str, Experiment]:
        """The experiments that the rows need of one cohort, by folder below the cohort's; "" when there is one.

        Args:
            path: the user's experiment.
            overrides: the user's own.
        """
        groups: dict[tuple[str, ...], list[TableRow]] = {}
        for row in self.rows:
            groups.setdefault(row.set, []).append(row)
        asked = [_ask(path, (*self.set, *overrides, *own), rows) for own, rows in groups.items()]
        if len(asked) == 1:
            return {"": asked[0]}
        return {each.models[0].slug: each for each in asked}

    def printed(self) -> PrintedTable:
        """What the paper prints, by slug of the row and cohort."""
        slugs = {row.printed or row.label: row.slug for row in self.rows}
        known = read_printed(TABLES / "paper.csv", self.tables)
        return {(slugs[row], cohort): figure for (row, cohort), figure in known.items()}


def read_table(which: str) -> PaperTable:
    """Read a table.

    Args:
        which: "1" to "9", "I" to "IX", "figure4", or "ablations".

    Raises:
        ConfigError: there is no such table.
    """
    name = NAMES.get(which.lower(), f"Table {which.upper()}")
    for path in sorted(TABLES.glob("*.toml")):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        if name in values["tables"]:
            return PaperTable(name=name, **values)
    raise ConfigError(unknown("table", which, NAMES))


def _ask(path: Path, overrides: Sequence[str], rows: Sequence[TableRow]) -> Experiment:
    experiment = read_experiment(path, overrides)
    asked = experiment.model_copy(update={"models": tuple(row.of(experiment) for row in rows)})
    asked.check()
    return asked
