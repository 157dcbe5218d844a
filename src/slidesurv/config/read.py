"""Reading an experiment from its TOML file."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from slidesurv.config.experiment import Experiment
from slidesurv.errors import ConfigError, unknown

__all__ = ["read_experiment"]

MOST_BYTES = 1_000_000


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment and check it.

    Args:
        path: a TOML file.
        overrides: ``"training.epochs=5"`` or ``"models.0.dim=128"``, applied to what the file says.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or a value is not allowed.
    """
    values = _read_toml(path)
    for override in overrides:
        _override(values, override)
    try:
        experiment = Experiment.model_validate(values, context={"folder": str(path.parent)})
    except ValidationError as error:
        raise ConfigError(f"In '{path.name}': {_explain(error)}") from None
    experiment.check()
    return experiment


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(
                f"'{path}' is larger than {MOST_BYTES:,} bytes: that is no experiment file. Give the TOML file; "
                "'slidesurv init' writes a commented one."
            )
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no '{path}'. 'slidesurv init {path}' writes a commented one.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read '{path}' as TOML: {error}. 'slidesurv init' writes a commented one.") from error


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"'{override}' sets nothing: write --set section.key=value.")
    *parents, last = path.split(".")
    place: Any = values
    try:
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[int(last) if isinstance(place, list) else last] = _toml_value(text)
    except (IndexError, ValueError, TypeError, AttributeError):
        raise ConfigError(f"'{path}' leads to no key of the experiment: write --set section.key=value.") from None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError) -> str:
    """Say the first thing that is wrong, with the nearest key where one was misspelt."""
    first = error.errors()[0]
    where, key = [str(part) for part in first["loc"][:-1]], str(first["loc"][-1]) if first["loc"] else ""
    place = f"[{'.'.join(where)}] " if where else ""
    if first["type"] == "extra_forbidden":
        section: Any = Experiment
        for part in where:
            section = _kind_of(section, part)
        return f"{place}{unknown('key', key, section.model_fields)}"
    if first["type"] == "missing":
        return f"{place}'{key}' is missing. 'slidesurv init' writes a file with every key explained."
    return f"{place}{key} = {first['input']!r}: {first['msg'].removeprefix('Value error, ')}."


def _kind_of(section: Any, key: str) -> Any:
    """The class of what stands under a key of a section, or of a group of sections with names of the user's own."""
    if get_origin(section) is dict:
        return get_args(section)[1]
    kind = section.model_fields[key].annotation
    return next(k for k in get_args(kind) if k is not NoneType) if get_origin(kind) is UnionType else kind
