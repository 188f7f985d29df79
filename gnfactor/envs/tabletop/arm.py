"""The arm inside one compiled model: where its joints stand in the state, and reading and setting them."""

from __future__ import annotations

import mujoco
import numpy as np
from jaxtyping import Float, Int

from gnfactor.envs.tabletop.robot import (
    ARM_ACTUATORS,
    ARM_JOINTS,
    BASE_BODY,
    FINGER_ACTUATORS,
    FINGER_BODIES,
    FINGER_JOINTS,
    FINGER_OPEN_M,
    HAND_BODY,
    REST_JOINTS,
    TIP_SITE,
)
from gnfactor.scene import ArmState

_OPEN_SHARE = 0.9
"""A gripper is open when both fingers have more than this share of their travel, as RLBench reports it."""


class Arm:
    """Addresses of the arm in a model's state and control vectors."""

    def __init__(self, model: mujoco.MjModel) -> None:
        joints = [model.joint(name).id for name in ARM_JOINTS]
        fingers = [model.joint(name).id for name in FINGER_JOINTS]
        self.qpos: Int[np.ndarray, "7"] = model.jnt_qposadr[joints]
        self.dofs: Int[np.ndarray, "7"] = model.jnt_dofadr[joints]
        self.finger_qpos: Int[np.ndarray, "2"] = model.jnt_qposadr[fingers]
        self.finger_dofs: Int[np.ndarray, "2"] = model.jnt_dofadr[fingers]
        self.servos: Int[np.ndarray, "7"] = np.array([model.actuator(name).id for name in ARM_ACTUATORS])
        self.finger_servos: Int[np.ndarray, "2"] = np.array([model.actuator(name).id for name in FINGER_ACTUATORS])
        self.tip_site: int = model.site(TIP_SITE).id
        self.hand_body: int = model.body(HAND_BODY).id
        self.finger_bodies: tuple[int, int] = (model.body(FINGER_BODIES[0]).id, model.body(FINGER_BODIES[1]).id)
        self.geoms: Int[np.ndarray, "geoms"] = np.flatnonzero(
            model.body_rootid[model.geom_bodyid] == model.body(BASE_BODY).id
        )

    def place_at_rest(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Put the arm, still and open, into the posture in which every episode begins."""
        data.qpos[self.qpos] = data.ctrl[self.servos] = REST_JOINTS
        data.qpos[self.finger_qpos] = data.ctrl[self.finger_servos] = FINGER_OPEN_M
        data.qvel[self.dofs] = data.qvel[self.finger_dofs] = 0
        mujoco.mj_forward(model, data)

    def tip_pose(self, data: mujoco.MjData) -> Float[np.ndarray, "4 4"]:
        """`world_from_gripper` as of the last kinematics computed in `data`."""
        pose = np.eye(4)
        pose[:3, :3] = data.site_xmat[self.tip_site].reshape(3, 3)
        pose[:3, 3] = data.site_xpos[self.tip_site]
        return pose

    def state(self, model: mujoco.MjModel, data: mujoco.MjData) -> ArmState:
        """Proprioception of the present state; the derived positions in `data` are brought up to date."""
        mujoco.mj_kinematics(model, data)
        fingers = data.qpos[self.finger_qpos]
        return ArmState(
            world_from_gripper=self.tip_pose(data),
            gripper_open=bool((fingers > _OPEN_SHARE * FINGER_OPEN_M).all()),
            finger_positions_m=fingers,
            joint_positions=data.qpos[self.qpos],
            joint_velocities=data.qvel[self.dofs],
        )
