"""What one action would send to the robot, in words and numbers, without sending it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float

from gnfactor.actions import ArmTarget
from gnfactor.geometry import quaternion_from_rotation
from gnfactor.kinematics import between
from gnfactor.ros.commands import (
    base_from_world,
    duration_complaint,
    fingers_move,
    grip_command,
    joint_trajectory,
    plan_request,
    stream_poses,
)
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.plan import Plan
from gnfactor.ros.safety import SafetyGuard

Pose: TypeAlias = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Forecast:
    """What would be sent for one action."""

    lines: tuple[str, ...]
    """What goes where; empty where the target or the arm is nowhere."""
    trips: str | None
    """The first limit that would stop it: before it begins, or on its way."""


def forecast(plan: Plan, config: RobotConfig) -> Forecast:
    """What would be sent if a plan were carried out, and what would stop it."""
    target, goal = plan.target, plan.goal
    if target is None or goal is None or not plan.is_measured:
        return Forecast((), plan.verdict.reason)
    motion = _MOTIONS[config.executor.name](plan, target, goal, config)
    return Forecast((*motion.lines, _fingers(plan, target, config)), plan.verdict.reason or motion.trips)


def in_base(config: RobotConfig, world_from_gripper: Pose) -> str:
    """A pose as the robot is told it: that of its end effector from its base, metres and quaternion (xyzw)."""
    pose = base_from_world(config) @ world_from_gripper @ np.linalg.inv(config.arm.ee_from_gripper.matrix)
    quaternion = quaternion_from_rotation(torch.from_numpy(np.ascontiguousarray(pose[:3, :3], dtype=np.float64)))
    numbers = ", ".join(f"{value:.4f}" for value in pose[:3, 3])
    return f"({numbers}) m, ({', '.join(f'{value:.4f}' for value in quaternion.tolist())}) xyzw"


def _stream(plan: Plan, target: ArmTarget, goal: Pose, config: RobotConfig) -> Forecast:  # noqa: ARG001 (one signature)
    pace = config.executor
    poses = stream_poses(pace, plan.start, goal)
    steps = np.array([between(a, b) for a, b in zip((plan.start, *poses[:-1]), poses, strict=True)])
    fastest_m_s, fastest_rad_s = steps.max(0) * pace.rate_hz
    duration_s = len(poses) / pace.rate_hz
    guard = SafetyGuard(config)
    on_the_way = (guard.check_command(pose, plan.state).reason for pose in poses)
    trips = duration_complaint(pace, duration_s) or next((reason for reason in on_the_way if reason), None)
    topic = config.topics.command if config.watchdog.required else config.topics.target
    lines = (
        f"{len(poses)} targets to {topic} in {duration_s:.2f} s, {config.arm.ee_frame} in {config.arm.base_frame}:",
        f"  first {in_base(config, poses[0])}",
        f"  last  {in_base(config, poses[-1])}, repeated for at most {pace.settle_s} s until the arm is there",
        f"  at most {fastest_m_s:.3f} of {pace.speed_m_s} m/s and {fastest_rad_s:.3f} of {pace.turn_speed_rad_s} rad/s",
    )
    return Forecast(lines, trips)


def _trajectory(plan: Plan, target: ArmTarget, goal: Pose, config: RobotConfig) -> Forecast:  # noqa: ARG001 (as above)
    if plan.verdict.joint_path is None:
        return Forecast((f"nothing to {config.actions.trajectory}: no joint path was found",), None)
    trajectory = joint_trajectory(config, plan.verdict.joint_path, 0, 0.0)
    limits = np.array(config.arm.joint_speed)
    peaks = np.abs(trajectory.velocities).max(0)
    speeds = ", ".join(f"{peak:.2f} of {limit}" for peak, limit in zip(peaks, limits, strict=True))
    duration_s = float(trajectory.times_s[-1])
    lines = (
        f"one trajectory to {config.actions.trajectory}: {len(trajectory.times_s)} points in {duration_s:.2f} s",
        f"  highest joint speeds and the arm's limits: {speeds} rad/s",
        f"  last joint positions ({', '.join(f'{value:.4f}' for value in trajectory.positions[-1])}) rad",
    )
    return Forecast(lines, duration_complaint(config.executor, duration_s))


def _plan(plan: Plan, target: ArmTarget, goal: Pose, config: RobotConfig) -> Forecast:  # noqa: ARG001 (as above)
    request = plan_request(config, target, 0, 0.0)
    contact = "around obstacles" if request.avoid_collisions else "touching what is there"
    lines = (
        f"one request to {config.actions.move_group} for {config.actions.planning_group}: {contact}",
        f"  {config.arm.ee_frame} in {config.arm.base_frame} at {in_base(config, goal)}",
        f"  at {request.speed_share:.0%} of its speed, within {request.expires_s:.0f} s, on a way that MoveIt chooses",
    )
    return Forecast(lines, None)


_MOTIONS = {"impedance": _stream, "trajectory": _trajectory, "moveit": _plan}


def _fingers(plan: Plan, target: ArmTarget, config: RobotConfig) -> str:
    if not fingers_move(plan.state, target.gripper_open, config):
        return "nothing to the fingers: they are open, and stay so"
    command = grip_command(config, target.gripper_open, 0, 0.0)
    if not command.grasp:
        return (
            f"then, to {config.actions.grip_move}: open to {command.width_m * 1000:.0f} mm at {command.speed_m_s} m/s"
        )
    return (
        f"then, to {config.actions.grip_grasp}: close at {command.speed_m_s} m/s with {command.force_n:.0f} N on "
        f"anything up to {command.tolerance_m * 1000:.0f} mm"
    )
