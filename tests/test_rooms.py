"""The rooms of the three packages: which imports which, and what may lie outside a room.

Imports inside functions and under TYPE_CHECKING count as well: they are dependencies, too.
"""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up; a room imports only rooms of lower floors. Rooms of one floor do not know each other.
FLOORS = (
    ("serving.files",),
    ("serving.pictures",),
    ("serving.preprocess",),
    ("serving.model",),
    ("serving.hub",),
    ("serving.classifier",),
    ("serving.summary",),
    ("serving",),
    ("serving.cli",),
    ("serving.app",),
    ("tumor_ds.collection",),
    ("tumor_ds.grouping",),
    ("tumor_ds.outlines",),
    ("tumor_ds.sources",),
    ("tumor_ds.audit", "tumor_ds.tumor_ds_dataset_builder"),
    ("tumor_ds.metadata",),
    ("tumor_ds.croissant",),
    ("tumor_ds",),
    ("trainer.config",),
    ("trainer.data", "trainer.models"),
    ("trainer.training", "trainer.evaluation"),
    ("trainer.fitting", "trainer.tracking"),
    ("trainer.reporting",),
    ("trainer.runs",),
    ("trainer.cli",),
    ("trainer",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGES = ("serving", "tumor_ds", "trainer")
# Scripts that are run by hand and imported by nothing.
SCRIPTS = {"trainer.models.weights.convert"}


def list_modules() -> dict[str, Path]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


MODULES = list_modules()


def find_room(module: str) -> str:
    """The room of a module: the longest name of `FLOOR` that it starts with."""
    return max((room for room in FLOOR if f"{module}.".startswith(f"{room}.")), key=len)


def find_imports(path: Path) -> Iterator[tuple[str, int]]:
    """Modules of the three packages that a file imports, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}, line {node.lineno}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield (name if name in MODULES else str(node.module)), node.lineno


def list_own_imports(module: str) -> list[tuple[str, int]]:
    return [
        (name, line) for name, line in find_imports(MODULES[module]) if name.partition(".")[0] in PACKAGES
    ]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module):
    here = find_room(module)
    for name, line in list_own_imports(module):
        there = find_room(name)
        assert there == here or FLOOR[there] < FLOOR[here], (
            f"{module}, line {line}, imports {name}, which is not below"
        )


def test_no_circle_of_modules():
    graph = {module: {name for name, _ in list_own_imports(module)} - {module} for module in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", sorted(set(MODULES) - SCRIPTS))
def test_only_named_files_lie_outside_a_room(module):
    if module.count(".") < 2 and MODULES[module].name != "__init__.py":
        assert module in FLOOR, f"{module} belongs into a room"
    if MODULES[module].name == "__init__.py":
        assert module in FLOOR, f"{module} is a room that has no floor"


def test_every_floor_exists():
    rooms = {".".join(module.split(".")[:2]) for module in MODULES}
    assert set(FLOOR) <= rooms


def test_only_one_module_of_serving_imports_tensorflow():
    heavy = {"keras", "tensorflow", "tensorflow_datasets", "keras_cv"}
    found = {
        module
        for module, path in MODULES.items()
        if module.startswith("serving")
        and any(name.partition(".")[0] in heavy for name, _ in find_imports(path))
    }
    assert found == {"serving.model.keras_runtime"}


@pytest.mark.parametrize(
    "room", ["trainer.training", "trainer.evaluation", "trainer.fitting", "trainer.data", "trainer.models"]
)
def test_nothing_below_reporting_draws(room):
    for module, path in MODULES.items():
        if find_room(module) == room:
            assert not [name for name, _ in find_imports(path) if name.startswith("matplotlib")], module
