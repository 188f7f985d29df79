from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gnfactor import kinematics
from gnfactor.kinematics import ArmModel
from tests.strategies import poses, rotations

LOWER = np.array((-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973))
UPPER = np.array((2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973))
shares = st.lists(st.floats(0.1, 0.9), min_size=7, max_size=7).map(np.array)


def arm() -> ArmModel:
    base, tip = np.eye(4), np.eye(4)
    base[:3, 3] = (-0.268, -0.006, 0.75)
    tip[:3, :3], tip[2, 3] = kinematics.rotation_of(np.array([0, 0, 2.356])), 0.11
    return ArmModel(base, tip, LOWER, UPPER)


def joints_at(share: np.ndarray) -> np.ndarray:
    return LOWER + share * (UPPER - LOWER)


def test_the_stretched_arm_is_as_high_as_its_links_are_long() -> None:
    flange = kinematics.gripper_pose(ArmModel(np.eye(4), np.eye(4), LOWER, UPPER), np.zeros(7))
    np.testing.assert_allclose(flange[:3, 3], (0.088, 0, 0.333 + 0.316 + 0.384 - 0.107), atol=1e-12)


@given(shares)
def test_the_jacobian_is_the_slope_of_the_pose(share: np.ndarray) -> None:
    joints, step = joints_at(share), 1e-6
    slopes = kinematics.jacobian(arm(), joints)
    for i in range(7):
        moved = joints.copy()
        moved[i] += step
        before, after = kinematics.gripper_pose(arm(), joints), kinematics.gripper_pose(arm(), moved)
        turn = kinematics.rotation_vector(after[:3, :3] @ before[:3, :3].T)
        found = np.concatenate((after[:3, 3] - before[:3, 3], turn)) / step
        np.testing.assert_allclose(slopes[:, i], found, atol=1e-5)


@given(shares, shares)
def test_what_an_arm_can_reach_is_found_within_its_limits(goal: np.ndarray, start: np.ndarray) -> None:
    target = kinematics.gripper_pose(arm(), joints_at(goal))
    reach = kinematics.best_reach(arm(), target, joints_at(start))
    assume(reach.arrived)  # how often it is: the next test
    assert ((reach.joints >= LOWER) & (reach.joints <= UPPER)).all()
    np.testing.assert_allclose(kinematics.gripper_pose(arm(), reach.joints), target, atol=2e-3)


def test_nearly_every_posture_is_found_from_any_other() -> None:
    chance = np.random.default_rng(1)
    arrived = 0
    for _ in range(60):
        goal, start = joints_at(chance.uniform(0.1, 0.9, 7)), joints_at(chance.uniform(0.1, 0.9, 7))
        arrived += kinematics.best_reach(arm(), kinematics.gripper_pose(arm(), goal), start).arrived
    assert arrived >= 58


def test_a_point_ten_metres_away_is_not_reached_and_the_miss_says_so() -> None:
    target = kinematics.gripper_pose(arm(), joints_at(np.full(7, 0.5)))
    target[0, 3] += 10
    reach = kinematics.best_reach(arm(), target, joints_at(np.full(7, 0.5)))
    assert not reach.arrived
    assert reach.miss_m == pytest.approx(9.5, abs=0.8)


@given(rotations())
def test_rotation_of_inverts_rotation_vector(rotation: object) -> None:
    matrix = np.asarray(rotation)
    vector = kinematics.rotation_vector(matrix)
    assert np.linalg.norm(vector) <= np.pi + 1e-9
    np.testing.assert_allclose(kinematics.rotation_of(vector), matrix, atol=1e-7)


@given(poses(), poses())
def test_a_line_joins_two_poses_in_small_even_steps(first: object, second: object) -> None:
    start, end = np.asarray(first), np.asarray(second)
    found = kinematics.line(start, end)
    np.testing.assert_allclose(found[[0, -1]], np.stack((start, end)), atol=1e-6)
    steps = np.array([kinematics.between(a, b) for a, b in pairwise(found)])
    assert (steps <= (kinematics.LINE_STEP_M + 1e-6, kinematics.LINE_STEP_RAD + 1e-6)).all()
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-5)


def test_a_straight_path_moves_the_gripper_straight() -> None:
    rest = np.array([0, 0.175, 0, -0.8, 0, 1.222, 0.785])
    start = kinematics.gripper_pose(arm(), rest)
    target = start.copy()
    target[:3, 3] += (0.05, 0.1, -0.3)
    path = kinematics.straight_path(arm(), rest, target)
    assert path is not None
    tips = np.stack([kinematics.gripper_pose(arm(), joints)[:3, 3] for joints in path])
    way = (target - start)[:3, 3] / np.linalg.norm((target - start)[:3, 3])
    off = (tips - tips[0]) - np.outer((tips - tips[0]) @ way, way)
    assert np.abs(off).max() < 2e-4
    np.testing.assert_allclose(tips[-1], target[:3, 3], atol=2e-4)
