"""Does the arm, with what it holds, touch the world in some posture? Asked thousands of times by the planner."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float

from gnfactor.envs.tabletop.arm import Arm

_TOLERANCE_M = 1e-3
"""Overlap that does not count as a collision; also how much deeper an existing contact may get."""


@dataclass(frozen=True)
class Collision:
    """The deepest overlap found."""

    first: str
    second: str
    depth_m: float

    def __str__(self) -> str:
        return f"{self.first} would be {1000 * self.depth_m:.0f} mm inside {self.second}"


class CollisionChecker:
    """Works on a copy of the model in which only contacts with the arm or the held body are computed."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = copy.copy(model)
        self._data = mujoco.MjData(self._model)
        self._arm = Arm(self._model)
        self._touchable = (model.geom_contype | model.geom_conaffinity) != 0
        self._held_qpos: int | None = None
        self._held_geoms: set[int] = set()
        self._arm_geoms = set(self._arm.geoms.tolist())
        self._hand_from_held = np.eye(4)
        self._allowed_depth_m: dict[tuple[int, int], float] = {}

    def begin(self, data: mujoco.MjData, held_body: int | None) -> None:
        """Take over the present state of the world; a body that is held moves with the hand from here on.

        What overlaps already, at the start, may stay as it is: leaving a contact is no collision.
        """
        self._data.qpos[:] = data.qpos
        self._data.mocap_pos[:] = data.mocap_pos
        self._data.mocap_quat[:] = data.mocap_quat
        mujoco.mj_kinematics(self._model, self._data)
        self._held_qpos, self._held_geoms = None, set()
        if held_body is not None:
            self._held_qpos = int(self._model.jnt_qposadr[self._model.body_jntadr[held_body]])
            root = self._model.body_rootid[self._model.geom_bodyid]
            self._held_geoms = set(np.flatnonzero(root == held_body).tolist())
            self._hand_from_held = np.linalg.solve(self._pose_of(self._arm.hand_body), self._pose_of(held_body))
        self._choose_pairs()
        self._allowed_depth_m = {}
        self._allowed_depth_m = self._overlaps(data.qpos[self._arm.qpos])

    def check(self, joints: Float[np.ndarray, "7"]) -> Collision | None:
        """The deepest collision in a posture, or None."""
        overlaps = self._overlaps(joints)
        excess = {pair: depth - self._allowed_depth_m.get(pair, 0.0) for pair, depth in overlaps.items()}
        worst = max(excess, key=excess.__getitem__, default=None)
        if worst is None or excess[worst] <= _TOLERANCE_M:
            return None
        return Collision(self._name(worst[0]), self._name(worst[1]), overlaps[worst])

    def _overlaps(self, joints: Float[np.ndarray, "7"]) -> dict[tuple[int, int], float]:
        """Depth (m) of every overlapping pair of geoms."""
        data = self._data
        data.qpos[self._arm.qpos] = joints
        mujoco.mj_kinematics(self._model, data)
        if self._held_qpos is not None:
            self._carry(self._held_qpos)
        mujoco.mj_collision(self._model, data)
        depths: dict[tuple[int, int], float] = {}
        if not data.ncon:
            return depths
        for (first, second), distance in zip(data.contact.geom.tolist(), data.contact.dist.tolist(), strict=True):
            if first not in self._arm_geoms and first not in self._held_geoms:
                first, second = second, first
            if distance < 0 and not self._is_grip(first, second):
                depths[first, second] = max(-distance, depths.get((first, second), 0.0))
        return depths

    def _is_grip(self, first: int, second: int) -> bool:
        held = self._held_geoms
        return (first in self._arm_geoms and second in held) or (first in held and second in self._arm_geoms)

    def _carry(self, held_qpos: int) -> None:
        """Move the held body to where the hand now carries it."""
        world_from_held = self._pose_of(self._arm.hand_body) @ self._hand_from_held
        self._data.qpos[held_qpos : held_qpos + 3] = world_from_held[:3, 3]
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, world_from_held[:3, :3].ravel())
        self._data.qpos[held_qpos + 3 : held_qpos + 7] = quaternion
        mujoco.mj_kinematics(self._model, self._data)

    def _choose_pairs(self) -> None:
        """Bits such that things of the world meet the arm and the held body, but not each other."""
        model, world, moving = self._model, 1, 2
        model.geom_contype[:] = np.where(self._touchable, world, 0)
        model.geom_conaffinity[:] = 0
        mine = [geom for geom in self._arm_geoms | self._held_geoms if self._touchable[geom]]
        model.geom_contype[mine] = moving
        model.geom_conaffinity[mine] = world | moving
        # MuJoCo keeps what any geom of a body has beside the body, for the broad phase.
        for of_body, of_geom in (
            (model.body_contype, model.geom_contype),
            (model.body_conaffinity, model.geom_conaffinity),
        ):
            of_body[:] = 0
            np.bitwise_or.at(of_body, model.geom_bodyid, of_geom)

    def _pose_of(self, body: int) -> Float[np.ndarray, "4 4"]:
        pose = np.eye(4)
        pose[:3, :3] = self._data.xmat[body].reshape(3, 3)
        pose[:3, 3] = self._data.xpos[body]
        return pose

    def _name(self, geom: int) -> str:
        """A geom by the name of its body, or by its own where it belongs to the world."""
        body = int(self._model.geom_bodyid[geom])
        return self._model.body(body).name if body else self._model.geom(geom).name
