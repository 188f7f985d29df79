"""How a keyframe that the guard allows becomes motion: three ways to move, one way to grip, and a hold at every end.

Whatever ends an action (arrival, refusal, a complaint on the way, an exception, the operator's Ctrl-C), the robot is
told to hold at its measured pose: that nobody publishes any more does not stop an arm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil

import numpy as np
from jaxtyping import Float

from gnfactor.actions import Action, ArmTarget
from gnfactor.envs.base import Word
from gnfactor.errors import RobotError
from gnfactor.kinematics import between, gripper_pose
from gnfactor.ros.commands import (
    base_from_world,
    duration_complaint,
    fingers_move,
    grip_command,
    joint_trajectory,
    plan_request,
    stream_poses,
)
from gnfactor.ros.config import ExecutorConfig, ExecutorName, RobotConfig
from gnfactor.ros.journal import Decided, Ended, Forgetful, Journal, Judged
from gnfactor.ros.link import PoseTarget, RobotLink, RobotState
from gnfactor.ros.plan import Answer, Approve, Plan, change_complaint
from gnfactor.ros.safety import SafetyGuard, Verdict
from gnfactor.scene import ARM

_REASONS: dict[Answer, str] = {"refuse": "the operator refused it", "pass": "a dry run sends nothing"}
_STOPS: dict[Answer, str] = {"stop": "the operator stopped it", "give up": "too many refusals in a row, the last: {}"}


@dataclass(frozen=True)
class Outcome:
    """What came of an action."""

    refused: str | None = None
    """Why nothing was moved."""
    blocked: str | None = None
    """Why the arm stopped on its way, or what the fingers did not do."""
    ended: Word | None = None
    """The operator's word that ends the episode; nothing was moved."""
    why_ended: str | None = None
    """Where that word was "stopped"."""

    @property
    def done(self) -> bool:
        return self == Outcome()


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

    def measured(self) -> tuple[RobotState, str | None]:
        """The newest state, and why an arm in it must not go on, if so."""
        state = self.link.state()
        return state, self.guard.check_state(state, self.link.now_s()).reason


class Executor:
    """Carries out one action at a time, if the guard allows it and whoever is to be asked agrees."""

    def __init__(
        self,
        link: RobotLink,
        guard: SafetyGuard,
        config: RobotConfig,
        approve: Approve | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Args:
        link: the way to the robot.
        guard: asked before anything moves, and while it does.
        config: of the same robot.
        approve: asked between the guard's judgement and the motion; None: nobody is.
        journal: told of every action, judgement and outcome.
        """
        self._drive = Drive(link, guard, config)
        self._move = EXECUTORS[config.executor.name]
        self._approve = approve
        self._journal = journal or Forgetful()

    def execute(self, action: Action) -> Outcome:
        """Look, ask the guard, ask for approval, move, grip; hold at the end, whatever the end is.

        Raises:
            RobotError: the robot cannot be reached any more; also where it could not even be told to hold.
        """
        outcome = Outcome()
        try:
            self._journal.note(Decided(action))
            outcome = self._execute(action)
        finally:
            self._hold(outcome)
        self._journal.note(Ended(outcome.refused, outcome.blocked, outcome.ended))
        return outcome

    def _hold(self, outcome: Outcome) -> None:
        """End in a hold; an error of the hold says also what it was to end, which may be its cause."""
        try:
            self._drive.link.hold()
        except RobotError as error:
            why = outcome.refused or outcome.blocked
            if why is None:
                raise
            self._journal.note(Ended(outcome.refused, outcome.blocked, outcome.ended))
            raise RobotError(f"{why}; then: {error}") from error

    def _execute(self, action: Action) -> Outcome:
        plan = self._look(action)
        if self._approve is not None:
            before, answer = plan, self._approve(plan)
            if answer == "recover":
                return self._recover()
            if answer == "done":
                return Outcome(ended="done")
            if answer in _STOPS:
                return Outcome(ended="stopped", why_ended=_STOPS[answer].format(plan.verdict.reason))
            if plan.verdict.ok and answer != "go":
                return Outcome(refused=_REASONS[answer])
            if plan.verdict.ok:  # time has passed since
                plan = self._look(action)
                complaint = change_complaint(before, plan, self._drive.config)
                if complaint is not None:
                    return Outcome(refused=complaint)
        if not plan.verdict.ok:
            return Outcome(refused=plan.verdict.reason)
        target = action.arms[ARM]
        moved = self._move(self._drive, target, plan.verdict)
        return grip(self._drive, target.gripper_open) if moved.done else moved

    def _look(self, action: Action) -> Plan:
        drive = self._drive
        views = drive.link.observe(drive.config.guard.max_image_age_s)
        state = drive.link.state()
        verdict = drive.guard.check(action, views, state, drive.link.now_s())
        self._journal.note(Judged(verdict.reason))
        return Plan(action, verdict, views, state, drive.guard.measured_pose(state))

    def _recover(self) -> Outcome:
        try:
            self._drive.link.recover()
        except RobotError as error:
            return Outcome(refused=f"the robot did not recover: {error}")
        return Outcome(refused="instead of moving, the robot was recovered on the operator's word")


def stream_straight(drive: Drive, target: ArmTarget, verdict: Verdict) -> Outcome:  # noqa: ARG001 (one signature for all)
    """Targets on a straight line at an even rate, slow at both ends, for an impedance controller to follow."""
    pace, start = drive.pace, drive.guard.measured_pose(drive.link.state())
    goal = np.asarray(target.world_from_gripper, dtype=np.float64)
    poses = stream_poses(pace, start, goal)
    complaint = duration_complaint(pace, len(poses) / pace.rate_hz)
    if complaint is not None:
        return Outcome(refused=complaint)
    began_s, commanded = drive.link.now_s(), start
    for i in range(len(poses) + ceil(pace.settle_s * pace.rate_hz)):
        state, complaint = drive.measured()
        measured = drive.guard.measured_pose(state)
        if i >= len(poses) and complaint is None and _arrived(pace, measured, goal):
            return Outcome()
        complaint = complaint or _lag_complaint(pace, measured, commanded) or _late(drive, began_s)
        if complaint is not None:
            return Outcome(blocked=f"stopped {_short_of(measured, goal)}: {complaint}")
        pose = poses[min(i, len(poses) - 1)]
        verdict_on_way = drive.guard.check_command(pose, state)
        if not verdict_on_way.ok:
            return Outcome(blocked=f"stopped {_short_of(measured, goal)}: {verdict_on_way.reason}")
        expires_s = drive.link.now_s() + pace.command_life_s
        drive.link.stream(PoseTarget(next(drive.sequence), expires_s, base_from_world(drive.config) @ pose))
        commanded = pose
        drive.link.wait(1 / pace.rate_hz)
    return _arrival(drive, goal)


def follow_joints(drive: Drive, target: ArmTarget, verdict: Verdict) -> Outcome:
    """The straight way that the guard found, as one joint trajectory within the limits of speed."""
    assert verdict.joint_path is not None, "the guard finds a joint path wherever the executor moves straight"
    now_s = drive.link.now_s()
    trajectory = joint_trajectory(drive.config, verdict.joint_path, next(drive.sequence), now_s)
    complaint = duration_complaint(drive.pace, float(trajectory.times_s[-1]))
    if complaint is not None:
        return Outcome(refused=complaint)
    drive.link.start_trajectory(trajectory)
    arm = drive.config.arm.model()
    way = np.stack([gripper_pose(arm, joints)[:3, 3] for joints in verdict.joint_path])
    stopped = _until_done(drive, trajectory.sequence, trajectory.expires_s, way)
    return stopped or _arrival(drive, target.world_from_gripper)


def plan_motion(drive: Drive, target: ArmTarget, verdict: Verdict) -> Outcome:  # noqa: ARG001 (one signature for all)
    """Somebody else's plan, around obstacles unless the policy accepts contact."""
    request = plan_request(drive.config, target, next(drive.sequence), drive.link.now_s())
    drive.link.start_plan(request)
    stopped = _until_done(drive, request.sequence, request.expires_s)
    return stopped or _arrival(drive, np.asarray(target.world_from_gripper, dtype=np.float64))


EXECUTORS: dict[ExecutorName, Callable[[Drive, ArmTarget, Verdict], Outcome]] = {
    "impedance": stream_straight,
    "trajectory": follow_joints,
    "moveit": plan_motion,
}


def grip(drive: Drive, gripper_open: bool) -> Outcome:
    """Open the fingers, or close them on whatever is there; that they hold nothing is said."""
    if not fingers_move(drive.link.state(), gripper_open, drive.config):
        return Outcome()
    command = grip_command(drive.config, gripper_open, next(drive.sequence), drive.link.now_s())
    drive.link.start_grip(command)
    verb = "open" if gripper_open else "grasp"
    stopped = _until_done(drive, command.sequence, command.expires_s)
    if stopped is not None:
        return Outcome(blocked=f"the fingers did not {verb}: {stopped.blocked}")
    width_m = drive.link.state().width_m
    if not gripper_open and width_m < drive.pace.gripper.empty_width_m:
        return Outcome(blocked=f"the fingers closed to {width_m * 1000:.1f} mm: they hold nothing")
    return Outcome()


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
