"""The task that docs/add_a_task.md shows is a real one: it is taken from the page and held to what all tasks are."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop import tasks, world
from gnfactor.envs.tabletop.placement import scene_generator
from gnfactor.envs.tabletop.scene import GRASP_PREFIX, base_scene
from gnfactor.envs.tabletop.tasks.base import Task
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.scene import ARM
from tests.conftest import REPOSITORY

NAME = "stand_cup_on_plate"
MODULE = f"{tasks.__name__}.{NAME}"
PAGE = (REPOSITORY / "docs" / "add_a_task.md").read_text(encoding="utf-8")
CODE = next(code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if code.startswith(f'"""{NAME}'))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The page's module, imported as if it stood among the others, and known to the world."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / f"{NAME}.py").write_text(CODE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
        module = importlib.import_module(MODULE)
        patch.setattr(world, "TASKS", MappingProxyType({**tasks.TASKS, NAME: module.StandCupOnPlate()}))
        yield module
    del sys.modules[MODULE]
    delattr(tasks, NAME)


@pytest.fixture(scope="module")
def task(example: ModuleType) -> Task[Any]:
    return world.TASKS[NAME]


@pytest.fixture(scope="module")
def env(example: ModuleType) -> TabletopEnv:
    return TabletopEnv(cameras=())


def sample(task: Task[Any], variation: int, seed: int) -> Any:
    return task.sample(variation, scene_generator(NAME, variation, seed))


def targets(task: Task[Any], env: TabletopEnv, variation: int, seed: int) -> list[ArmTarget]:
    """The expert's keyframes for a scene, which stands there then."""
    env.reset(SeededScene(NAME, variation, seed))
    return [waypoint.target for waypoint in task.waypoints(env.layout, env.data)]


def test_it_takes_less_than_100_lines() -> None:
    assert len(CODE.splitlines()) < 100


def test_the_page_says_which_lines_to_add() -> None:
    assert f"from {MODULE} import StandCupOnPlate" in PAGE
    assert "            StandCupOnPlate(),\n" in PAGE
    others = Path(tasks.__file__).read_text(encoding="utf-8")
    assert "            TurnTap(),\n" in others


def test_the_linters_have_nothing_to_say(example: ModuleType) -> None:
    settings_file = REPOSITORY / "pyproject.toml"
    for command in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(settings_file), str(example.__file__)]
        result = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_every_sentence_names_one_plate(example: ModuleType, task: Task[Any]) -> None:
    assert task.name == NAME
    assert task.variation_count == len(example.PLATES)
    for variation, color in enumerate(example.PLATES):
        for sentence in task.instructions(variation):
            assert [word for word in sentence.split() if word in example.PLATES] == [color]


@given(seed=st.integers(0, 10**9 - 1), variation=st.integers(0, 4))
@settings(max_examples=20)
def test_a_scene_follows_from_its_numbers(seed: int, variation: int, example: ModuleType, task: Task[Any]) -> None:
    layout = sample(task, variation, seed)
    assert layout == sample(task, variation, seed)
    assert layout != sample(task, variation, seed + 1)
    assert layout.colors[0] == example.PLATES[variation]
    assert len(set(layout.colors)) == len(layout.places) == 3


@pytest.mark.parametrize("seed", range(60, 65))
def test_the_expert_is_done_at_its_last_waypoint_and_not_before(task: Task[Any], env: TabletopEnv, seed: int) -> None:
    waypoints = targets(task, env, seed % 5, seed)
    steps = [env.step(Action({ARM: target})) for target in waypoints]
    assert [step.refused for step in steps] == [None] * 4
    assert [step.success for step in steps] == [False] * 3 + [True]


def test_doing_nothing_is_no_success(env: TabletopEnv) -> None:
    arm = env.reset(SeededScene(NAME, 0, 65)).observation.arms[ARM]
    stay = ArmTarget(arm.world_from_gripper, gripper_open=True, ignore_collisions=False)
    assert not env.step(Action({ARM: stay})).success


def test_the_keyframes_of_another_scene_do_not_do_it(task: Task[Any], env: TabletopEnv) -> None:
    for seed in (66, 67):
        learned = targets(task, env, 0, seed)
        env.reset(SeededScene(NAME, 0, seed + 100))
        assert not any(env.step(Action({ARM: target})).success for target in learned)


@pytest.mark.parametrize(
    ("plate", "aside_m", "lifted_m", "tilt", "held", "done"),
    [
        (0, 0.0, 0.0, 0.0, False, True),
        (0, 0.034, 0.0, 0.0, False, True),
        (0, 0.036, 0.0, 0.0, False, False),  # over the edge
        (0, 0.0, 0.003, 0.0, False, False),  # in the air
        (0, 0.0, 0.0, 0.2, False, False),  # leaning
        (0, 0.0, 0.0, 0.0, True, False),
        (1, 0.0, 0.0, 0.0, False, False),
    ],
)
def test_the_cup_has_to_stand_freely_on_the_plate_that_is_meant(
    example: ModuleType,
    task: Task[Any],
    plate: int,
    aside_m: float,
    lifted_m: float,
    tilt: float,
    held: bool,
    done: bool,
) -> None:
    layout, spec = sample(task, 2, 68), base_scene()
    task.build(layout, spec)
    model = spec.compile()
    data = mujoco.MjData(model)
    x, y, z = data_of_plate(model, data, layout.colors[plate])
    position = (x, y + aside_m, z + example.PLATE_HEIGHT_M + lifted_m)
    data.joint(int(model.body("cup").jntadr[0])).qpos[:] = (*position, np.cos(tilt / 2), np.sin(tilt / 2), 0, 0)
    data.eq_active[model.equality(f"{GRASP_PREFIX}cup").id] = held
    mujoco.mj_kinematics(model, data)
    assert task.goal(layout, model, data).reached() is done


def data_of_plate(model: mujoco.MjModel, data: mujoco.MjData, color: str) -> np.ndarray:
    """Where a plate stands (m)."""
    mujoco.mj_kinematics(model, data)
    return data.body(f"plate/{color}").xpos.copy()
