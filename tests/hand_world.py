"""A robot whose cameras see the built-in world's arm where the robot's joints are: pictures with a hand in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import mujoco
import numpy as np

from gnfactor import kinematics
from gnfactor.envs.base import SeededScene
from gnfactor.envs.tabletop.arm import Arm
from gnfactor.envs.tabletop.cameras import tabletop_cameras
from gnfactor.envs.tabletop.rendering import RayRenderer
from gnfactor.envs.tabletop.robot import JOINT_4_OFFSET, REST_JOINTS
from gnfactor.envs.tabletop.world import TabletopEnv
from gnfactor.ros.calibration.looking import Look, poses_around
from gnfactor.ros.config import CameraConfig, PoseConfig, RobotConfig
from gnfactor.ros.link import RobotView
from gnfactor.scene import View
from tests.fake_robot import FakeRobot, robot_config

REST = REST_JOINTS + np.eye(7)[3] * JOINT_4_OFFSET
"""In the manufacturer's convention."""
SIZE = (256, 256)
EYES = ("front", "left_shoulder")


@cache
def hand_config(*overrides: str) -> RobotConfig:
    """The Panda's file with two cameras of the built-in world, and the gripper exactly where it has it."""
    camera = CameraConfig(color="c", depth="d", info="i", frame="f")
    half_turn = np.deg2rad(135.1) / 2
    gripper = PoseConfig((0.0014, 0.0014, 0.1104), (0.0, 0.0, float(np.sin(half_turn)), float(np.cos(half_turn))))
    config = robot_config(*overrides)
    arm = replace(config.arm, flange_from_gripper=gripper)
    return replace(config, arm=arm, cameras=dict.fromkeys(EYES, camera))


class Studio:
    """One scene of the built-in world, photographed with the arm anywhere."""

    def __init__(self) -> None:
        env = TabletopEnv((), (8, 8))
        env.reset(SeededScene("open_drawer", 0, 0))
        self.model, self.data = env.model, env.data
        self.arm = Arm(self.model)
        self._renderer = RayRenderer(self.model)

    def photograph(self, joints: np.ndarray, fingers_m: np.ndarray, names: Iterable[str] = EYES) -> Mapping[str, View]:
        self.data.qpos[self.arm.qpos] = joints - np.eye(7)[3] * JOINT_4_OFFSET
        self.data.qpos[self.arm.finger_qpos] = fingers_m
        mujoco.mj_kinematics(self.model, self.data)
        cameras = tabletop_cameras(self.arm.tip_pose(self.data), SIZE, tuple(names))
        return dict(zip(cameras, self._renderer.render(self.data, list(cameras.values())), strict=True))


@cache
def studio() -> Studio:
    return Studio()


@dataclass
class HandRobot(FakeRobot):
    """`guided` are joint positions into which a hand leads it: one at each call of `guide`."""

    guided: list[np.ndarray] = field(default_factory=list[np.ndarray])
    world_from_wrong: np.ndarray = field(default_factory=lambda: np.eye(4))
    """What is wrong with every camera's pose as calibrated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.joints = REST.copy()

    def guide(self) -> None:
        self.joints = self.guided.pop(0)

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        self.clock_s += 1e-3
        self.stamp_s = self.clock_s
        seen = studio().photograph(self.joints, self.fingers_m, self.config.cameras)
        views = {name: RobotView(view.camera, view.rgb, view.depth_m, self.clock_s) for name, view in seen.items()}
        return {name: self.alter_view(displaced(views[name], self.world_from_wrong)) for name in self.config.cameras}


def displaced(view: RobotView, world_from_wrong: np.ndarray) -> RobotView:
    """The same picture from a camera that is believed to be elsewhere."""
    camera = view.camera
    return replace(view, camera=replace(camera, world_from_camera=world_from_wrong @ camera.world_from_camera))


def guided_joints(config: RobotConfig) -> list[np.ndarray]:
    """Joint positions that bring the gripper to poses about one in the middle of the workspace, as a hand would."""
    model = config.arm.model()
    middle = kinematics.gripper_pose(model, REST)
    middle[2, 3] -= 0.2
    poses = (middle, *poses_around(middle))
    return [kinematics.best_reach(model, pose, REST).joints for pose in poses]


@cache
def right_looks(count: int) -> tuple[Look, ...]:
    """Looks of a robot whose calibration is right."""
    robot = HandRobot(hand_config())
    looks: list[Look] = []
    for joints in guided_joints(robot.config)[:count]:
        robot.joints = joints
        looks.append(Look(robot.observe(1.0), robot.state(), robot.pose))
    return tuple(looks)


def with_views(look: Look, alter: object) -> Look:
    """The look with every view changed by a function."""
    assert callable(alter)
    return replace(look, views={name: alter(view) for name, view in look.views.items()})
