"""What a Franka says about itself: FrankaState of franka_ros, FrankaRobotState of franka_ros2, joints by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from gnfactor.errors import RobotError
from gnfactor.ros.config import ArmConfig
from gnfactor.ros.link import RobotMode
from gnfactor.ros.sensing.frames import matrix_of
from gnfactor.ros.sensing.stamps import stamp_s


@dataclass(frozen=True, eq=False)
class ArmReading:
    """The arm without its fingers."""

    stamp_s: float
    mode: RobotMode
    errors: tuple[str, ...]
    joint_positions: Float[np.ndarray, "7"]
    joint_velocities: Float[np.ndarray, "7"]
    base_from_ee: Float[np.ndarray, "4 4"]
    """Of the frame that the robot is set up to report, `arm.ee_frame`."""


@dataclass(frozen=True)
class JointReading:
    """One joint in a sensor_msgs/JointState."""

    stamp_s: float
    position: float


def arm_reading(ros: Literal[1, 2], topic: str, message: Any, arm: ArmConfig) -> ArmReading:
    """The arm as its state's message has it.

    Raises:
        RobotError: a number is missing or not finite, the pose is none, or other joints are named than the arm's.
    """
    reading = _READERS[ros](topic, message, arm)
    for name, values in (("positions", reading.joint_positions), ("velocities", reading.joint_velocities)):
        if values.shape != (7,) or not np.isfinite(values).all():
            raise RobotError(f"{topic} has the joint {name} {values.tolist()}; seven finite numbers are expected")
    return reading


def joint_readings(message: Any) -> dict[str, JointReading]:
    """Joints of a sensor_msgs/JointState by name; those without a position are left out."""
    time_s = stamp_s(message.header)
    return {
        name: JointReading(time_s, float(position))
        for name, position in zip(message.name, message.position, strict=False)
    }


def named(topic: str, names: Sequence[str], joints: Mapping[str, JointReading]) -> list[JointReading]:
    """The joints that are named, in that order.

    Raises:
        RobotError: one is not there, or its position is not finite.
    """
    missing = [name for name in names if name not in joints]
    if missing:
        raise RobotError(
            f"{topic} has no position of {', '.join(missing)}; it has {', '.join(joints) or 'none'}: correct "
            "arm.joint_names, arm.finger_joint_names or the topic"
        )
    wrong = {name: joints[name].position for name in names if not np.isfinite(joints[name].position)}
    if wrong:
        raise RobotError(f"{topic} has the positions {wrong}; finite numbers are expected")
    return [joints[name] for name in names]


def _franka_ros(topic: str, message: Any, arm: ArmConfig) -> ArmReading:  # noqa: ARG001 (one signature for both)
    return ArmReading(
        stamp_s(message.header),
        _mode(message.robot_mode),
        _errors(message.current_errors),
        np.array(message.q, np.float64),
        np.array(message.dq, np.float64),
        _pose_by_columns(topic, message.O_T_EE),
    )


def _franka_ros2(topic: str, message: Any, arm: ArmConfig) -> ArmReading:
    joints = message.measured_joint_state
    positions = named(f"{topic}.measured_joint_state", arm.joint_names, joint_readings(joints))
    speeds = dict(zip(joints.name, joints.velocity, strict=False))
    return ArmReading(
        stamp_s(message.header),
        _mode(message.robot_mode),
        _errors(message.current_errors),
        np.array([joint.position for joint in positions]),
        np.array([speeds.get(name, np.nan) for name in arm.joint_names], np.float64),
        matrix_of(message.o_t_ee.pose, f"{topic}.o_t_ee"),
    )


_READERS: Mapping[int, Callable[[str, Any, ArmConfig], ArmReading]] = {1: _franka_ros, 2: _franka_ros2}
"""By generation of ROS."""


def _mode(number: Any) -> RobotMode:
    known = {int(mode) for mode in RobotMode}
    return RobotMode(int(number)) if int(number) in known else RobotMode.OTHER


def _errors(message: Any) -> tuple[str, ...]:
    """Names of the fields that are true; a message of rospy has slots, others have attributes."""
    names: Sequence[str] = getattr(message, "__slots__", None) or list(vars(message))
    return tuple(name for name in names if getattr(message, name))


def _pose_by_columns(topic: str, numbers: Any) -> Float[np.ndarray, "4 4"]:
    pose = np.array(numbers, np.float64)
    pose = pose.reshape(4, 4).T if pose.shape == (16,) else np.full((4, 4), np.nan)
    turn = pose[:3, :3]
    rigid = np.isfinite(pose).all() and np.allclose(turn @ turn.T, np.eye(3), atol=1e-3)
    if not (rigid and np.linalg.det(turn) > 0 and np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6)):
        raise RobotError(
            f"{topic} has O_T_EE = {list(numbers)}; the 16 numbers of a rigid transform, column by column, are "
            "expected: is the robot connected?"
        )
    return pose
