"""What we call of RLBench and PyRep is there, in each of the three dialects that it is meant for."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gnfactor.envs.rlbench.contract import (
    ATTRIBUTE,
    CLASS,
    DIALECTS,
    closest_dialect,
    differences,
    main,
    read_checkouts,
    read_contract,
)
from gnfactor.errors import DataError
from tests.conftest import SHARED
from tests.rlbench_calls import Call, Found, Protocols, Use, bind, find_uses, our_sources, signature_of

FOLDER = Path(__file__).resolve().parent.parent / "gnfactor" / "envs" / "rlbench"
PROTOCOLS = (FOLDER / "protocols.py").read_text(encoding="utf-8")
CONTRACT = read_contract()
_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
SOURCES = dict(our_sources(FOLDER))


def misfits(uses: list[Use]) -> list[str]:
    """A line for every use that a dialect which it is meant for does not allow."""
    found: list[str] = []
    for use in uses:
        for dialect in use.dialects:
            form = CONTRACT.of(dialect).get(use.name)
            owner = CONTRACT.of(dialect).get(use.name.removesuffix(".__init__"))
            if use.name.endswith(".__init__") and form is None and owner == CLASS:
                problem = "the table has no constructor of it"
            elif form is None:
                problem = "the table has no such name"
            elif use.call is None:
                problem = None
            else:
                problem = bind(form, use.call, use.bound)
            if problem is not None:
                found.append(f"{use.where}: {use.name} in {dialect}: {problem}")
    return found


def checked(source: str) -> list[str]:
    """What is wrong with a module of ours."""
    found: Found = find_uses({"gnfactor.envs.rlbench.module": source}, PROTOCOLS, tuple(CONTRACT.forms))
    return found.untyped + misfits(found.uses)


# Our calls


def test_every_use_of_theirs_in_our_code_fits_every_dialect_that_it_is_meant_for() -> None:
    found = find_uses(SOURCES, PROTOCOLS, tuple(CONTRACT.forms))
    assert misfits(found.uses) == []
    assert found.untyped == []


def test_uses_are_found_at_all() -> None:
    names = {use.name for use in find_uses(SOURCES, PROTOCOLS, tuple(CONTRACT.forms)).uses}
    assert {
        "rlbench.task_environment.TaskEnvironment.get_demos",
        "pyrep.objects.vision_sensor.VisionSensor.create",
        "pyrep.objects.vision_sensor.VisionSensor.handle_explicitly",
        "rlbench.backend.observation.Observation.misc",
    } <= names


def test_the_table_holds_nothing_that_is_not_used() -> None:
    used = {use.name for use in find_uses(SOURCES, PROTOCOLS, tuple(CONTRACT.forms)).uses}
    classes = {name.rpartition(".")[0] for name in used}
    unused = set(CONTRACT.forms) - used - classes - set(protocols().homes.values())
    assert unused <= {f"{home}.{member}" for home, member, _ in members()}


FITTING = """
from collections.abc import Sequence
from gnfactor.envs.rlbench import protocols

class World:
    task: protocols.TaskEnvironment

    def __init__(self, environment: protocols.Environment, kind: type[protocols.Task]) -> None:
        self._environment = environment
        self.task = environment.get_task(kind)

    def go(self, action):
        texts, seen = self.task.reset()
        later, reward, over = self.task.step(action)
        return seen.front_rgb, later.misc

def all_depths(demos: Sequence[protocols.Demo]):
    return [seen.front_depth for demo in demos for seen in demo]

def flag(seen: protocols.Observation):
    return seen.ignore_collisions  # dialects: peract_fork, gnfactor_fork

def make():
    from rlbench.observation_config import CameraConfig, ObservationConfig
    from rlbench.backend.exceptions import InvalidActionError
    try:
        cameras = {f"{name}_camera": CameraConfig(rgb=True) for name in ("front", "wrist")}
        return ObservationConfig(**cameras, gripper_open=True)
    except InvalidActionError:
        return None
"""


def test_code_that_fits_is_let_pass() -> None:
    assert checked(FITTING) == []


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("self.task.reset()", "self.task.restart()", "TaskEnvironment.restart"),
        ("self.task.reset()", "self.task.reset(None)", "TaskEnvironment.reset in peract_fork: too many positional"),
        ("self.task.step(action)", "self.task.step(action, True)", "too many positional arguments"),
        ("self.task.step(action)", "self.task.step(move=action)", "unexpected keyword argument 'move'|'action'"),
        ("self.task.step(action)", "self.task.step()", "missing a required argument: 'action'"),
        ("environment.get_task(kind)", "environment.task(kind)", "Environment.task"),
        ("seen.front_rgb", "seen.front_colour", "Observation.front_colour"),
        ("later.misc", "later.extra", "Observation.extra"),
        ("seen.front_depth for", "seen.depth for", "Observation.depth"),
        ("# dialects: peract_fork, gnfactor_fork", "", "Observation.ignore_collisions in upstream"),
        ("CameraConfig(rgb=True)", "CameraConfig(colour=True)", "'colour'"),
        ('f"{name}_camera"', 'f"{name}_sensor"', "'.*_sensor'"),
        ("gripper_open=True", "nerf_multi_view=True", "ObservationConfig.__init__ in upstream"),
        ("**cameras", "**options()", "cannot tell the keywords"),
        ("InvalidActionError", "ImpossibleActionError", "ImpossibleActionError in upstream"),
        ("import CameraConfig, ", "import CameraSettings as CameraConfig, ", "CameraSettings"),
        ("rlbench.observation_config", "rlbench.settings", "rlbench.settings"),
        ("task: protocols.TaskEnvironment", "task: object", "'.reset' of something whose type is not known"),
        ("demos: Sequence[protocols.Demo]", "demos", "'.front_depth' of something whose type is not known"),
        ("seen.front_rgb", "vars(seen)['front_rgb']", "vars of an object of theirs"),
        ("seen.front_rgb", "getattr(seen, name)", "cannot tell what name names"),
    ],
)
def test_code_that_does_not_fit_is_refused(right: str, wrong: str, complaint: str) -> None:
    assert right in FITTING
    problems = checked(FITTING.replace(right, wrong))
    assert any(pytest.RaisesExc(Exception, match=complaint).matches(Exception(line)) for line in problems), problems


# The types that stand for their classes


def protocols() -> Protocols:
    return Protocols(PROTOCOLS, tuple(CONTRACT.forms))


def members() -> list[tuple[str, str, ast.FunctionDef | None]]:
    """Every member of every protocol: the dotted name of its class, its own name, and the function if it is one."""
    found = protocols()
    return [
        (home, one.name if isinstance(one, ast.FunctionDef) else ast.unparse(one.target), one)  # type: ignore[misc]
        if isinstance(one, ast.FunctionDef)
        else (home, ast.unparse(one.target), None)
        for name, home in found.homes.items()
        for one in found.classes[name].body
        if isinstance(one, (ast.FunctionDef, ast.AnnAssign))
    ]


def test_every_protocol_says_of_which_class_it_is() -> None:
    found = protocols()
    assert found.homes.keys() == found.classes.keys()
    assert {home: CONTRACT.forms.get(home, {}).get("upstream") for home in found.homes.values()} == dict.fromkeys(
        found.homes.values(), CLASS
    )


@pytest.mark.parametrize(
    ("home", "name", "function"),
    [pytest.param(*member, id=f"{member[0].rpartition('.')[2]}.{member[1]}") for member in members()],
)
def test_a_member_that_we_declare_is_there_as_we_declare_it(
    home: str, name: str, function: ast.FunctionDef | None
) -> None:
    forms = CONTRACT.forms.get(f"{home}.{name}", {})
    assert forms, "the table has no such member"
    for dialect, form in forms.items():
        assert (form == ATTRIBUTE) == (function is None), dialect
        if function is None:
            continue
        theirs = signature_of(form).parameters
        positional = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        there = [one for one in positional if one in theirs]
        assert there == list(theirs)[: len(there)], dialect
        ours = {*positional, *(one.arg for one in function.args.kwonlyargs)}
        required = {one.name for one in theirs.values() if one.default is one.empty and one.kind is _PLAIN}
        assert required <= ours, dialect
        assert ("staticmethod" in map(ast.unparse, function.decorator_list)) == form.startswith("static")
    if function is not None and not any("**" in form for form in forms.values()):
        known_somewhere = {one for form in forms.values() for one in signature_of(form).parameters}
        assert {one.arg for one in (*function.args.args, *function.args.kwonlyargs)} <= known_somewhere


# The table


def known() -> dict[str, Any]:
    """What was extracted from the sources at the pinned commits."""
    path = SHARED / "facts" / "rlbench_api.json"
    if not path.is_file():
        pytest.skip(f"the extracted signatures are not here ({path})")
    return json.loads(path.read_text(encoding="utf-8"))


def fact(package: dict[str, Any], name: str) -> str | None:
    """What the extracted signatures of one dialect say about a dotted name; None where they say nothing."""
    modules = {key.removesuffix(".py").replace("/", "."): value for key, value in package.items()}
    module = max((one for one in modules if name.startswith(f"{one}.")), key=len)
    rest = name.removeprefix(f"{module}.").split(".")
    contents = modules[module]
    if len(rest) == 1:
        return CLASS if rest[0] in contents.get("classes", {}) else as_form(contents.get("functions", {}).get(rest[0]))
    owner, member = rest
    definition = contents.get("classes", {}).get(owner)
    if definition is None:
        return None
    if member in definition["methods"]:
        return as_form(definition["methods"][member])
    constructed = definition["methods"].get("__init__", {"parameters": []})["parameters"]
    if member in definition.get("members", ()) or member in [one["name"] for one in constructed]:
        return ATTRIBUTE
    bases = [(key, base) for base in definition["bases"] for key in modules if base in modules[key].get("classes", {})]
    inherited = [fact(package, f"{key}.{base}.{member}") for key, base in bases]
    return next((one for one in inherited if one is not None), None)


def as_form(function: dict[str, Any] | None) -> str | None:
    if function is None:
        return None
    decorators = function.get("decorators", ())
    if "property" in decorators:
        return ATTRIBUTE
    parameters = [one["name"] + (f"={one['default']}" if "default" in one else "") for one in function["parameters"]]
    return f"{'static' if 'staticmethod' in decorators else ''}({', '.join(parameters)})"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_table_says_what_the_sources_say(dialect: str) -> None:
    facts = known()[dialect]
    assert CONTRACT.commits[dialect] == {
        "rlbench": facts.pop("rlbench_commit"),
        "pyrep": facts.pop("pyrep_commit"),
    }
    table = CONTRACT.of(dialect)
    left_out = ("Demo.__len__", "Demo.__getitem__", "Scene.task")  # special methods, attributes assigned later
    expected = {name: fact(facts, name) for name in CONTRACT.forms if not name.endswith(left_out)}
    assert {name: table.get(name) for name in expected} == expected


def installed(name: str) -> Any:
    """The object of a dotted name, imported."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def shape(signature: inspect.Signature) -> list[tuple[str, bool]]:
    """Names of parameters, and whether each has to be given."""
    return [(one.name, one.default is one.empty) for one in signature.parameters.values()]


def deviations(dialect: str) -> list[str]:
    """A line for everything that is not in the installed modules as it is in a dialect."""
    found: list[str] = []
    for name, form in CONTRACT.of(dialect).items():
        if form == ATTRIBUTE:  # which objects have, not their classes
            continue
        try:
            there = installed(name)
        except (ModuleNotFoundError, AttributeError) as error:
            found.append(f"{name}: {error}")
            continue
        if form != CLASS and shape(inspect.signature(there)) != shape(signature_of(form)):
            found.append(f"{name}: {inspect.signature(there)}; in {dialect} it is {form}")
    return found


def test_the_table_says_what_the_installed_modules_say() -> None:
    if importlib.util.find_spec("rlbench") is None or importlib.util.find_spec("pyrep") is None:
        pytest.skip("RLBench and PyRep are not installed here")
    best = min((deviations(dialect) for dialect in DIALECTS), key=len)
    assert best == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_installed_modules_are_told_apart_from_what_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    if importlib.util.find_spec("rlbench") is not None:
        pytest.skip("the real RLBench is installed, whose place made-up modules must not take")
    for root in write_checkouts(tmp_path, dialect, importable=True):
        monkeypatch.syspath_prepend(str(root))
    try:
        assert deviations(dialect) == []
        assert all(deviations(other) for other in DIALECTS if other != dialect)
        monkeypatch.delattr(importlib.import_module("rlbench.environment").Environment, "launch")
        (line,) = deviations(dialect)
        assert line.startswith("rlbench.environment.Environment.launch: ")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in ("rlbench", "pyrep")]:
            del sys.modules[name]


# Reading checkouts


def write_checkouts(root: Path, dialect: str, importable: bool = False) -> tuple[Path, Path]:
    """Two folders with modules that hold what the table has, and nothing else.

    They can be imported only without the defaults' values, which name what is not there.
    """
    modules: dict[str, dict[str, list[str]]] = {}
    functions: dict[str, list[str]] = {}
    for name, form in CONTRACT.of(dialect).items():
        owner, _, last = name.rpartition(".")
        if form == CLASS:
            modules.setdefault(owner, {}).setdefault(last, [])
        elif owner in CONTRACT.forms:
            module, _, kind = owner.rpartition(".")
            lines = modules.setdefault(module, {}).setdefault(kind, [])
            decorated = ["@staticmethod"] if form.startswith("static") else []
            plain = str(signature_of(form)) if importable and "(" in form else form.removeprefix("static")
            lines += [f"{last}: int = 0"] if form == ATTRIBUTE else [*decorated, f"def {last}{plain}: ..."]
        else:
            functions.setdefault(owner, []).append(f"def {last}{form}: ...")
    for module in {*modules, *functions}:
        path = root / module.partition(".")[0] / Path(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = list(functions.get(module, ()))
        for kind, body in modules.get(module, {}).items():
            lines += [f"class {kind}:", *(f"    {line}" for line in (*body, "pass"))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for folder in path.parents:
            if folder.parent == root:
                break
            (folder / "__init__.py").touch()
    return root / "rlbench", root / "pyrep"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_checkout_is_read_back_and_recognised(
    tmp_path: Path, dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = write_checkouts(tmp_path, dialect)
    found = read_checkouts(roots, CONTRACT.forms)
    assert found == CONTRACT.of(dialect)
    assert closest_dialect(CONTRACT, found) == dialect
    assert differences(CONTRACT, found, dialect) == []
    assert main([str(root) for root in roots]) == 0
    assert f"closest to {dialect}" in capsys.readouterr().out
    assert main([*(str(root) for root in roots), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["names"] == CONTRACT.of(dialect)


def test_a_checkout_that_has_moved_on_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = write_checkouts(tmp_path, "upstream")
    path = roots[0] / "rlbench" / "task_environment.py"
    path.write_text(path.read_text().replace("def set_variation(self, v)", "def set_variation(self, number)"))
    assert main([str(root) for root in roots]) == 1
    said = capsys.readouterr().out
    assert "TaskEnvironment.set_variation: (self, number); in upstream it is (self, v)" in said


def test_types_bases_properties_and_static_methods_are_read_from_sources(tmp_path: Path) -> None:
    package = tmp_path / "rlbench"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text(
        "class Base:\n"
        "    COLOUR = 1\n"
        "    def __init__(self, a: int, *, b: str = 'x') -> None:\n"
        "        self.size = a\n"
        "    @property\n"
        "    def width(self) -> int: ...\n"
        "    @staticmethod\n"
        "    def make(*args: int, **kwargs: int) -> 'Base': ...\n"
    )
    (package / "child.py").write_text(
        "from rlbench.base import Base\nclass Child(Base):\n    def go(self): ...\ndef function(a, b=(1, 2)): ...\n"
    )
    members = ("__init__", "size", "width", "make", "COLOUR", "go")
    names = ["Child", *(f"Child.{member}" for member in members), "function"]
    found = read_checkouts((tmp_path,), [f"rlbench.child.{name}" for name in (*names, "Child.gone", "Stranger")])
    assert [found.get(f"rlbench.child.{name}") for name in names] == [
        *(CLASS, "(self, a, *, b='x')", ATTRIBUTE, ATTRIBUTE, "static(*args, **kwargs)", ATTRIBUTE, "(self)"),
        "(a, b=(1, 2))",
    ]
    assert len(found) == len(names)


def test_a_folder_without_the_packages_and_a_damaged_file_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), str(tmp_path)]) == 2
    assert "there is no package 'pyrep'" in capsys.readouterr().err
    roots = write_checkouts(tmp_path, "upstream")
    (roots[0] / "rlbench" / "demo.py").write_text("class Demo(:")
    with pytest.raises(DataError, match="cannot be read as Python"):
        read_checkouts(roots, CONTRACT.forms)


def test_arguments_are_bound_as_python_binds_them() -> None:
    assert bind("(self, v, w=1)", Call(1, ("w",)), bound=True) is None
    assert bind("(self, v, w=1)", Call(1, ("v",)), bound=True) is not None
    assert bind("static(v)", Call(1, ()), bound=True) is None
    assert bind("(v)", Call(1, ()), bound=False) is None
    assert bind("(self, *args, **kwargs)", Call(4, ("any",)), bound=True) is None
    assert bind("attribute", Call(0, ()), bound=True) is not None
