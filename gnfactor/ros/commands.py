"""The commands of one keyframe, computed before any is sent: the same for moving and for saying what would move.

Poses are in the policy's world until they are put into a command, which speaks of the arm's base.
"""

from __future__ import annotations

from math import ceil, cos, pi

import numpy as np
from jaxtyping import Float

from gnfactor.actions import ArmTarget
from gnfactor.kinematics import along, between, gripper_pose, jacobian
from gnfactor.ros.config import ExecutorConfig, RobotConfig
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, RobotState
from gnfactor.trajectory import time_path

OPEN_SHARE = 0.9
"""A gripper is open when both fingers have more than this share of their travel, as in the simulated worlds."""


def base_from_world(config: RobotConfig) -> Float[np.ndarray, "4 4"]:
    """From the policy's world to the frame in which the robot takes poses."""
    return np.linalg.inv(config.arm.world_from_base.matrix)


def stream_poses(
    pace: ExecutorConfig, start: Float[np.ndarray, "4 4"], goal: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "targets 4 4"]:
    """Targets on a straight line to the goal, whose speed rises and falls like half a sine.

    At the configured rate they are never faster than the configured speeds.
    """
    distance_m, turn_rad = between(start, goal)
    duration_s = pi / 2 * max(distance_m / pace.speed_m_s, turn_rad / pace.turn_speed_rad_s)
    count = max(ceil(duration_s * pace.rate_hz), 1)
    return np.stack([along(start, goal, (1 - cos(pi * i / count)) / 2) for i in range(1, count + 1)])


def joint_trajectory(
    config: RobotConfig, path: Float[np.ndarray, "steps 7"], sequence: int, now_s: float
) -> JointTrajectory:
    """A joint path timed within the configured speeds of the gripper and of the joints."""
    pace, arm = config.executor, config.arm.model()
    tips = np.stack([gripper_pose(arm, joints)[:3, 3] for joints in path])
    timed = time_path(
        path, 1 / pace.rate_hz, tips, pace.speed_m_s, pace.joint_speed_rad_s, pace.joint_acceleration_rad_s2
    )
    motions = np.stack([jacobian(arm, q) @ v for q, v in zip(timed.positions, timed.velocities, strict=True)])
    fastest_m_s, fastest_rad_s = (
        float(np.linalg.norm(part, axis=1).max()) for part in (motions[:, :3], motions[:, 3:])
    )
    stretch = max(1.0, fastest_m_s / pace.speed_m_s, fastest_rad_s / pace.turn_speed_rad_s)
    times_s = np.arange(1, len(timed.positions) + 1) * (stretch / pace.rate_hz)
    expires_s = now_s + float(times_s[-1]) + pace.settle_s
    return JointTrajectory(sequence, expires_s, times_s, timed.positions, timed.velocities / stretch)


def plan_request(config: RobotConfig, target: ArmTarget, sequence: int, now_s: float) -> PlanRequest:
    """Somebody else's planner is to bring the gripper there."""
    return PlanRequest(
        sequence,
        now_s + config.executor.timeout_s,
        base_from_world(config) @ np.asarray(target.world_from_gripper, dtype=np.float64),
        avoid_collisions=not target.ignore_collisions,
        speed_share=config.executor.planner_speed_share,
    )


def grip_command(config: RobotConfig, gripper_open: bool, sequence: int, now_s: float) -> GripCommand:
    """Open the fingers, or close them on whatever is there."""
    gripper = config.executor.gripper
    return GripCommand(
        sequence,
        now_s + gripper.timeout_s,
        width_m=gripper.open_width_m if gripper_open else 0.0,
        speed_m_s=gripper.speed_m_s,
        force_n=gripper.force_n,
        grasp=not gripper_open,
        tolerance_m=gripper.tolerance_m,
    )


def duration_complaint(pace: ExecutorConfig, duration_s: float) -> str | None:
    """Why a motion of known duration is not begun, or None."""
    if duration_s + pace.settle_s <= pace.timeout_s:
        return None
    return (
        f"the motion takes {duration_s:.1f} s at the configured speeds; executor.timeout_s allows {pace.timeout_s} s, "
        f"{pace.settle_s} s of it to settle"
    )


def is_open(state: RobotState, config: RobotConfig) -> bool:
    """Whether both fingers are nearly as far out as the gripper opens."""
    travel_m = config.executor.gripper.open_width_m / 2
    return bool((state.finger_positions_m > OPEN_SHARE * travel_m).all())


def fingers_move(state: RobotState, gripper_open: bool, config: RobotConfig) -> bool:
    """Whether a command goes to the fingers: open ones are not opened again, closed ones are closed again."""
    return not (gripper_open and is_open(state, config))
