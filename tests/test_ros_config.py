from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from gnfactor.config import Config
from gnfactor.errors import ConfigError
from gnfactor.kinematics import rotation_of
from gnfactor.ros.config import GuardConfig, load
from gnfactor.scene import TABLE_HEIGHT_M

ROBOTS = sorted((Path(__file__).resolve().parent.parent / "configs/robot").glob("*.yaml"))
PANDA = str(next(path for path in ROBOTS if path.stem == "franka_ros"))


@pytest.mark.parametrize("file", ROBOTS, ids=lambda path: path.stem)
def test_every_robot_loads_and_keeps_above_the_table(file: Path) -> None:
    config = load([str(file)])
    assert config.guard.min_height_m > config.guard.table_height_m == TABLE_HEIGHT_M
    assert config.executor.speed_m_s <= config.guard.max_speed_m_s <= config.arm.speed_m_s


@pytest.mark.parametrize("file", ROBOTS, ids=lambda path: path.stem)
def test_our_gripper_frame_is_the_same_by_way_of_the_robots_own(file: Path) -> None:
    arm = load([str(file)]).arm
    flange_from_ee = np.eye(4)  # Franka's nominal hand: 103.4 mm out, turned by -45 degrees
    flange_from_ee[:3, :3], flange_from_ee[2, 3] = rotation_of(np.array([0, 0, -np.pi / 4])), 0.1034
    np.testing.assert_allclose(flange_from_ee @ arm.ee_from_gripper.matrix, arm.flange_from_gripper.matrix, atol=1e-6)


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("guard.max_stepp_m=0.1", r"'guard.max_stepp_m'.*did you mean 'guard.max_step_m'"),
        ("cameras.front.colour=/x", r"'cameras.front.colour'.*did you mean 'cameras.front.color'"),
        ("cameras.front.depth_scale=deep", r"'cameras.front.depth_scale' to 'deep'.*a number is expected"),
        ("cameras.front.extrinsics=file", "a file is named"),
        ("executor.name=teleport", r"'executor.name' to 'teleport'.*one of impedance, trajectory, moveit"),
        ("executor.speed_m_s=0.5", r"executor.speed_m_s is 0.5, more than guard.max_speed_m_s, 0.25"),
        (
            "executor={name: moveit, planner_speed_share: 1.0}",
            r"of arm.speed_m_s is 1.7, more than guard.max_speed_m_s",
        ),
        ("guard.max_speed_m_s=3", r"more than arm.speed_m_s, 1.7"),
        ("executor.joint_speed_rad_s=3", r"more than the least of arm.joint_speed, 2.175"),
        ("executor.command_life_s=0.01", "would expire"),
        ("guard.box_lower=[0,0,2]", "must be below"),
        ("guard.box_lower=[.nan,-0.5,0.7]", "must be below.*and both finite"),
        ("guard.box_upper=[0.7,.inf,1.6]", "must be below.*and both finite"),
        ("guard.fingers_upper=[0.012,0.056,.nan]", "must be below.*and both finite"),
        ("arm.world_from_base.translation_m=[0,.nan,0]", "must be finite"),
        ("arm.world_from_base.quaternion_xyzw=[0,0,0,.nan]", "length nan; 1 is expected"),
        ("arm.joint_upper=[2.8,.inf,2.8,-0.07,2.8,3.7,2.8]", "joint 2 goes from -1.7628 to inf rad"),
        ("arm.joint_speed=[1,1,1,.nan,1,1,1]", "positive numbers are expected"),
        ("guard.max_image_age_s=nan", "a positive number is expected"),
        ("guard.min_height_m=nan", "must be finite"),
        ("guard.min_table_share=1.5", "a share up to 1"),
        ("arm.joint_speed=[1,1]", "2 values; 7 are expected"),
        ("arm.world_from_base.quaternion_xyzw=[0,0,0,2]", "length 2.0000; 1 is expected"),
        ("topics.target=null", r"needs topics.target, and that is null"),
    ],
)
def test_nonsense_is_answered_with_the_key(override: str, answer: str) -> None:
    with pytest.raises(ConfigError, match=answer):
        load([PANDA, override])


def test_a_robot_must_be_said() -> None:
    with pytest.raises(ConfigError, match="missing"):
        load([])


def test_no_number_of_the_guard_may_be_nonsense() -> None:
    for item in dataclasses.fields(GuardConfig):
        if item.name.endswith(("lower", "upper")):
            continue
        with pytest.raises(ConfigError):
            load([PANDA, f"guard.{item.name}=inf"])


def test_a_policys_configuration_is_no_robots() -> None:
    with pytest.raises(ConfigError, match="'policy'"):
        load([PANDA, "policy.head=null"])
    assert "guard" not in {item.name for item in dataclasses.fields(Config)}
