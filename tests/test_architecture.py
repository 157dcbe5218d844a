"""The house: floors as data, and what no room may do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import slidesurv
from slidesurv.registry import models

HOUSE = Path(slidesurv.__file__).parent
FLOORS = [
    {"nn", "types", "errors"},
    {"registry", "config", "files", "engine", "seeds"},
    {"survival", "selection", "slides", "genomics"},
    {"models", "cohorts", "report"},
    {"training", "viewer"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}
SIDEWAYS = {1, 2}  # plain words may use each other: files needs errors, config needs files
FORBIDDEN = {"utils", "common", "core", "helpers", "misc"}


def sources() -> list[Path]:
    return sorted(path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py")


def room(path: Path) -> str:
    first = path.relative_to(HOUSE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, as dotted paths below slidesurv."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "slidesurv":
            yield node.module.removeprefix("slidesurv").strip(".")
        elif isinstance(node, ast.Import):
            yield from (n.name.removeprefix("slidesurv.") for n in node.names if n.name.startswith("slidesurv."))


def test_every_room_has_a_floor():
    assert {room(path) for path in sources()} <= set(FLOOR)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_imports_run_down(path):
    here = room(path)
    for module in filter(None, imports(path)):
        there = module.split(".")[0]
        allowed = there == here or FLOOR[there] < FLOOR[here] or (FLOOR[there] == FLOOR[here] and FLOOR[here] in SIDEWAYS)
        assert allowed, f"{here} (floor {FLOOR[here]}) imports {module} (floor {FLOOR[there]})"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_names_are_imported_from_the_module_that_defines_them(path):
    for module in filter(None, imports(path)):
        target = HOUSE.joinpath(*module.split("."))
        assert target.with_suffix(".py").exists(), f"{module} is a package: import from the module inside it"


def test_no_model_is_named_outside_models():
    names = set(models.names())
    for path in sources():
        if room(path) == "models":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value.lower() not in names, f"{path.name}:{node.lineno} names the model '{node.value}'"


def test_no_room_is_called_after_nothing():
    assert not {path.stem for path in HOUSE.rglob("*")} & FORBIDDEN


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_unpickles_or_swallows(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.split(".")[0] for alias in node.names} | {(getattr(node, "module", "") or "").split(".")[0]}
            assert not names & {"pickle", "dill", "joblib", "cloudpickle"}
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.id if isinstance(node.type, ast.Name) else ""
            assert node.type is not None and caught not in {"Exception", "BaseException"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "torch":
                assert any(k.arg == "weights_only" and getattr(k.value, "value", False) for k in node.keywords)
