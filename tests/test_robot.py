"""The built-in arm against the recorded one and against MuJoCo's own kinematics."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnfactor.envs.tabletop import robot
from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.scene import base_scene
from gnfactor.errors import MissingExtraError
from gnfactor.geometry import rotation_angle_deg, rotation_from_quaternion

joint_fractions = st.lists(st.floats(0, 1), min_size=7, max_size=7).map(np.array)


def joints_at(fractions: np.ndarray) -> np.ndarray:
    return robot.JOINT_LOWER + fractions * (robot.JOINT_UPPER - robot.JOINT_LOWER)


def angle_deg(first: np.ndarray, second: np.ndarray) -> float:
    return float(rotation_angle_deg(torch.from_numpy(first[:3, :3].copy()), torch.from_numpy(second[:3, :3].copy())))


class RecordingUnpickler(pickle.Unpickler):
    """Reads RLBench's low-dimensional recordings: their two classes become plain namespaces, nothing else is known."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in {("rlbench.demo", "Demo"), ("rlbench.backend.observation", "Observation")}:
            return SimpleNamespace
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct
        raise pickle.UnpicklingError(f"{module}.{name}")


def recorded_frames(folder: Path) -> list[SimpleNamespace]:
    frames: list[SimpleNamespace] = []
    for file in sorted(folder.rglob("low_dim_obs.pkl")):
        with file.open("rb") as stream:
            frames += RecordingUnpickler(stream).load()._observations
    return frames


def test_forward_kinematics_reproduces_the_recorded_gripper_poses(real_episodes: Path) -> None:
    frames = recorded_frames(real_episodes)
    assert len(frames) > 500
    distances_m, angles_deg = [], []
    for frame in frames:
        position, quaternion = np.split(frame.gripper_pose, [3])
        recorded = np.eye(4)
        recorded[:3, :3] = rotation_from_quaternion(torch.from_numpy(quaternion)).numpy()
        recorded[:3, 3] = position
        ours = robot.forward_kinematics(frame.joint_positions)
        distances_m.append(np.linalg.norm(ours[:3, 3] - position))
        angles_deg.append(angle_deg(ours, recorded))
    assert np.median(distances_m) < 1e-3
    assert np.median(angles_deg) < 0.3
    assert np.max(distances_m) < 6e-3


def test_recorded_joints_lie_within_our_limits_and_start_at_rest(real_episodes: Path) -> None:
    frames = recorded_frames(real_episodes)
    joints = np.stack([frame.joint_positions for frame in frames])
    assert (joints >= robot.JOINT_LOWER - 1e-3).all()
    assert (joints <= robot.JOINT_UPPER + 1e-3).all()
    np.testing.assert_allclose(joints[0], robot.REST_JOINTS, atol=2e-3)


@pytest.fixture(scope="module")
def world() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = base_scene().compile()
    return model, mujoco.MjData(model)


@settings(max_examples=50, deadline=None)
@given(joint_fractions)
def test_mujoco_and_forward_kinematics_agree(world: tuple[mujoco.MjModel, mujoco.MjData], f: np.ndarray) -> None:
    model, data = world
    joints = joints_at(f)
    for name, angle in zip(robot.ARM_JOINTS, joints, strict=True):
        data.joint(name).qpos[0] = angle
    mujoco.mj_kinematics(model, data)
    expected = robot.forward_kinematics(joints)
    np.testing.assert_allclose(data.site(robot.TIP_SITE).xpos, expected[:3, 3], atol=1e-9)
    np.testing.assert_allclose(data.site(robot.TIP_SITE).xmat.reshape(3, 3), expected[:3, :3], atol=1e-9)


def test_arm_stretched_upwards_stands_where_the_link_lengths_add_up() -> None:
    joints = np.array([0, 0, 0, -robot.JOINT_4_OFFSET, 0, 0, 0])
    tip = robot.forward_kinematics(joints)
    # 0.333 + 0.316 + 0.384 up, 0.088 forward, then flange 0.107 and tip 0.1104 down.
    expected = np.add(robot.BASE_POSITION_M, (0.088 + 0.0014, -0.0014, 1.033 - 0.2174))
    np.testing.assert_allclose(tip[:3, 3], expected, atol=1e-9)
    np.testing.assert_allclose(tip[:3, 2], (0, 0, -1), atol=1e-9)


def test_fingers_mirror_each_other_along_the_gripper_frames_y(world: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, data = world
    inner_faces = []
    for travel in (0.0, 0.03):
        for name in robot.FINGER_JOINTS:
            data.joint(name).qpos[0] = travel
        mujoco.mj_kinematics(model, data)
        rotation = data.site(robot.TIP_SITE).xmat.reshape(3, 3)
        faces = []
        for body in robot.FINGER_BODIES:
            pad = model.body(body).geomadr[0] + 1
            centre = rotation.T @ (data.geom_xpos[pad] - data.site(robot.TIP_SITE).xpos)
            assert abs(centre[0]) < 1e-9
            faces.append(abs(centre[1]) - model.geom_size[pad][1])
        inner_faces.append(faces)
    np.testing.assert_allclose(inner_faces, [[0, 0], [0.03, 0.03]], atol=1e-9)


def test_arm_at_rest_stays_there_and_touches_nothing() -> None:
    model = base_scene().compile()
    data = mujoco.MjData(model)
    Arm(model).place_at_rest(model, data)
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert data.ncon == 0
    state = Arm(model).state(model, data)
    np.testing.assert_allclose(state.joint_positions, robot.REST_JOINTS, atol=1e-4)
    np.testing.assert_allclose(state.world_from_gripper, robot.forward_kinematics(robot.REST_JOINTS), atol=1e-3)
    assert state.gripper_open


def test_links_do_not_touch_each_other_in_any_recorded_posture(real_episodes: Path) -> None:
    model = base_scene().compile()
    data = mujoco.MjData(model)
    arm = Arm(model)
    for frame in recorded_frames(real_episodes)[::5]:
        data.qpos[arm.qpos] = frame.joint_positions
        mujoco.mj_kinematics(model, data)
        mujoco.mj_collision(model, data)
        assert data.ncon == 0


def test_hand_folded_onto_the_base_is_a_contact() -> None:
    model = base_scene().compile()
    data = mujoco.MjData(model)
    arm = Arm(model)
    data.qpos[arm.qpos] = (0, 0.3, 0, -3.0, 0, 1.3, 0.785)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_collision(model, data)
    assert data.ncon > 0


def test_without_mujoco_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    monkeypatch.delitem(sys.modules, "gnfactor.envs.tabletop")
    with pytest.raises(MissingExtraError, match=r"gnfactor\[sim\]"):
        importlib.import_module("gnfactor.envs.tabletop")
