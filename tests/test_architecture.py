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
UNSAFE = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
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
        allowed = (
            there == here or FLOOR[there] < FLOOR[here] or (FLOOR[there] == FLOOR[here] and FLOOR[here] in SIDEWAYS)
        )
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
def test_nothing_unpickles(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & UNSAFE
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE:
            assert [alias.name for alias in node.names] == ["UnpicklingError"]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_is_caught_and_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno}: name what is caught"
            assert ast.unparse(node.type) not in {"Exception", "BaseException"}
