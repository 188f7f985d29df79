"""From a pose of the gripper to joint positions: damped least squares on MuJoCo's Jacobians.

Everything is a pure function of its arguments: restarts come from a generator seeded anew in every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot, inf

import mujoco
import numpy as np
from jaxtyping import Float

from gnfactor.envs.tabletop.robot import JOINT_LOWER, JOINT_UPPER, REST_JOINTS, TIP_SITE, add_panda

_TOLERANCE_M, _TOLERANCE_RAD = 1e-4, 1e-3
_DAMPING = 1e-4 * np.eye(6)
_MAX_STEP = 0.3
_POSTURE_ITERATIONS, _POSTURE_GAIN = 15, 0.3
_NO_DRIFT = np.zeros(7)
_ITERATIONS = 60
_RESTARTS = 10
_SAME_SOLUTION = 0.1
_LINE_STEP_M, _LINE_STEP_RAD = 0.01, 0.08
_LINE_ITERATIONS, _LINE_MAX_JUMP = 15, 0.35


@dataclass(frozen=True, eq=False)
class Attempt:
    """Where one search ended."""

    joints: Float[np.ndarray, "7"]
    miss_m: float
    miss_rad: float

    @property
    def arrived(self) -> bool:
        return self.miss_m < _TOLERANCE_M and self.miss_rad < _TOLERANCE_RAD


class InverseKinematics:
    """Works on a model of the arm alone, so that its cost does not depend on the scene."""

    def __init__(self) -> None:
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        add_panda(spec)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site(TIP_SITE).id
        self._jacobian = np.zeros((6, self._model.nv))

    def search(
        self,
        world_from_gripper: Float[np.ndarray, "4 4"],
        start: Float[np.ndarray, "7"],
        iterations: int = _ITERATIONS,
        posture: Float[np.ndarray, "7"] | None = None,
    ) -> Attempt:
        """Search from `start` in at most so many steps.

        The first steps also drift towards `posture` as far as the pose leaves freedom.
        """
        model, data, jacobian = self._model, self._data, self._jacobian[:, :7]
        error, quaternion, solution = np.empty(6), np.empty(4), np.empty(6)
        joints, miss_m, miss_rad = np.clip(start, JOINT_LOWER, JOINT_UPPER), inf, inf
        for i in range(iterations + 1):
            # The arm's joints come first in this model, which holds nothing else.
            data.qpos[:7] = joints
            mujoco.mj_kinematics(model, data)
            error[:3] = world_from_gripper[:3, 3] - data.site_xpos[self._site]
            turn = world_from_gripper[:3, :3] @ data.site_xmat[self._site].reshape(3, 3).T
            mujoco.mju_mat2Quat(quaternion, turn.ravel())
            mujoco.mju_quat2Vel(error[3:], quaternion, 1.0)
            miss_m, miss_rad = hypot(*error[:3].tolist()), hypot(*error[3:].tolist())
            if i == iterations or (miss_m < _TOLERANCE_M and miss_rad < _TOLERANCE_RAD):
                break
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._site)
            drifts = posture is not None and i < _POSTURE_ITERATIONS
            drift = _POSTURE_GAIN * (posture - joints) if drifts else _NO_DRIFT
            normal = jacobian @ jacobian.T + _DAMPING
            mujoco.mju_cholFactor(normal, 0.0)
            mujoco.mju_cholSolve(solution, normal, error - jacobian @ drift)
            step = drift + jacobian.T @ solution
            step *= min(1.0, _MAX_STEP / max(np.abs(step).max(), 1e-12))
            joints = np.minimum(np.maximum(joints + step, JOINT_LOWER), JOINT_UPPER)
        return Attempt(joints, miss_m, miss_rad)

    def attempts(self, world_from_gripper: Float[np.ndarray, "4 4"], near: Float[np.ndarray, "7"]) -> Iterator[Attempt]:
        """Searches from `near`, from rest, and from places drawn by chance; all drift towards `near`."""
        yield self.search(world_from_gripper, near, posture=near)
        yield self.search(world_from_gripper, REST_JOINTS, posture=near)
        chance = np.random.default_rng(0)
        for _ in range(_RESTARTS):
            yield self.search(world_from_gripper, chance.uniform(JOINT_LOWER, JOINT_UPPER), posture=near)

    def follow_line(
        self, start: Float[np.ndarray, "7"], world_from_gripper: Float[np.ndarray, "4 4"]
    ) -> Float[np.ndarray, "steps 7"] | None:
        """Joint path along which the gripper moves straight and turns evenly, or None where the arm cannot."""
        origin = self.tip_pose(start)
        shift = world_from_gripper[:3, 3] - origin[:3, 3]
        turn = _rotation_vector(world_from_gripper[:3, :3] @ origin[:3, :3].T)
        steps = max(
            int(np.ceil(np.linalg.norm(shift) / _LINE_STEP_M)), int(np.ceil(np.linalg.norm(turn) / _LINE_STEP_RAD)), 1
        )
        path = [start]
        for share in np.linspace(0, 1, steps + 1)[1:]:
            pose = np.eye(4)
            pose[:3, :3] = _rotation_of(share * turn) @ origin[:3, :3]
            pose[:3, 3] = origin[:3, 3] + share * shift
            attempt = self.search(pose, path[-1], _LINE_ITERATIONS)
            if not attempt.arrived or np.abs(attempt.joints - path[-1]).max() > _LINE_MAX_JUMP:
                return None
            path.append(attempt.joints)
        return np.stack(path)

    def tip_pose(self, joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "4 4"]:
        """`world_from_gripper`, as `robot.forward_kinematics` but faster."""
        self._data.qpos[:7] = joints
        mujoco.mj_kinematics(self._model, self._data)
        pose = np.eye(4)
        pose[:3, :3] = self._data.site_xmat[self._site].reshape(3, 3)
        pose[:3, 3] = self._data.site_xpos[self._site]
        return pose


def distinct_solutions(attempts: Iterator[Attempt]) -> Iterator[Float[np.ndarray, "7"]]:
    """Joint positions of the attempts that arrived, each once."""
    found: list[Float[np.ndarray, "7"]] = []
    for attempt in attempts:
        if attempt.arrived and all(np.abs(attempt.joints - other).max() > _SAME_SOLUTION for other in found):
            found.append(attempt.joints)
            yield attempt.joints


def _rotation_vector(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3"]:
    """Axis times angle (rad), the angle at most pi."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def _rotation_of(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Inverse of `_rotation_vector`."""
    angle = float(np.linalg.norm(vector))
    quaternion, rotation = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / max(angle, 1e-12), angle)
    mujoco.mju_quat2Mat(rotation, quaternion)
    return rotation.reshape(3, 3)
