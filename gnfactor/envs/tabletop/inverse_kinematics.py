"""From a pose of the gripper to joint positions: the search of `gnfactor.kinematics` on MuJoCo's Jacobians.

The steps are the same, and so is what counts as arrived; on MuJoCo's compiled functions they take a fraction of the
time, and planning makes thousands of them for one demonstration.
Everything is a pure function of its arguments: restarts come from a generator seeded anew in every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot, inf

import mujoco
import numpy as np
from jaxtyping import Float

from gnfactor.envs.tabletop.robot import JOINT_LOWER, JOINT_UPPER, REST_JOINTS, TIP_SITE, add_panda
from gnfactor.kinematics import (
    ARRIVED_M,
    ARRIVED_RAD,
    DAMPING,
    DRIFT_GAIN,
    DRIFTING,
    ITERATIONS,
    LINE_ITERATIONS,
    MAX_STEP_RAD,
    RESTARTS,
    Reach,
    follow,
    line,
)

_NO_DRIFT = np.zeros(7)
_SAME_SOLUTION = 0.1


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
        iterations: int = ITERATIONS,
        posture: Float[np.ndarray, "7"] | None = None,
    ) -> Reach:
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
            if i == iterations or (miss_m < ARRIVED_M and miss_rad < ARRIVED_RAD):
                break
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._jacobian[:3], self._jacobian[3:], self._site)
            drifts = posture is not None and i < DRIFTING
            drift = DRIFT_GAIN * (posture - joints) if drifts else _NO_DRIFT
            normal = jacobian @ jacobian.T + DAMPING
            mujoco.mju_cholFactor(normal, 0.0)
            mujoco.mju_cholSolve(solution, normal, error - jacobian @ drift)
            step = drift + jacobian.T @ solution
            step *= min(1.0, MAX_STEP_RAD / max(np.abs(step).max(), 1e-12))
            joints = np.minimum(np.maximum(joints + step, JOINT_LOWER), JOINT_UPPER)
        return Reach(joints, miss_m, miss_rad)

    def attempts(self, world_from_gripper: Float[np.ndarray, "4 4"], near: Float[np.ndarray, "7"]) -> Iterator[Reach]:
        """Searches from `near`, from rest, and from places drawn by chance; all drift towards `near`."""
        yield self.search(world_from_gripper, near, posture=near)
        yield self.search(world_from_gripper, REST_JOINTS, posture=near)
        chance = np.random.default_rng(0)
        for _ in range(RESTARTS):
            yield self.search(world_from_gripper, chance.uniform(JOINT_LOWER, JOINT_UPPER), posture=near)

    def follow_line(
        self, start: Float[np.ndarray, "7"], world_from_gripper: Float[np.ndarray, "4 4"]
    ) -> Float[np.ndarray, "steps 7"] | None:
        """Joint path along which the gripper moves straight and turns evenly, or None where the arm cannot."""
        poses = line(self.tip_pose(start), world_from_gripper)
        return follow(lambda pose, joints: self.search(pose, joints, LINE_ITERATIONS), start, poses)

    def tip_pose(self, joints: Float[np.ndarray, "7"]) -> Float[np.ndarray, "4 4"]:
        """`world_from_gripper`, as `robot.forward_kinematics` but faster."""
        self._data.qpos[:7] = joints
        mujoco.mj_kinematics(self._model, self._data)
        pose = np.eye(4)
        pose[:3, :3] = self._data.site_xmat[self._site].reshape(3, 3)
        pose[:3, 3] = self._data.site_xpos[self._site]
        return pose


def distinct_solutions(attempts: Iterator[Reach]) -> Iterator[Float[np.ndarray, "7"]]:
    """Joint positions of the attempts that arrived, each once."""
    found: list[Float[np.ndarray, "7"]] = []
    for attempt in attempts:
        if attempt.arrived and all(np.abs(attempt.joints - other).max() > _SAME_SOLUTION for other in found):
            found.append(attempt.joints)
            yield attempt.joints
