"""What is said where RLBench, CoppeliaSim or a display is missing, and the display of one's own."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from gnfactor.envs.rlbench.display import Display
from gnfactor.envs.rlbench.installation import require_rlbench
from gnfactor.errors import MissingExtraError, SimulatorError


def package(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = ModuleType(name)
    module.__spec__, module.__file__ = ModuleSpec(name, None), f"/somewhere/{name}/__init__.py"
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture(autouse=True)
def _coppeliasim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))


def test_a_whole_installation_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, "pyrep", PyRep=object)
    package(monkeypatch, "rlbench")
    require_rlbench()


def test_missing_packages_are_named_with_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingExtraError, match=r"'pyrep'.*github.com/stepjam/PyRep"):
        require_rlbench()
    package(monkeypatch, "pyrep", PyRep=object)
    with pytest.raises(MissingExtraError, match=r"'rlbench'.*github.com/MohitShridhar/RLBench"):
        require_rlbench()


@pytest.mark.parametrize(("root", "said"), [("", "is not set"), ("/nowhere/at/all", "which is not a folder")])
def test_a_missing_coppeliasim_is_told(monkeypatch: pytest.MonkeyPatch, root: str, said: str) -> None:
    package(monkeypatch, "pyrep", PyRep=object)
    package(monkeypatch, "rlbench")
    monkeypatch.setenv("COPPELIASIM_ROOT", root)
    with pytest.raises(SimulatorError, match=said):
        require_rlbench()


def test_the_unrelated_pyrep_of_pypi_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, "pyrep")
    package(monkeypatch, "rlbench")
    with pytest.raises(SimulatorError, match=r"/somewhere/pyrep/.*unrelated program.*pip uninstall pyrep"):
        require_rlbench()


def test_a_library_that_is_not_found_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package(monkeypatch, "rlbench")
    on_path(monkeypatch, tmp_path, "pyrep", "raise ImportError('libcoppeliaSim.so.1: cannot open shared object file')")
    with pytest.raises(SimulatorError, match=r"libcoppeliaSim.*LD_LIBRARY_PATH"):
        require_rlbench()


def test_what_rlbench_needs_itself_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package(monkeypatch, "pyrep", PyRep=object)
    on_path(monkeypatch, tmp_path, "rlbench", "import pyquaternion_of_another_world")
    with pytest.raises(MissingExtraError, match="'pyquaternion_of_another_world'"):
        require_rlbench()


SERVES = """#!/bin/sh
echo "$$" > {folder}/server
echo 97 >&3
exec sleep 60
"""
FAILS = """#!/bin/sh
exit 1
"""


def server(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something called Xvfb, alone in front of what is on the path."""
    program = folder / "Xvfb"
    program.write_text(text.format(folder=folder))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_display_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":5")
    Display().close()
    assert os.environ["DISPLAY"] == ":5"


def test_a_display_is_made_where_there_is_none_and_goes_with_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISPLAY", "")
    server(tmp_path, SERVES, monkeypatch)
    display = Display()
    assert os.environ["DISPLAY"] == ":97"
    process = int((tmp_path / "server").read_text())
    os.kill(process, 0)
    display.close()
    display.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert "DISPLAY" not in os.environ


def test_a_display_that_does_not_come_up_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISPLAY", "")
    server(tmp_path, FAILS, monkeypatch)
    with pytest.raises(SimulatorError, match="gave no display"):
        Display()


def test_without_any_display_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorError, match=r"apt-get install xvfb"):
        Display()
