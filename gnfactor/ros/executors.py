"""How a keyframe that the guard allows becomes motion: three ways to move, one way to grip, and a hold at every end.

Whatever ends an action (arrival, refusal, a complaint on the way, an exception, the operator's Ctrl-C), the robot is
told to hold at its measured pose: that nobody publishes any more does not stop an arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil, cos, pi

import numpy as np
from jaxtyping import Float

from gnfactor.actions import Action, ArmTarget
from gnfactor.kinematics import along, between, gripper_pose, jacobian
from gnfactor.ros.config import ExecutorConfig, ExecutorName, RobotConfig
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, RobotLink, RobotState
from gnfactor.ros.safety import SafetyGuard, Verdict
from gnfactor.scene import ARM
from gnfactor.trajectory import time_path

OPEN_SHARE = 0.9
"""A gripper is open when both fingers have more than this share of their travel, as in the simulated worlds."""


@dataclass(frozen=True)
class Outcome:
    """What came of an action."""

    refused: str | None = None
    """Why nothing was moved."""
    blocked: str | None = None
    """Why the arm stopped on its way, or what the fingers did not do."""

    @property
    def done(self) -> bool:
        return self.refused is None and self.blocked is None


@dataclass(frozen=True, eq=False)
class Drive:
    """What every way to move needs."""

    link: RobotLink
    guard: SafetyGuard
    config: RobotConfig
    sequence: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def pace(self) -> ExecutorConfig:
        return self.config.executor

    @property
    def base_from_world(self) -> Float[np.ndarray, "4 4"]:
        return np.linalg.inv(self.config.arm.world_from_base.matrix)

    def measured(self) -> tuple[RobotState, str | None]:
        """The newest state, and why an arm in it must not go on, if so."""
        state = self.link.state()
        return state, self.guard.check_state(state, self.link.now_s()).reason


class Executor:
    """Carries out one action at a time, if the guard allows it."""

    def __init__(self, link: RobotLink, guard: SafetyGuard, config: RobotConfig) -> None:
        self._drive = Drive(link, guard, config)
        self._move = EXECUTORS[config.executor.name]

    def execute(self, action: Action) -> Outcome:
        """Look, ask the guard, move, grip; hold at the end, whatever the end is.

        Raises:
            RobotError: the robot cannot be reached any more; also where it could not even be told to hold.
        """
        try:
            return self._execute(action)
        finally:
            self._drive.link.hold()

    def _execute(self, action: Action) -> Outcome:
        drive = self._drive
        observation = drive.link.observe(drive.config.guard.max_image_age_s)
        state = drive.link.state()
        verdict = drive.guard.check(action, observation, state, drive.link.now_s())
        if not verdict.ok:
            return Outcome(refused=verdict.reason)
        target = action.arms[ARM]
        moved = self._move(drive, target, verdict)
        return grip(drive, target.gripper_open) if moved.done else moved


def stream_straight(drive: Drive, target: ArmTarget, verdict: Verdict) -> Outcome:  # noqa: ARG001 (one signature for all)
    """Targets on a straight line at an even rate, slow at both ends, for an impedance controller to follow."""
    pace, start = drive.pace, drive.guard.measured_pose(drive.link.state())
    goal = np.asarray(target.world_from_gripper, dtype=np.float64)
    steps = _stream_steps(pace, start, goal)
    began_s, commanded = drive.link.now_s(), start
    for i in range(1, steps + ceil(pace.settle_s * pace.rate_hz) + 1):
        state, complaint = drive.measured()
        measured = drive.guard.measured_pose(state)
        if i > steps and complaint is None and _arrived(pace, measured, goal):
            return Outcome()
        complaint = complaint or _lag_complaint(pace, measured, commanded) or _late(drive, began_s)
        if complaint is not None:
            return Outcome(blocked=f"stopped {_short_of(measured, goal)}: {complaint}")
        pose = along(start, goal, (1 - cos(pi * min(i / steps, 1))) / 2)
        verdict_on_way = drive.guard.check_command(pose, state)
        if not verdict_on_way.ok:
            return Outcome(blocked=f"stopped {_short_of(measured, goal)}: {verdict_on_way.reason}")
        expires_s = drive.link.now_s() + pace.command_life_s
        drive.link.stream(PoseTarget(next(drive.sequence), expires_s, drive.base_from_world @ pose))
        commanded = pose
        drive.link.wait(1 / pace.rate_hz)
    return _arrival(drive, goal)


def follow_joints(drive: Drive, target: ArmTarget, verdict: Verdict) -> Outcome:
    """The straight way that the guard found, as one joint trajectory within the limits of speed."""
    assert verdict.joint_path is not None, "the guard finds a joint path wherever the executor moves straight"
    times_s, positions, velocities = _timed(drive, verdict.joint_path)
    sequence, now_s = next(drive.sequence), drive.link.now_s()
    limit_s = float(times_s[-1]) + drive.pace.settle_s
    if limit_s > drive.pace.timeout_s:
        return Outcome(
            refused=f"the motion takes {times_s[-1]:.1f} s at the configured speeds; executor.timeout_s allows "
            f"{drive.pace.timeout_s} s, {drive.pace.settle_s} s of it to settle"
        )
    drive.link.start_trajectory(JointTrajectory(sequence, now_s + limit_s, times_s, positions, velocities))
    arm = drive.config.arm.model()
    way = np.stack([gripper_pose(arm, joints)[:3, 3] for joints in verdict.joint_path])
    return _until_done(drive, sequence, now_s + limit_s, way) or _arrival(drive, target.world_from_gripper)


def plan_motion(drive: Drive, target: ArmTarget, verdict: Verdict) -> Outcome:  # noqa: ARG001 (one signature for all)
    """Somebody else's plan, around obstacles unless the policy accepts contact."""
    goal = np.asarray(target.world_from_gripper, dtype=np.float64)
    sequence, expires_s = next(drive.sequence), drive.link.now_s() + drive.pace.timeout_s
    drive.link.start_plan(
        PlanRequest(
            sequence,
            expires_s,
            drive.base_from_world @ goal,
            avoid_collisions=not target.ignore_collisions,
            speed_share=drive.pace.planner_speed_share,
        )
    )
    return _until_done(drive, sequence, expires_s) or _arrival(drive, goal)


EXECUTORS: dict[ExecutorName, Callable[[Drive, ArmTarget, Verdict], Outcome]] = {
    "impedance": stream_straight,
    "trajectory": follow_joints,
    "moveit": plan_motion,
}


def grip(drive: Drive, gripper_open: bool) -> Outcome:
    """Open the fingers, or close them on whatever is there; that they hold nothing is said."""
    config = drive.pace.gripper
    if gripper_open and is_open(drive.link.state(), drive.config):
        return Outcome()
    sequence, expires_s = next(drive.sequence), drive.link.now_s() + config.timeout_s
    drive.link.start_grip(
        GripCommand(
            sequence,
            expires_s,
            width_m=config.open_width_m if gripper_open else 0.0,
            speed_m_s=config.speed_m_s,
            force_n=config.force_n,
            grasp=not gripper_open,
            tolerance_m=config.tolerance_m,
        )
    )
    verb = "open" if gripper_open else "grasp"
    stopped = _until_done(drive, sequence, expires_s)
    if stopped is not None:
        return Outcome(blocked=f"the fingers did not {verb}: {stopped.blocked}")
    width_m = drive.link.state().width_m
    if not gripper_open and width_m < config.empty_width_m:
        return Outcome(blocked=f"the fingers closed to {width_m * 1000:.1f} mm: they hold nothing")
    return Outcome()


def is_open(state: RobotState, config: RobotConfig) -> bool:
    """Whether both fingers are nearly as far out as the gripper opens."""
    travel_m = config.executor.gripper.open_width_m / 2
    return bool((state.finger_positions_m > OPEN_SHARE * travel_m).all())


def _until_done(
    drive: Drive, sequence: int, deadline_s: float, way: Float[np.ndarray, "points 3"] | None = None
) -> Outcome | None:
    """Watch what was started until it is done (None), or say why it was not."""
    while True:
        progress = drive.link.progress()
        state, complaint = drive.measured()
        if complaint is None and way is not None:
            complaint = _off_way(drive, state, way)
        if complaint is None and progress.sequence != sequence:
            complaint = f"the robot works on command {progress.sequence}, not on {sequence}"
        if complaint is None and progress.status == "failed":
            complaint = f"the robot reports: {progress.message or 'failed, without a reason'}"
        if complaint is None and progress.status == "running" and drive.link.now_s() > deadline_s:
            complaint = "it is not done in time"
        if complaint is not None:
            return Outcome(blocked=complaint)
        if progress.status == "done":
            return None
        drive.link.wait(1 / drive.pace.rate_hz)


def _arrival(drive: Drive, goal: Float[np.ndarray, "4 4"]) -> Outcome:
    """Wait until the arm has come to its goal, or say how far from it it stays."""
    deadline_s = drive.link.now_s() + drive.pace.settle_s
    while True:
        state, complaint = drive.measured()
        measured = drive.guard.measured_pose(state)
        if complaint is None and _arrived(drive.pace, measured, goal):
            return Outcome()
        if complaint is not None or drive.link.now_s() >= deadline_s:
            return Outcome(blocked=f"stopped {_short_of(measured, goal)}" + (f": {complaint}" if complaint else ""))
        drive.link.wait(1 / drive.pace.rate_hz)


def _timed(
    drive: Drive, path: Float[np.ndarray, "steps 7"]
) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points 7"], Float[np.ndarray, "points 7"]]:
    """Times (s), positions and velocities along a joint path within the configured speeds."""
    pace, arm = drive.pace, drive.config.arm.model()
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
    return times_s, timed.positions, timed.velocities / stretch


def _stream_steps(pace: ExecutorConfig, start: Float[np.ndarray, "4 4"], goal: Float[np.ndarray, "4 4"]) -> int:
    """Targets of a stream whose speed rises and falls like half a sine and is never above the configured ones."""
    distance_m, turn_rad = between(start, goal)
    duration_s = pi / 2 * max(distance_m / pace.speed_m_s, turn_rad / pace.turn_speed_rad_s)
    return max(ceil(duration_s * pace.rate_hz), 1)


def _arrived(pace: ExecutorConfig, measured: Float[np.ndarray, "4 4"], goal: Float[np.ndarray, "4 4"]) -> bool:
    distance_m, turn_rad = between(measured, goal)
    return distance_m <= pace.arrived_m and turn_rad <= pace.arrived_rad


def _lag_complaint(
    pace: ExecutorConfig, measured: Float[np.ndarray, "4 4"], commanded: Float[np.ndarray, "4 4"]
) -> str | None:
    distance_m, turn_rad = between(measured, commanded)
    if distance_m <= pace.max_lag_m and turn_rad <= pace.max_lag_rad:
        return None
    return (
        f"the arm is {distance_m * 1000:.0f} mm and {turn_rad:.2f} rad behind its target; at most "
        f"{pace.max_lag_m * 1000:.0f} mm and {pace.max_lag_rad} rad are allowed"
    )


def _off_way(drive: Drive, state: RobotState, way: Float[np.ndarray, "points 3"]) -> str | None:
    tip = drive.guard.measured_pose(state)[:3, 3]
    distance_m = float(np.linalg.norm(way - tip, axis=1).min())
    if distance_m <= drive.pace.max_lag_m:
        return None
    return (
        f"the gripper is {distance_m * 1000:.0f} mm off its way; at most {drive.pace.max_lag_m * 1000:.0f} mm are "
        "allowed"
    )


def _late(drive: Drive, began_s: float) -> str | None:
    took_s = drive.link.now_s() - began_s
    if took_s <= drive.pace.timeout_s:
        return None
    return f"the motion takes more than {drive.pace.timeout_s} s"


def _short_of(measured: Float[np.ndarray, "4 4"], goal: Float[np.ndarray, "4 4"]) -> str:
    distance_m, turn_rad = between(measured, goal)
    return f"{distance_m * 1000:.0f} mm and {turn_rad:.2f} rad before the target"
