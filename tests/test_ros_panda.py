"""The simulated Franka under its controllers, without ROS: what it promises to those who test against it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.robot import JOINT_UPPER
from gnfactor.envs.tabletop.world import TabletopEnv
from tests.ros.panda import MAX_JOINT_SPEED, REFLEX_M, Panda

STEPS_PER_S = 500


@pytest.fixture(scope="module")
def env() -> TabletopEnv:
    env = TabletopEnv(("front",), (8, 8))
    env.reset(SeededScene("open_drawer", 0, 0))
    return env


@pytest.fixture(scope="module")
def make_panda(env: TabletopEnv) -> Callable[[], Panda]:
    """An arm at rest, anew in each call."""

    def make() -> Panda:
        Arm(env.model).place_at_rest(env.model, env.data)
        return Panda(env.model, env.data)

    return make


@pytest.fixture
def panda(make_panda: Callable[[], Panda]) -> Panda:
    return make_panda()


def run(panda: Panda, seconds: float) -> None:
    for _ in range(round(seconds * STEPS_PER_S)):
        panda.step()


def speed_m_s(panda: Panda) -> float:
    return float(np.linalg.norm(panda.velocity_m_s))


def moved(panda: Panda, shift_m: tuple[float, float, float]) -> np.ndarray:
    pose = panda.world_from_gripper
    pose[:3, 3] += shift_m
    return pose


SHIFTS = arrays(np.float64, 3, elements=st.floats(-0.06, 0.06))


@settings(max_examples=5)
@given(shift_m=SHIFTS)
def test_a_near_target_is_reached_and_held(make_panda: Callable[[], Panda], shift_m: np.ndarray) -> None:
    panda = make_panda()
    # At rest the arm is nearly stretched: below is room on all sides.
    target = moved(panda, tuple(shift_m - (0.0, 0.0, 0.06)))
    for share in (0.5, 1.0):
        panda.track(moved(panda, tuple(share * (target - panda.world_from_gripper)[:3, 3])))
        run(panda, 0.3)
    panda.track(target)
    run(panda, 2.5)
    assert np.linalg.norm(panda.world_from_gripper[:3, 3] - target[:3, 3]) < 0.002
    assert speed_m_s(panda) < 0.002
    assert panda.mode == "move"


@settings(max_examples=5)
@given(
    direction=SHIFTS.filter(lambda shift: np.linalg.norm(shift) > 0.01), distance_m=st.floats(REFLEX_M + 0.001, 10.0)
)
def test_a_far_target_moves_nothing(make_panda: Callable[[], Panda], direction: np.ndarray, distance_m: float) -> None:
    panda = make_panda()
    start = panda.world_from_gripper
    panda.track(moved(panda, tuple(direction / np.linalg.norm(direction) * distance_m)))
    assert panda.mode == "reflex"
    run(panda, 0.3)
    assert np.abs(panda.world_from_gripper - start).max() < 1e-3


def test_a_target_out_of_reach_stretches_the_arm_and_no_more(panda: Panda) -> None:
    start = panda.world_from_gripper
    panda.track(moved(panda, (0.06, 0.06, 0.06)))
    run(panda, 3.0)
    assert panda.mode == "move"
    assert speed_m_s(panda) < 0.001
    assert np.linalg.norm(panda.world_from_gripper[:3, 3] - start[:3, 3]) < 0.12


def test_no_number_is_no_target(panda: Panda) -> None:
    panda.track(moved(panda, (np.nan, 0.0, 0.0)))
    assert panda.mode == "reflex"


def test_the_target_is_smoothed(panda: Panda) -> None:
    """franka_ros's filter has a time constant of 0.2 s: a step is not taken at once, nor is it lost."""
    target = moved(panda, (0.0, 0.0, -0.1))
    panda.track(target)
    misses_m = []
    for _ in range(4):
        run(panda, 0.2)
        misses_m.append(np.linalg.norm(panda.world_from_gripper[:3, 3] - target[:3, 3]))
    assert misses_m[0] > 0.02
    assert misses_m[-1] < 0.01


def test_ceasing_to_send_targets_is_no_stop(panda: Panda) -> None:
    panda.track(moved(panda, (0.0, 0.0, -0.1)))
    run(panda, 0.1)
    before = panda.world_from_gripper
    run(panda, 0.3)
    assert np.linalg.norm(panda.world_from_gripper[:3, 3] - before[:3, 3]) > 0.01


def test_a_reflex_brakes_and_hears_nothing_until_recovery(panda: Panda) -> None:
    panda.track(moved(panda, (0.0, 0.0, -0.1)))
    run(panda, 0.2)
    assert speed_m_s(panda) > 0.05
    panda.trip("of a test")
    run(panda, 0.5)
    assert speed_m_s(panda) < 0.001
    start = panda.world_from_gripper
    panda.track(moved(panda, (0.0, 0.0, 0.05)))
    assert panda.follow(np.array([1.0]), panda.joints[None]) == "the arm is in mode reflex: of a test"
    run(panda, 0.3)
    assert np.abs(panda.world_from_gripper - start).max() < 1e-3
    panda.recover()
    panda.track(moved(panda, (0.0, 0.0, 0.05)))
    run(panda, 2.0)
    assert panda.world_from_gripper[2, 3] - start[2, 3] > 0.045


def test_a_stop_brakes_until_it_is_released_and_recovered_from(panda: Panda) -> None:
    panda.track(moved(panda, (0.0, 0.0, -0.1)))
    run(panda, 0.2)
    panda.press_stop()
    run(panda, 0.5)
    assert speed_m_s(panda) < 0.001
    start = panda.world_from_gripper
    for attempt, mode in ((panda.recover, "user stop"), (panda.release_stop, "idle")):
        attempt()
        assert panda.mode == mode
        panda.track(moved(panda, (0.0, 0.0, 0.05)))
        run(panda, 0.3)
        assert np.abs(panda.world_from_gripper - start).max() < 1e-3
    panda.recover()
    assert panda.mode == "move"


def test_a_hand_leads_the_arm_while_no_controller_does(panda: Panda) -> None:
    goal = moved(panda, (0.0, 0.05, -0.08))
    panda.lead(goal)
    panda.give_to_hand()
    panda.track(goal)
    run(panda, 0.3)
    assert np.linalg.norm(panda.world_from_gripper[:3, 3] - goal[:3, 3]) > 0.09
    panda.lead(goal)
    run(panda, 2.0)
    assert panda.mode == "guiding"
    assert np.linalg.norm(panda.world_from_gripper[:3, 3] - goal[:3, 3]) < 0.002
    panda.take_from_hand()
    run(panda, 0.5)
    assert panda.mode == "move"
    assert np.linalg.norm(panda.world_from_gripper[:3, 3] - goal[:3, 3]) < 0.005


def test_a_trajectory_ends_where_it_says(panda: Panda) -> None:
    goal = panda.joints + 0.2
    assert panda.follow(np.array([1.0]), goal[None]) is None
    assert panda.follows_path
    run(panda, 2.0)
    assert not panda.follows_path
    assert np.abs(panda.joints - goal).max() < 1e-3


@pytest.mark.parametrize(
    ("time_s", "change", "complaint"),
    [
        (0.99 * 0.2 / MAX_JOINT_SPEED[0], 0.2, "too fast"),
        (1.0, np.nan, "finite"),
        (-1.0, 0.1, "do not go back"),
        (10.0, JOINT_UPPER[0] + 0.01, "limits of a joint"),
        (0.0, 0.2, "does not begin where the arm is"),
    ],
)
def test_an_impossible_trajectory_is_refused(panda: Panda, time_s: float, change: float, complaint: str) -> None:
    goal = panda.joints
    goal[0] += change
    assert complaint in str(panda.follow(np.array([time_s]), goal[None]))
    assert not panda.follows_path


def test_fingers_move_at_the_speed_asked_for(panda: Panda) -> None:
    panda.move_fingers(0.02, 0.1, grasp=False)
    run(panda, 0.3)
    assert not panda.has_reached_width
    assert panda.width_m == pytest.approx(0.05, abs=0.008)
    run(panda, 1.0)
    assert panda.has_reached_width
    assert panda.width_m == pytest.approx(0.02, abs=0.001)
    panda.move_fingers(0.08, 0.1, grasp=False)
    run(panda, 0.2)
    panda.stop_fingers()
    run(panda, 0.5)
    assert 0.03 < panda.width_m < 0.06
