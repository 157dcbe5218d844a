"""Parts by name: a decorated class in the right folder exists, is listed, and is checked.

::

    @models.register("attnmil")
    class AttnMIL(SurvivalModel): ...

    models.names()                              # every file of slidesurv.models has been looked at
    models.bind("attnmil", {"dim": 128})        # raises on an unknown or ill-typed keyword, builds nothing
    models.build("attnmil", sizes, dim=128)
"""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from slidesurv.errors import ConfigError, unknown

__all__ = ["Registry", "models"]

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """The parts of one kind.

    Args:
        kind: the word for one part in messages, such as "model".
        package: where the parts live; its modules are imported when a name is first asked for, and with them what
            installed packages give in the entry points of that name.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._parts: dict[str, type[Part]] = {}
        self._looked = False

    def register(self, name: str) -> Callable[[type[Part]], type[Part]]:
        """Give a class its name. Used as a decorator."""

        def keep(part: type[Part]) -> type[Part]:
            if name in self._parts and self._parts[name].__module__ != part.__module__:
                raise ConfigError(f"Two {self.kind}s are called '{name}': rename one of them.")
            self._parts[name] = part
            return part

        return keep

    def names(self) -> list[str]:
        """Every known name, sorted."""
        if not self._looked:
            self._look()
        return sorted(self._parts)

    def _look(self) -> None:
        for module in iter_modules(import_module(self._package).__path__):
            import_module(f"{self._package}.{module.name}")
        for entry in entry_points(group=self._package):
            entry.load()
        self._looked = True

    def __getitem__(self, name: str) -> type[Part]:
        if name not in self.names():
            raise ConfigError(unknown(self.kind, name, self._parts))
        return self._parts[name]

    def name_of(self, part: type[Part]) -> str:
        """The name under which a class is registered."""
        return next(name for name, known in self._parts.items() if known is part)

    def bind(self, name: str, choices: Mapping[str, Any]) -> dict[str, Any]:
        """Check a part's keywords against its constructor, before any data is read.

        Returns:
            The choices, converted to the annotated types.

        Raises:
            ConfigError: names the part, the keyword, the value, and what is allowed.
        """
        signature = inspect.signature(self[name].__init__, eval_str=True)
        allowed = {p.name: p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
        bound = {}
        for key, value in choices.items():
            if key not in allowed:
                raise ConfigError(f"In {self.kind} '{name}': {unknown('option', key, allowed)}")
            try:
                bound[key] = TypeAdapter(allowed[key].annotation).validate_python(value)
            except ValidationError as error:
                reason = _reason(key, error, allowed[key].default)
                raise ConfigError(f"In {self.kind} '{name}': {reason}") from None
        return bound

    def build(self, name: str, *data: Any, **choices: Any) -> Part:
        """Make a part: data first, choices by keyword.

        Raises:
            ConfigError: the name or a choice is not known.
        """
        return self[name](*data, **self.bind(name, choices))


def _reason(key: str, error: ValidationError, default: Any) -> str:
    """Say which value is wrong, inside a group of choices too."""
    first = error.errors()[0]
    inner = [str(part) for part in first["loc"] if str(part) in getattr(default, "__dataclass_fields__", {})]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return unknown(f"key of '{key}'", str(first["loc"][-1]), default.__dataclass_fields__)
    usual = getattr(default, inner[0]) if inner else default
    return f"option '{'.'.join([key, *inner])}' is {first['input']!r}: {first['msg']}. The default is {usual!r}."


models: Registry[Any] = Registry("model", "slidesurv.models")
