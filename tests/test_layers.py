"""Imports go down: every module stands on a floor and knows its own floor and those below it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OURS = ("perceiver", "gnfactor", "data", "train", "eval")
GROUND = ("geometry", "scene", "actions", "demonstration", "batch", "errors")
"""One vocabulary for all rooms; its modules know each other and nothing above them."""
PERCEIVER_KNOWS = {"torch", "jaxtyping"}

FLOORS: tuple[tuple[str, ...], ...] = (
    ("perceiver.*",),
    ("gnfactor", *(f"gnfactor.{name}" for name in GROUND)),
    (
        *("gnfactor.voxels", "gnfactor.cells", "gnfactor.encoder", "gnfactor.head", "gnfactor.language"),
        "gnfactor.field.*",
        *(
            "gnfactor.proprioception",
            "gnfactor.augment",
            "gnfactor.published",
            "gnfactor.config_keys",
            "gnfactor.config_tree",
            "gnfactor.kinematics",
            "gnfactor.trajectory",
            "gnfactor.command",
            "gnfactor.files",
            "gnfactor.video",
            "gnfactor.resizing",
        ),
    ),
    ("gnfactor.model",),
    ("gnfactor.agent", "gnfactor.rollout", "gnfactor.envs.*", "gnfactor.build"),
    ("gnfactor.config", "gnfactor.checkpoint", "gnfactor.ros.*"),
    ("gnfactor.training.*", "gnfactor.evaluation.*"),
    ("gnfactor.compare", "gnfactor.import_checkpoint", "gnfactor.doctor.*"),
    ("data.*",),
    ("train", "eval"),
)
"""From the lowest up; `.*` takes a package with all in it."""
UP = {
    ("gnfactor.config", "gnfactor.training.optim"): "the whole configuration holds that of the optimiser",
    ("gnfactor.config", "gnfactor.evaluation.settings"): "the whole configuration holds that of evaluations",
    ("gnfactor.checkpoint", "gnfactor.training.metrics"): "a checkpoint keeps the errors that it was validated with",
}
"""The imports that go up all the same, and why."""


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    files = [path for package in OURS[:3] for path in (REPOSITORY / package).rglob("*.py")]
    files += [path for name in OURS[3:] if (path := REPOSITORY / f"{name}.py").is_file()]
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path for path in files
    }


MODULES = modules()


def imports(name: str, *, at_import: bool = False) -> set[str]:
    """Modules that a module imports, as far as we wrote them, and packages of others.

    Args:
        name: dotted name of the module.
        at_import: only what importing the module itself brings about, not what its functions import when called.
    """
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in _statements(tree) if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import; write the whole name"
            base = node.module or ""
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names)
    return found


def _statements(node: ast.AST) -> list[ast.AST]:
    """Statements that run when a module is imported."""
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        found += [child, *_statements(child)]
    return found


def package(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) == "perceiver"))
def test_perceiver_knows_torch_only(name: str) -> None:
    foreign = {package(found) for found in imports(name)} - {"perceiver"} - PERCEIVER_KNOWS
    assert foreign <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", [f"gnfactor.{name}" for name in GROUND])
def test_the_ground_knows_nothing_above_it(name: str) -> None:
    ours = {found for found in imports(name) if package(found) in OURS}
    assert ours <= {f"gnfactor.{name}" for name in GROUND}


def floor(name: str) -> int:
    """Number of the floor on which a module stands."""
    above = [".".join(name.split(".")[:count]) + ".*" for count in range(1, name.count(".") + 2)]
    found = [number for number, names in enumerate(FLOORS) for entry in names if entry in (name, *above)]
    assert len(found) == 1, f"{name} stands on floors {found}; give it one"
    return found[0]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    upward = {found for found in imports(name) & MODULES.keys() if floor(found) > floor(name)}
    assert upward == {to for of, to in UP if of == name}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) == "gnfactor"))
def test_the_library_never_imports_the_application(name: str) -> None:
    assert not {package(found) for found in imports(name)} & {"data", "train", "eval", "tests"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package(name) == "data"))
def test_the_application_never_imports_a_door(name: str) -> None:
    assert not {package(found) for found in imports(name)} & {"train", "eval", "tests"}


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {name: imports(name, at_import=True) & MODULES.keys() for name in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


EXTRAS = {
    "lightning",
    "zarr",
    "mujoco",
    "scipy",
    "matplotlib",
    "cv2",
    "tensorboard",
    "open_clip",
    "diffusers",
    "transformers",
    "pytorch3d",
    "rospy",
    "actionlib",
    "genpy",
}
"""Packages that a robot's computer, with the plain wheel installed, has not."""


def test_a_policy_acts_without_any_extra() -> None:
    waiting, reached = ["gnfactor.checkpoint", "gnfactor.agent"], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imports(name, at_import=True) & MODULES.keys()
    found = {name: {package(other) for other in imports(name, at_import=True)} & EXTRAS for name in reached}
    assert not {name: extras for name, extras in found.items() if extras}
