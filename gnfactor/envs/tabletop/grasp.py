"""Holding things firmly: a weld between the hand and a graspable body that both fingers touch.

Friction alone lets a held object creep by millimetres in every move (a property of the contact solver, not of the
object), and RLBench attaches what it grasps as well.
"""

from __future__ import annotations

import mujoco
import numpy as np

from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.scene import GRASP_PREFIX


class Grasp:
    """The welds that a scene has prepared by `scene.make_graspable`, of which at most one is active."""

    def __init__(self, model: mujoco.MjModel, arm: Arm) -> None:
        self._model = model
        self._arm = arm
        self._weld_of_body = {
            int(model.eq_obj2id[weld]): weld
            for weld in range(model.neq)
            if model.equality(weld).name.startswith(GRASP_PREFIX)
        }

    def held_body(self, data: mujoco.MjData) -> int | None:
        """Id of the body that is held, or None."""
        return next((body for body, weld in self._weld_of_body.items() if data.eq_active[weld]), None)

    def take(self, data: mujoco.MjData) -> bool:
        """Weld what both fingers touch to the hand as it lies there; whether something is held now."""
        if self.held_body(data) is not None:
            return True
        touched = self._touched_by_both(data)
        if touched is None:
            return False
        hand, weld = self._arm.hand_body, self._weld_of_body[touched]
        hand_rotation = data.xmat[hand].reshape(3, 3)
        relative = self._model.eq_data[weld]
        relative[:3] = 0
        relative[3:6] = hand_rotation.T @ (data.xpos[touched] - data.xpos[hand])
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, (hand_rotation.T @ data.xmat[touched].reshape(3, 3)).ravel())
        relative[6:10] = quaternion
        data.eq_active[weld] = True
        return True

    def release(self, data: mujoco.MjData) -> None:
        for weld in self._weld_of_body.values():
            data.eq_active[weld] = False

    def _touched_by_both(self, data: mujoco.MjData) -> int | None:
        """The graspable body that each finger touches, the one with the lowest id."""
        if not self._weld_of_body or not data.ncon:
            return None
        bodies = self._model.geom_bodyid[data.contact.geom]
        roots = self._model.body_rootid[bodies]
        touched = [
            {
                int(root[1 - side])
                for body, root in zip(bodies, roots, strict=True)
                for side in (0, 1)
                if body[side] == f
            }
            for f in self._arm.finger_bodies
        ]
        return min((touched[0] & touched[1]) & self._weld_of_body.keys(), default=None)
