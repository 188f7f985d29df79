"""The replay in the place of the packages `rlbench` and `pyrep`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from data.recordings import find_recordings
from data.stored_scenes import read_scene
from gnfactor.build import ENVIRONMENTS
from gnfactor.envs.base import Env, StoredScene
from tests.replay_rlbench.dialects import classes
from tests.replay_rlbench.simulator import Trouble, World

IMPORTERS = tuple(f"gnfactor.envs.rlbench.{name}" for name in ("api", "planning", "outcomes", "env"))
"""Modules of ours that import RLBench, and keep what they found."""


def install(dialect: str, root: Path, trouble: Trouble | None = None) -> World:
    """Put the replay of the recordings below `root` into this process, and an environment around it."""
    world = World(root, trouble or Trouble())
    if dialect != "upstream":
        world.fork_fields = {"ignore_collisions": None}
    uninstall()
    for name, content in classes(dialect, world).items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__spec__.submodule_search_locations = [str(Path(__file__).parent)]
        vars(module).update(content)
        sys.modules[name] = module
    os.environ["COPPELIASIM_ROOT"] = tempfile.gettempdir()
    os.environ["DISPLAY"] = ":replayed"
    return world


def make(cameras: tuple[str, ...] = ("front",), image_size: tuple[int, int] = (32, 32)) -> Env:
    """RLBench's environment, on the replay that is installed."""
    return ENVIRONMENTS["rlbench"].make(cameras, image_size, "opengl")


def scenes(root: Path) -> list[StoredScene]:
    """Of the recorded episodes."""
    return [read_scene(recording) for recording in find_recordings(root).recordings]


def uninstall() -> None:
    """Take the replay out again."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("rlbench", "pyrep") or name in IMPORTERS:
            del sys.modules[name]
            package = sys.modules.get(name.rpartition(".")[0])
            if package is not None:
                vars(package).pop(name.rpartition(".")[2], None)


def make_replay(
    dialect: str,
    root: Path,
    trouble: Trouble | None,
    cameras: Sequence[str],
    image_size: tuple[int, int],
    renderer: str,
) -> Env:
    """RLBench's environment on the replay; for processes of their own."""
    install(dialect, root, trouble)
    return ENVIRONMENTS["rlbench"].make(cameras, image_size, renderer)
