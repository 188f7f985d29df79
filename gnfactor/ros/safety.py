"""What is never sent to a robot: the guard refuses, with the reason and the numbers, and never changes a command.

All poses here are in the policy's world. The guard keeps nothing between two questions: what it says depends on its
configuration and on what it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gnfactor.actions import Action, ArmTarget
from gnfactor.kinematics import best_reach, between, gripper_pose, jacobian, line, straight_path
from gnfactor.ros.arm_body import lowest
from gnfactor.ros.config import CameraConfig, GuardConfig, RobotConfig
from gnfactor.ros.depth import clear_depth_complaint, table_complaint, workspace_points
from gnfactor.ros.link import RobotMode, RobotState, RobotView
from gnfactor.scene import ARM

MODES_ABLE_TO_MOVE = (RobotMode.MOVE,)
"""Idle is not among them: no controller runs then, and commands would wait for one."""
_RIGID = 1e-3
_FARTHEST_M = 100.0
_KINEMATICS_AGREE_M, _KINEMATICS_AGREE_RAD = 0.01, 0.05
_HINTS = {
    RobotMode.IDLE: "start the robot's controller",
    RobotMode.REFLEX: "look why, then recover on your own word",
    RobotMode.USER_STOPPED: "release the stop when it is safe",
    RobotMode.GUIDING: "let go of the arm's guiding buttons",
}


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether something may be done."""

    reason: str | None = None
    """Why not, with numbers; None: it may."""
    joint_path: Float[np.ndarray, "steps 7"] | None = None
    """The straight way that was found possible, where the executor moves straight."""

    @property
    def ok(self) -> bool:
        return self.reason is None


class SafetyGuard:
    """Asked before anything moves, and all the time while it does."""

    def __init__(self, config: RobotConfig) -> None:
        self._limits: GuardConfig = config.guard
        self._cameras: Mapping[str, CameraConfig] = config.cameras
        self._joint_speed = np.array(config.arm.joint_speed)
        self._arm = config.arm.model(config.guard.joint_margin_rad)
        self._straight = config.executor.name != "moveit"
        self._corners = _corners(config.guard)

    def check(self, action: Action, observation: Mapping[str, RobotView], state: RobotState, now_s: float) -> Verdict:
        """Whether the arm may go where an action says.

        Args:
            action: what the policy decided.
            observation: the newest pictures, by camera.
            state: the newest state.
            now_s: the robot's clock.
        """
        reason = self.check_state(state, now_s).reason or self._why_not_seen(observation, now_s)
        if reason is not None:
            return Verdict(reason)
        target = action.arms.get(ARM)
        if target is None or len(action.arms) != 1:
            return Verdict(f"the action is for the arms {sorted(action.arms)}; exactly '{ARM}' is expected")
        return self._check_target(target, state)

    def check_state(self, state: RobotState, now_s: float) -> Verdict:
        """Whether an arm in this state may move, or go on moving."""
        numbers = (state.joint_positions, state.joint_velocities, state.base_from_gripper, state.finger_positions_m)
        reason = _age_complaint("the state", state.stamp_s, now_s, self._limits.max_state_age_s, self._limits)
        if reason is None and state.mode not in MODES_ABLE_TO_MOVE:
            able = " or ".join(mode.name for mode in MODES_ABLE_TO_MOVE)
            hint = _HINTS.get(state.mode, "bring the robot back to where it can move")
            reason = f"the robot's mode is {state.mode.name}; {able} is expected: {hint}"
        if reason is None and state.errors:
            reason = f"the robot reports {', '.join(state.errors)}; recover on your own word"
        if reason is None and not all(np.isfinite(values).all() for values in numbers):
            reason = "the robot's state holds a number that is not finite"
        if reason is None:
            reason = _rigid_complaint("the measured pose", state.base_from_gripper)
        return Verdict(
            reason or self._speed_complaint(state) or self._start_complaint(state) or self._low_arm_complaint(state)
        )

    def check_views(self, observation: Mapping[str, RobotView], now_s: float) -> Verdict:
        """Whether what the cameras show can be used."""
        return Verdict(self._why_not_seen(observation, now_s))

    def check_command(self, world_from_gripper: Float[np.ndarray, "4 4"], state: RobotState) -> Verdict:
        """Whether one pose on a motion's way may be commanded to an arm that is in this state."""
        reason = _rigid_complaint("the commanded pose", world_from_gripper)
        return Verdict(reason or self._outside_complaint([world_from_gripper], self.measured_pose(state)))

    def measured_pose(self, state: RobotState) -> Float[np.ndarray, "4 4"]:
        """`world_from_gripper` of a state."""
        return self._arm.world_from_base @ state.base_from_gripper

    def _check_target(self, target: ArmTarget, state: RobotState) -> Verdict:
        goal, start = np.asarray(target.world_from_gripper, dtype=np.float64), self.measured_pose(state)
        reason = _rigid_complaint("the target", goal) or self._box_complaint(goal) or self._step_complaint(start, goal)
        if reason is not None:
            return Verdict(reason)
        reason = self._model_complaint(state, start)
        if reason is not None:
            return Verdict(reason)
        if not self._straight:
            return Verdict(self._reach_complaint(goal, state))
        reason = self._outside_complaint(line(start, goal), start)
        if reason is not None:
            return Verdict(f"on the straight way to the target, {reason}")
        path = straight_path(self._arm, state.joint_positions, goal)
        if path is not None:
            reason = self._low_way_complaint(path)
            return Verdict(reason, None if reason else path)
        return Verdict(
            self._reach_complaint(goal, state)
            or f"the arm cannot follow the straight line to the target at {_place(goal)} within its joints' limits "
            f"(less {self._limits.joint_margin_rad} rad)"
        )

    def _why_not_seen(self, observation: Mapping[str, RobotView], now_s: float) -> str | None:
        limits, points = self._limits, 0
        missing = sorted(self._cameras.keys() - observation.keys())
        if missing:
            return f"there is no picture of {', '.join(missing)}; there are {sorted(observation)}"
        for name, config in self._cameras.items():
            view, title = observation[name], f"the picture of '{name}'"
            reason = _age_complaint(title, view.stamp_s, now_s, limits.max_image_age_s, limits)
            reason = reason or clear_depth_complaint(name, view, limits)
            if reason is None and config.sees_table:
                reason = table_complaint(name, view, limits)
            if reason is not None:
                return reason
            points += workspace_points(view, limits)
        if points < limits.min_workspace_points:
            return (
                f"only {points} points of all cameras lie in the box; at least {limits.min_workspace_points} are "
                "expected: is a lens covered, or a pose of a camera wrong?"
            )
        return None

    def _speed_complaint(self, state: RobotState) -> str | None:
        share = np.abs(state.joint_velocities) / self._joint_speed
        worst = int(share.argmax())
        if share[worst] > 1:
            return (
                f"joint {worst + 1} moves at {abs(state.joint_velocities[worst]):.2f} rad/s; its limit is "
                f"{self._joint_speed[worst]:.2f}"
            )
        motion, limits = jacobian(self._arm, state.joint_positions) @ state.joint_velocities, self._limits
        speed_m_s, turn_rad_s = float(np.linalg.norm(motion[:3])), float(np.linalg.norm(motion[3:]))
        fastest_m_s, fastest_rad_s = (
            limits.speed_tolerance * limit for limit in (limits.max_speed_m_s, limits.max_turn_speed_rad_s)
        )
        if speed_m_s <= fastest_m_s and turn_rad_s <= fastest_rad_s:
            return None
        return (
            f"the gripper moves at {speed_m_s:.2f} m/s and {turn_rad_s:.2f} rad/s; at most {fastest_m_s:.3g} and "
            f"{fastest_rad_s:.3g} are allowed, {limits.speed_tolerance} times guard.max_speed_m_s and "
            "guard.max_turn_speed_rad_s: lower the executor's speed"
        )

    def _start_complaint(self, state: RobotState) -> str | None:
        excess_m, where = self._excess(self.measured_pose(state))
        if excess_m <= self._limits.start_tolerance_m:
            return None
        return (
            f"the measured gripper is {excess_m * 1000:.0f} mm {where}; at most "
            f"{self._limits.start_tolerance_m * 1000:.0f} mm are tolerated: guide the arm back by hand"
        )

    def _box_complaint(self, goal: Float[np.ndarray, "4 4"]) -> str | None:
        excess_m, where = self._excess(goal)
        if excess_m <= 0:
            return None
        return f"the gripper at the target {_place(goal)} would be {excess_m * 1000:.1f} mm {where}"

    def _outside_complaint(
        self, poses: Iterable[Float[np.ndarray, "4 4"]], measured: Float[np.ndarray, "4 4"]
    ) -> str | None:
        """A gripper that is outside may come back, and never goes farther out."""
        allowed_m = min(max(self._excess(measured)[0], 0.0), self._limits.start_tolerance_m)
        for pose in poses:
            excess_m, where = self._excess(pose)
            if excess_m > allowed_m + 1e-9:
                return f"the gripper at {_place(pose)} would be {excess_m * 1000:.1f} mm {where}"
        return None

    def _low_arm_complaint(self, state: RobotState) -> str | None:
        found = lowest(self._arm, state.joint_positions)
        below_m = self._limits.min_height_m - found.height_m
        if below_m <= self._limits.start_tolerance_m:
            return None
        return (
            f"the measured link {found.joint} of the arm is {below_m * 1000:.0f} mm below the least height, "
            f"{self._limits.min_height_m:.3f} m; at most {self._limits.start_tolerance_m * 1000:.0f} mm are tolerated: "
            "guide the arm back by hand"
        )

    def _low_way_complaint(self, path: Float[np.ndarray, "steps 7"]) -> str | None:
        """As of the gripper, so of the arm: where it is too low already it may come back, and never goes lower."""
        ways = [lowest(self._arm, joints) for joints in path]
        allowed_m = min(self._limits.min_height_m, ways[0].height_m)
        found = min(ways, key=lambda way: way.height_m)
        if found.height_m >= allowed_m - 1e-9:
            return None
        return (
            f"on the straight way to the target, link {found.joint} of the arm would be "
            f"{(self._limits.min_height_m - found.height_m) * 1000:.1f} mm below the least height, "
            f"{self._limits.min_height_m:.3f} m: take another way, or start from another posture"
        )

    def _step_complaint(self, start: Float[np.ndarray, "4 4"], goal: Float[np.ndarray, "4 4"]) -> str | None:
        distance_m, turn_rad = between(start, goal)
        if distance_m > self._limits.max_step_m:
            return (
                f"the target is {distance_m:.3f} m away; at most {self._limits.max_step_m} m are allowed "
                "(guard.max_step_m): start nearer, or raise it"
            )
        if turn_rad > self._limits.max_turn_rad:
            return (
                f"the target is a turn of {turn_rad:.2f} rad away; at most {self._limits.max_turn_rad} are allowed "
                "(guard.max_turn_rad): start nearer, or raise it"
            )
        return None

    def _model_complaint(self, state: RobotState, start: Float[np.ndarray, "4 4"]) -> str | None:
        """The measured joints must be within limits, and put the gripper where the robot says it is."""
        joints, arm = state.joint_positions, self._arm
        slack_rad = self._limits.joint_margin_rad
        beyond = np.maximum(arm.joint_lower - joints, joints - arm.joint_upper)
        worst = int(beyond.argmax())
        if beyond[worst] > slack_rad:
            return (
                f"joint {worst + 1} stands at {joints[worst]:.3f} rad, beyond its limits "
                f"{arm.joint_lower[worst] - slack_rad:.3f} to {arm.joint_upper[worst] + slack_rad:.3f}"
            )
        distance_m, turn_rad = between(gripper_pose(arm, joints), start)
        if distance_m <= _KINEMATICS_AGREE_M and turn_rad <= _KINEMATICS_AGREE_RAD:
            return None
        return (
            f"the joints put the gripper {distance_m * 1000:.0f} mm and {turn_rad:.2f} rad from where the robot "
            f"reports it (at most {_KINEMATICS_AGREE_M * 1000:.0f} mm and {_KINEMATICS_AGREE_RAD} rad are expected): "
            "check arm.flange_from_gripper and arm.ee_from_gripper"
        )

    def _reach_complaint(self, goal: Float[np.ndarray, "4 4"], state: RobotState) -> str | None:
        reach = best_reach(self._arm, goal, state.joint_positions)
        if reach.arrived:
            return None
        return (
            f"no joint positions within their limits (less {self._limits.joint_margin_rad} rad) reach the target at "
            f"{_place(goal)}; the nearest found misses it by {reach.miss_m * 1000:.0f} mm and {reach.miss_rad:.2f} rad"
        )

    def _excess(self, world_from_gripper: Float[np.ndarray, "4 4"]) -> tuple[float, str]:
        """How far (m) the gripper's worst corner is beyond a limit (negative: inside), and beyond which."""
        corners = self._corners @ world_from_gripper[:3, :3].T + world_from_gripper[:3, 3]
        low, high = corners.min(0), corners.max(0)
        limits = self._limits
        excesses = {
            f"below the box's least {axis}, {limits.box_lower[i]} m": limits.box_lower[i] - low[i]
            for i, axis in enumerate("xyz")
        }
        excesses |= {
            f"above the box's greatest {axis}, {limits.box_upper[i]} m": high[i] - limits.box_upper[i]
            for i, axis in enumerate("xyz")
        }
        excesses[f"below the least height, {limits.min_height_m:.3f} m"] = limits.min_height_m - low[2]
        if not np.isfinite([*excesses.values()]).all():  # a number that is none is never the greatest
            return float("inf"), "outside: its place is not finite"
        where = max(excesses, key=lambda name: excesses[name])
        return float(excesses[where]), where


def _corners(limits: GuardConfig) -> Float[np.ndarray, "16 3"]:
    """Corners of hand and fingers in the gripper's frame."""
    boxes = ((limits.hand_lower, limits.hand_upper), (limits.fingers_lower, limits.fingers_upper))
    return np.array(
        [[box[i][0], box[j][1], box[k][2]] for box in boxes for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    )


def _age_complaint(title: str, stamp_s: float, now_s: float, max_age_s: float, limits: GuardConfig) -> str | None:
    age_s = now_s - stamp_s
    if -limits.max_future_s <= age_s <= max_age_s:
        return None
    if not np.isfinite(age_s):
        return f"{title} is stamped {stamp_s} s, the clock says {now_s} s; both must be finite"
    if age_s > 0:
        return f"{title} is {age_s:.3f} s old; at most {max_age_s} s are allowed"
    return (
        f"{title} is {-age_s:.3f} s from the future; at most {limits.max_future_s} s are allowed: synchronise the "
        "machines' clocks"
    )


def _rigid_complaint(title: str, pose: Float[np.ndarray, "4 4"]) -> str | None:
    if not np.isfinite(pose).all():
        return f"{title} holds a number that is not finite: {pose[:3, 3].tolist()} m"
    if np.abs(pose).max() > _FARTHEST_M:
        return f"{title} holds the number {np.abs(pose).max():.3g}; nothing beyond {_FARTHEST_M} m can be meant"
    rotation = pose[:3, :3]
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > _RIGID or np.linalg.det(rotation) < 0:
        determinant = float(np.linalg.det(rotation))
        return f"{title} holds no rotation: it is off orthonormal by {error:.1e}, its determinant is {determinant:.3f}"
    if not np.allclose(pose[3], (0, 0, 0, 1)):
        return f"{title} has the last row {pose[3].tolist()}; 0, 0, 0, 1 is expected"
    return None


def _place(pose: Float[np.ndarray, "4 4"]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in pose[:3, 3]) + ") m"
