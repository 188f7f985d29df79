"""turn_tap: which handle is meant, how the expert turns it, and what counts as turned."""

from __future__ import annotations

import dataclasses
import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.placement import gripper_down
from gnfactor.envs.tabletop.tasks import TASKS
from gnfactor.envs.tabletop.tasks.turn_tap import HANDLES, TURNED, Tap, handle_name
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.scene import ARM
from tests.test_tasks import act, act_as_in, compiled, sample, seeds

TASK = TASKS["turn_tap"]
EXPECTED_PLACE = (0.374, -0.0031, -0.9868)


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    """A world without cameras: these tests look at the state only."""
    return TabletopEnv(cameras=())


def turned(env: TabletopEnv, side: str) -> float:
    """How far a handle has turned (rad)."""
    return float(env.data.joint(handle_name(side)).qpos[0])


# What is asked for, and where it stands


def test_every_sentence_names_its_handle_and_not_the_other() -> None:
    assert HANDLES == ("left", "right")
    for variation, side in enumerate(HANDLES):
        for sentence in TASK.instructions(variation):
            assert [word for word in sentence.split() if word in HANDLES] == [side]


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_left_handle_stands_at_the_robots_left(seed: int) -> None:
    model, data = compiled("turn_tap", sample("turn_tap", 0, seed))
    mujoco.mj_kinematics(model, data)
    left, right = (data.geom(handle_name(side)).xpos for side in HANDLES)
    assert left[1] - right[1] > 0.1
    assert left[2] == right[2]


def test_taps_stand_over_30_by_40_centimetres_and_turn_by_60_degrees() -> None:
    places = [sample("turn_tap", seed % 2, seed).place for seed in range(200)]
    assert np.ptp([place.x_m for place in places]) > 0.29
    assert np.ptp([place.y_m for place in places]) > 0.39
    assert max(abs(place.yaw) for place in places) == pytest.approx(math.radians(60), abs=0.03)


def test_a_tap_is_the_same_on_every_machine() -> None:
    """Numbers to 0.1 mm, as sampled when this test was written."""
    place = sample("turn_tap", 1, 1234).place
    assert tuple(round(value, 4) for value in dataclasses.astuple(place)) == EXPECTED_PLACE


# How it is done


@given(seed=seeds, variation=st.integers(0, 1))
@settings(max_examples=10, deadline=None)
def test_the_expert_turns_about_the_axis_of_the_named_handle(seed: int, variation: int) -> None:
    layout: Tap = sample("turn_tap", variation, seed)
    model, data = compiled("turn_tap", layout)
    mujoco.mj_kinematics(model, data)
    grasp, turn = (waypoint.target.world_from_gripper for waypoint in TASK.waypoints(layout, data))
    bar = data.geom(handle_name(HANDLES[variation]))
    for pose in (grasp, turn):
        assert pose[:2, 3] == pytest.approx(bar.xpos[:2])
        assert pose[:3, 2] == pytest.approx((0, 0, -1))
    along, fingers, turned_fingers = bar.xmat.reshape(3, 3)[:, 0], grasp[:3, 1], turn[:3, 1]
    assert along @ fingers == pytest.approx(0, abs=1e-9)
    assert np.cross(fingers, turned_fingers)[2] == pytest.approx(math.sin(math.radians(108)))
    assert fingers @ turned_fingers == pytest.approx(math.cos(math.radians(108)))


@pytest.mark.parametrize("variation", [0, 1])
@pytest.mark.parametrize("seed", [41, 42])
def test_the_expert_is_done_when_it_has_turned_and_not_before(env: TabletopEnv, variation: int, seed: int) -> None:
    steps = act_as_in(env, SeededScene("turn_tap", variation, seed))
    assert [(step.refused, step.success) for step in steps] == [(None, False), (None, True)]
    assert turned(env, HANDLES[variation]) > TURNED
    assert turned(env, HANDLES[1 - variation]) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("variation", [0, 1])
def test_a_handle_stays_where_it_is_left(env: TabletopEnv, variation: int) -> None:
    act_as_in(env, SeededScene("turn_tap", variation, 43))
    side = HANDLES[variation]
    left_at = turned(env, side)
    middle, yaw = env.data.geom(handle_name(side)).xpos.copy(), env.layout.place.yaw + math.radians(108)
    poses = [gripper_down(np.add(middle, (0, 0, height)), yaw) for height in (0.0, 0.2)]
    away = [Action({ARM: ArmTarget(pose, gripper_open=True, ignore_collisions=True)}) for pose in poses]
    assert [env.step(action).success for action in away] == [True, True]
    assert turned(env, side) == pytest.approx(left_at, abs=0.03)


# What counts


def test_turning_the_other_handle_is_no_success(env: TabletopEnv) -> None:
    steps = act_as_in(env, SeededScene("turn_tap", 0, 44), handle="right")
    assert turned(env, "right") > TURNED
    assert [step.success for step in steps] == [False, False]


@pytest.mark.parametrize("variation", [0, 1])
@given(angles=st.tuples(st.floats(0, 2.1), st.floats(0, 2.1)))
@settings(max_examples=50, deadline=None)
def test_only_the_named_handle_counts_and_only_beyond_a_right_angle(
    variation: int, angles: tuple[float, float]
) -> None:
    model, data = PLAIN
    goal = TASK.goal(dataclasses.replace(PLAIN_LAYOUT, handle=HANDLES[variation]), model, data)
    for side, angle in zip(HANDLES, angles, strict=True):
        data.joint(handle_name(side)).qpos[0] = angle
    assert goal.reached() == (angles[variation] > math.pi / 2)


def test_turning_the_wrong_way_is_not_possible(env: TabletopEnv) -> None:
    env.reset(SeededScene("turn_tap", 1, 45))
    grasp, _ = TASK.waypoints(env.layout, env.data)
    place, pose = env.layout.place, grasp.target.world_from_gripper
    back = gripper_down(pose[:3, 3], place.yaw - math.radians(60))
    backwards = dataclasses.replace(grasp.target, world_from_gripper=back, ignore_collisions=True)
    steps = [env.step(Action({ARM: target})) for target in (grasp.target, backwards)]
    assert [step.success for step in steps] == [False, False]
    assert turned(env, "right") == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("variation", [0, 1])
def test_the_keyframes_of_another_scene_do_not_turn_it(env: TabletopEnv, variation: int) -> None:
    env.reset(SeededScene("turn_tap", variation, 50))
    remembered = list(TASK.waypoints(env.layout, env.data))
    env.reset(SeededScene("turn_tap", variation, 51))
    assert not any(step.success for step in act(env, remembered))


PLAIN_LAYOUT: Tap = sample("turn_tap", 0, 0)
PLAIN = compiled("turn_tap", PLAIN_LAYOUT)
