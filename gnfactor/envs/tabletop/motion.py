"""Moving the arm: the one controller that serves the scripted expert and every policy.

An action's pose becomes joint positions, a path, a trajectory, and physics. All work is bounded by counts and
simulated seconds, and what cannot be done is a normal result with its reason. Rules (facts of RLBench's action mode):
straight line first, planning only when collisions count, nothing moves when the target is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import degrees
from typing import Final

import mujoco
import numpy as np
import torch
from jaxtyping import Float

from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.collisions import Collision, CollisionChecker
from gnfactor.envs.tabletop.grasp import Grasp
from gnfactor.envs.tabletop.inverse_kinematics import InverseKinematics, distinct_solutions
from gnfactor.envs.tabletop.planning import PlanningBudget, path_is_free, plan
from gnfactor.envs.tabletop.robot import FINGER_OPEN_M, SERVO_LAG_S
from gnfactor.geometry import rotation_angle_deg
from gnfactor.scene import TABLE_HEIGHT_M, WORKSPACE_LOWER_M, WORKSPACE_UPPER_M
from gnfactor.trajectory import Trajectory, time_path

TIP_LOWER_M: Final = (WORKSPACE_LOWER_M[0], WORKSPACE_LOWER_M[1], TABLE_HEIGHT_M + 0.002)
"""Lowest position that the gripper frame may be sent to; z as in RLBench's own check."""
TIP_UPPER_M: Final = WORKSPACE_UPPER_M

_CONTACT_SPEED_M_S = 0.3
"""Limit of the gripper's speed where contact is expected."""
_BLOCKED_M, _BLOCKED_DEG = 0.02, 10.0
_STILL = 0.01
"""m/s and rad/s: slower than this is still."""
_STILL_STEPS = 10
_SETTLE_S = 0.6
_FINGER_SPEED_M_S = 0.1
_GRIP_S = 0.3
"""Simulated time after the fingers' own motion for a grip to become firm."""
_GOALS = 4
"""Postures for one pose that are tried as goals of a plan."""


@dataclass(frozen=True)
class Motion:
    """What came of one command to move."""

    reached: bool
    refused: str | None = None
    """Why nothing was moved: outside the workspace, unreachable, in collision, no path."""
    blocked: str | None = None
    """Where the arm was stopped, although the motion was carried out."""


class Mover:
    """Drives the arm of one model and its state; `on_step` is called after every step of physics."""

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        on_step: Callable[[], None] | None = None,
        budget: PlanningBudget | None = None,
    ) -> None:
        self._model = model
        self._data = data
        self._on_step = on_step
        self._budget = budget or PlanningBudget()
        self._arm = Arm(model)
        self._grasp = Grasp(model, self._arm)
        self._checker = CollisionChecker(model)
        self._kinematics = InverseKinematics()

    def move_to(self, world_from_gripper: Float[np.ndarray, "4 4"], ignore_collisions: bool) -> Motion:
        """Bring the gripper to a pose and wait until the arm is still.

        Ignoring collisions: in a straight line at contact speed, or straight in joint space where the arm cannot
        follow the line. Otherwise: the straight line if it is free, or a planned path. A held body moves along and is
        no obstacle to the hand.
        """
        path = self._path_to(world_from_gripper, ignore_collisions)
        if isinstance(path, str):
            return Motion(reached=False, refused=path)
        tips = np.stack([self._kinematics.tip_pose(joints)[:3, 3] for joints in path])
        speed = _CONTACT_SPEED_M_S if ignore_collisions else np.inf
        self._follow(time_path(path, self._model.opt.timestep, tips, speed))
        return self._outcome(world_from_gripper)

    def set_gripper(self, open: bool) -> None:  # noqa: A002 (the word of the action)
        """Open or close at a constant speed until the fingers are still, for a bounded simulated time.

        Closing on a graspable body holds it; opening lets go of it first.
        """
        if open:
            self._grasp.release(self._data)
        target = FINGER_OPEN_M if open else 0.0
        start = self._data.ctrl[self._arm.finger_servos].copy()
        moving = int(np.ceil(np.abs(start - target).max() / _FINGER_SPEED_M_S / self._model.opt.timestep))
        for share in np.arange(1, moving + 1) / max(moving, 1):
            self._data.ctrl[self._arm.finger_servos] = start + share * (target - start)
            self._step()
            if not open:
                self._grasp.take(self._data)
        for _ in range(int(_GRIP_S / self._model.opt.timestep)):
            self._step()
            done = open or self._grasp.take(self._data)
            if done and np.abs(self._data.qvel[self._arm.finger_dofs]).max() < _STILL:
                break

    def hold(self) -> None:
        """From now on, stay where the arm is."""
        self._data.ctrl[self._arm.servos] = self._data.qpos[self._arm.qpos]

    def settle(self, seconds: float = _SETTLE_S) -> None:
        """Let the world move until all of it is still, at most this long (simulated)."""
        still = 0
        for _ in range(int(seconds / self._model.opt.timestep)):
            self._step()
            still = still + 1 if np.abs(self._data.qvel).max(initial=0) < _STILL else 0
            if still >= _STILL_STEPS:
                break

    def _path_to(
        self, world_from_gripper: Float[np.ndarray, "4 4"], ignore_collisions: bool
    ) -> Float[np.ndarray, "points 7"] | str:
        """A joint path from the present posture, or why there is none."""
        if not np.isfinite(world_from_gripper).all():
            return "the target is not a pose: it has entries that are not finite"
        outside = _outside_workspace(world_from_gripper[:3, 3])
        if outside is not None:
            return outside
        start = self._data.qpos[self._arm.qpos].copy()
        line = self._kinematics.follow_line(start, world_from_gripper)
        if ignore_collisions:
            return self._nearest(start, world_from_gripper) if line is None else line
        self._checker.begin(self._data, self._grasp.held_body(self._data))
        if line is not None and path_is_free(line, self._is_free):
            return line
        return self._planned(start, world_from_gripper)

    def _nearest(
        self, start: Float[np.ndarray, "7"], world_from_gripper: Float[np.ndarray, "4 4"]
    ) -> Float[np.ndarray, "points 7"] | str:
        """Straight in joint space to the nearest posture."""
        solutions = list(distinct_solutions(self._kinematics.attempts(world_from_gripper, start)))
        if not solutions:
            return self._unreachable(start, world_from_gripper)
        return np.stack((start, min(solutions, key=lambda joints: float(np.abs(joints - start).max()))))

    def _planned(
        self, start: Float[np.ndarray, "7"], world_from_gripper: Float[np.ndarray, "4 4"]
    ) -> Float[np.ndarray, "points 7"] | str:
        """A path without collision to one of the postures for the pose."""
        goals: list[np.ndarray] = []
        collision: Collision | None = None
        for joints in distinct_solutions(self._kinematics.attempts(world_from_gripper, start)):
            found = self._checker.check(joints)
            collision = collision or found
            if found is None:
                goals.append(joints)
            if len(goals) == _GOALS:
                break
        if not goals and collision is None:
            return self._unreachable(start, world_from_gripper)
        if not goals:
            return f"target in collision: {collision}"
        goals.sort(key=lambda joints: float(np.abs(joints - start).max()))
        path = plan(start, goals, self._is_free, self._budget)
        return f"no path without collision found in {self._budget.iterations} iterations" if path is None else path

    def _is_free(self, joints: Float[np.ndarray, "7"]) -> bool:
        return self._checker.check(joints) is None

    def _unreachable(self, start: Float[np.ndarray, "7"], world_from_gripper: Float[np.ndarray, "4 4"]) -> str:
        best = min(
            self._kinematics.attempts(world_from_gripper, start), key=lambda attempt: attempt.miss_m + attempt.miss_rad
        )
        x, y, z = world_from_gripper[:3, 3]
        return (
            f"the arm cannot reach ({x:.3f}, {y:.3f}, {z:.3f}) m in this orientation: its best posture misses by "
            f"{1000 * best.miss_m:.0f} mm and {degrees(best.miss_rad):.0f} degrees"
        )

    def _follow(self, trajectory: Trajectory) -> None:
        """Carry out a trajectory through the servos, then settle."""
        # A servo's damping holds it back in proportion to its speed: its target runs ahead by as much.
        for target in trajectory.positions + SERVO_LAG_S * trajectory.velocities:
            self._data.ctrl[self._arm.servos] = target
            self._step()
        self._data.ctrl[self._arm.servos] = trajectory.positions[-1]
        self.settle()

    def _outcome(self, world_from_gripper: Float[np.ndarray, "4 4"]) -> Motion:
        """Compare where the gripper is with where it was sent; a blocked arm stops pushing."""
        mujoco.mj_kinematics(self._model, self._data)
        pose = self._arm.tip_pose(self._data)
        distance_m = float(np.linalg.norm(pose[:3, 3] - world_from_gripper[:3, 3]))
        rotations = (torch.from_numpy(p[:3, :3].astype(np.float64)) for p in (pose, world_from_gripper))
        angle_deg = float(rotation_angle_deg(*rotations))
        if distance_m <= _BLOCKED_M and angle_deg <= _BLOCKED_DEG:
            return Motion(reached=True)
        self.hold()
        return Motion(
            reached=False, blocked=f"stopped {1000 * distance_m:.0f} mm and {angle_deg:.0f} degrees from the target"
        )

    def _step(self) -> None:
        mujoco.mj_step(self._model, self._data)
        if self._on_step is not None:
            self._on_step()


def _outside_workspace(position: Float[np.ndarray, "3"]) -> str | None:
    for axis, value, lower, upper in zip("xyz", position.tolist(), TIP_LOWER_M, TIP_UPPER_M, strict=True):
        if not lower <= value <= upper:
            return f"target outside the workspace: {axis} = {value:.3f} m is not in {lower:.3f} to {upper:.3f} m"
    return None
