"""One row of the results: a model with its choices."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from slidesurv.errors import ConfigError, DataError, unknown
from slidesurv.files import check_id
from slidesurv.registry import models

__all__ = ["ModelSection", "require_name"]


class ModelSection(BaseModel):
    """One row of the results: a model, and every choice that differs from its defaults.

    Attributes:
        name: as in ``slidesurv models``.
        label: how tables call the row; the name if left out.
        preset: a named set of choices of the model, which the other keys override.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    label: str = ""
    preset: str | None = None

    @property
    def title(self) -> str:
        """How tables call this row."""
        return self.label or self.name

    @property
    def slug(self) -> str:
        """How folders call this row."""
        words = "".join(letter if letter.isalnum() else " " for letter in self.title.lower()).split()
        return require_name("-".join(words), what="label of a model", seen=self.title)

    def choices(self) -> dict[str, Any]:
        """The keywords of the constructor, checked against it.

        Raises:
            ConfigError: the model, the preset or a keyword is not known, or has the wrong type.
        """
        preset = {}
        if self.preset is not None:
            presets = models[self.name].presets
            if self.preset not in presets:
                raise ConfigError(f"In model '{self.name}': {unknown('preset', self.preset, presets)}")
            preset = dict(presets[self.preset])
        return models.bind(self.name, _merge(preset, self.model_extra or {}))

    def plain_choices(self) -> dict[str, Any]:
        """`choices` as JSON has them."""
        return {key: asdict(v) if is_dataclass(v) else v for key, v in self.choices().items()}  # type: ignore[arg-type]

    def says(self, key: str) -> bool:
        """Whether the row chooses a keyword itself; ``"ese.prompts"`` is one inside a group."""
        value: Any = self.model_extra or {}
        for part in key.split("."):
            if not isinstance(value, Mapping):
                return True  # the group is switched off, or chosen whole
            if part not in value:
                return False
            value = value[part]
        return True

    def choosing(self, choices: Mapping[str, Any]) -> Self:
        """The same row with further choices, by keywords as in `says`."""
        extra = self.model_extra or {}
        for key, value in choices.items():
            group, _, inner = key.partition(".")
            extra = _merge(extra, {group: {inner: value} if inner else value})
        return type(self).model_validate(self.model_dump() | extra)


def require_name(name: str, *, what: str, seen: str) -> str:
    """Return a name that can be a folder's.

    Args:
        name: to be checked.
        what: it is called in the error.
        seen: what the user wrote.

    Raises:
        ConfigError: it cannot.
    """
    try:
        return check_id(name, what=what)
    except DataError:
        raise ConfigError(
            f"The {what} is '{seen}', which cannot name a folder: use 1 to 200 letters a-z, digits, '.', '_' and '-'."
        ) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Let choices override a preset's, inside groups of choices key by key."""
    nested = {
        key: {**base[key], **value}
        for key, value in over.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **over, **nested}
