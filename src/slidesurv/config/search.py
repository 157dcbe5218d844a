"""Section about searching: which keys may be otherwise, and what a trial of them costs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from slidesurv.config.row import ModelSection
from slidesurv.config.section import Section
from slidesurv.config.training import TrainingSection
from slidesurv.errors import ConfigError, unknown
from slidesurv.registry import models

__all__ = ["Axis", "SearchSection", "amend", "below"]

Number = int | Annotated[float, Field(allow_inf_nan=False)]
Value = bool | int | float | str

# Of [training]; the others say what is compared, or where it runs.
SEARCHED = (
    "accumulate",
    "epochs",
    "event_weight",
    "l1",
    "learning_rate",
    "optimizer",
    "patience",
    "sampler",
    "schedule",
    "weight_decay",
)


class Axis(Section):
    """What one key may be: anything from ``low`` to ``high``, or one of ``choices``.

    Attributes:
        low, high: both ends; written without a decimal point, they make whole numbers.
        log: draw orders of magnitude alike.
        choices: the values themselves.
    """

    low: Number | None = None
    high: Number | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that must be allowed, so that all are."""
        return self.choices or tuple(end for end in (self.low, self.high) if end is not None)

    @model_validator(mode="after")
    def _is_a_range_or_a_list(self) -> Self:
        if (self.low is None) != (self.high is None) or (self.low is None) != bool(self.choices):
            raise ValueError("give low and high, or choices")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log = true needs a range whose low is above 0")
        return self


class SearchSection(Section):
    """What is searched before a fold is taught, with the same budget for every method.

    A key that a row of ``[[models]]`` says itself stays as it says, so that an ablation remains one.

    Attributes:
        trials: of every method in every fold.
        folds: inner folds of the fold's own training and tuning patients; every trial is taught and judged on all.
        metric: of the inner patients who judge, all inner folds together: the lowest "nll" or the highest "c_index".
        prune: give up a trial that after an inner fold is worse than the median of those before it; none of the first
            five is given up.
        seed: of the inner folds, the proposals and the inner trainings.
        training: keys of ``[training]`` that are searched for every method.
        models: keywords of a model by its name; ``"ese.prompts"`` is one inside a group.
    """

    trials: int = Field(20, ge=1)
    folds: int = Field(3, ge=2)
    metric: Literal["nll", "c_index"] = "nll"
    prune: bool = False
    seed: int = 0
    training: dict[str, Axis] = Field(default_factory=dict)
    models: dict[str, dict[str, Axis]] = Field(default_factory=dict)

    def space(self, row: ModelSection) -> dict[str, Axis]:
        """What is searched for a row: ``training.<key>`` and ``model.<keyword>``."""
        own = {f"model.{key}": axis for key, axis in self.models.get(row.name, {}).items() if not row.says(key)}
        return {f"training.{key}": axis for key, axis in self.training.items()} | own

    def asked(self, row: ModelSection) -> str:
        """Everything about a row's search in words; another row's own keywords are not among it."""
        space = {key: axis.model_dump(mode="json") for key, axis in self.space(row).items()}
        return f"{self.model_dump_json(exclude={'training', 'models'})} {space}"

    def check(self, rows: Sequence[ModelSection], recipes: Sequence[TrainingSection]) -> None:
        """Check every end of every axis, and that each row has something to search.

        Args:
            rows: the models.
            recipes: how each is taught.

        Raises:
            ConfigError: a key is not known or not searched, a value is not allowed, or budgets would not be equal.
        """
        self._check_protocol(recipes)
        for key in self.training:
            if key not in SEARCHED:
                raise ConfigError(f"[search.training] {unknown('key to search', key, SEARCHED)}")
        for name, axes in self.models.items():
            _check_model(name, axes, [row for row in rows if row.name == name])
        for row, recipe in zip(rows, recipes, strict=True):
            self._check_row(row, recipe)

    def _check_protocol(self, recipes: Sequence[TrainingSection]) -> None:
        if any(recipe.protocol == "paper" for recipe in recipes):
            raise ConfigError(
                "[search] has no part in protocol = 'paper', which looks at the test fold: set protocol = 'leakfree'."
            )
        if self.metric == "nll" and any(recipe.loss == "cox" for recipe in recipes):
            raise ConfigError(
                "[search] metric = 'nll' judges survival curves, and loss = 'cox' makes none: set metric = 'c_index'."
            )

    def _check_row(self, row: ModelSection, recipe: TrainingSection) -> None:
        space = self.space(row)
        if not space:
            raise ConfigError(
                f"[search] leaves '{row.title}' nothing to search, so budgets would not be equal: name a key in "
                "[search.training], or one of its own in [search.models]."
            )
        for key, value in ((key, value) for key, axis in space.items() for value in axis.ends):
            row.choosing(below("model", {key: value})).choices()
            amend(recipe, below("training", {key: value}))


def _check_model(name: str, axes: Mapping[str, Axis], rows: Sequence[ModelSection]) -> None:
    if name not in models.names():
        raise ConfigError(f"[search.models] {unknown('model', name, models.names())}")
    for key in axes:
        if key in ModelSection.model_fields:
            raise ConfigError(
                f"[search.models.{name}] '{key}' cannot be searched; only the model's own keywords can. Write a "
                "[[models]] row for each."
            )
        if rows and all(row.says(key) for row in rows):
            raise ConfigError(
                f"[search.models.{name}] {key} is searched for no row: each says its own. Take it out of [search] or "
                "of [[models]]."
            )


def below(part: str, choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices of one part, "training" or "model", without its name."""
    return {key.removeprefix(f"{part}."): value for key, value in choices.items() if key.startswith(f"{part}.")}


def amend(recipe: TrainingSection, choices: Mapping[str, Any]) -> TrainingSection:
    """A recipe with other values of some keys.

    Raises:
        ConfigError: one is not allowed.
    """
    try:
        return TrainingSection.model_validate({**recipe.model_dump(), **choices})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "training"
        raise ConfigError(
            f"[search.training] {key} may not be {first['input']!r}: {first['msg'].removeprefix('Value error, ')}."
        ) from None
