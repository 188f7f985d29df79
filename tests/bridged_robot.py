"""The robot's computer behind a bridge, in this process: an arm of pure kinematics in real time, and a watchdog.

It goes on when a bridge is killed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from gnfactor import kinematics
from gnfactor.ros.config import CameraConfig, RobotConfig, load
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, RobotView
from gnfactor.ros.watchdog import Gate, Orders, Pose, Status
from tests.fake_env import make_camera, render
from tests.fake_robot import EYES, IMAGE_SIZE, ROBOTS, FakeRobot

FILES = {1: "franka_ros.yaml", 2: "fr3_ros2.yaml"}
STEP_S = 0.01


@cache
def bridge_config(ros: int = 1, *overrides: str) -> RobotConfig:
    """A robot's file with two made-up cameras behind a bridge; quick, so that tests are."""
    quick = (
        *("guard.min_workspace_points=100", "guard.max_speed_m_s=1.5", "guard.max_turn_speed_rad_s=2.5"),
        *("executor.speed_m_s=0.4", "executor.turn_speed_rad_s=2.0", "executor.rate_hz=50"),
        *("executor.joint_speed_rad_s=1.0", "executor.joint_acceleration_rad_s2=10"),
        *("guard.max_state_age_s=1", "guard.max_image_age_s=2"),
        "arm.joint_speed=[2.5,2.5,2.5,2.5,2.5,2.5,2.5]",
        *("link.type=rosbridge", "link.timeout_s=3", "link.uri=ws://127.0.0.1:1"),
    )
    config = load([str(ROBOTS / FILES[ros]), *quick, *overrides])
    cameras = {
        name: CameraConfig(color=f"/{name}/color", depth=f"/{name}/depth", info=f"/{name}/info", frame=f"{name}_frame")
        for name in EYES
    }
    return replace(config, cameras=cameras)


def status_of(config: RobotConfig) -> Status:
    """Of a watchdog that was started for this configuration."""
    actions = config.actions
    cancel = [name for name in (actions.trajectory, actions.move_group) if name is not None]
    return Status(target=config.topics.target or "", frame=config.arm.base_frame, cancel=cancel)


class Robot:
    """The robot's computer: arm, fingers, controllers and watchdog. It goes on when a bridge is killed."""

    def __init__(self, config: RobotConfig) -> None:
        self.config, self.lock = config, threading.RLock()
        self.fake = FakeRobot(config)
        self.gate = Gate(config.watchdog.timeout_s, status=status_of(config))
        self.clock_ahead_s = 1000.0
        self.took: list[dict[str, Any]] = []
        """Goals in the order in which they came."""
        self.finishes = True
        """Whether goals are ever answered."""
        self._ee = config.arm.ee_from_gripper.matrix
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now_s(self) -> float:
        return time.monotonic() + self.clock_ahead_s

    @property
    def base_from_ee(self) -> np.ndarray:
        return self.fake.state().base_from_gripper @ np.linalg.inv(self._ee)

    def obey(self, orders: Orders) -> None:
        if orders.cancel:
            self.fake.hold()
        elif orders.target is not None:
            self.pull(orders.target)

    def pull(self, target: Pose) -> None:
        base_from_ee = np.eye(4)
        base_from_ee[:3, :3] = rotation_of(target.quaternion_xyzw)
        base_from_ee[:3, 3] = target.position_m
        self.fake.stream(PoseTarget(0, self.now_s() + 1, base_from_ee @ self._ee))

    def measured(self) -> Pose:
        return Pose([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0])

    def start(self, action: str, goal: dict[str, Any]) -> None:
        """Take a goal of one of the actions."""
        names, later_s = self.config.actions, self.now_s() + 60
        self.took.append(goal)
        if action == names.recovery:
            self.fake.recover()
        elif action == names.grip_stop:
            self.fake.stop_fingers()
        elif action in (names.grip_move, names.grip_grasp):
            grasp = action == names.grip_grasp
            tolerance_m = goal["epsilon"]["outer"] if grasp else 0.0
            force_n = goal["force"] if grasp else 0.0
            self.fake.start_grip(
                GripCommand(0, later_s, goal["width"], goal["speed"], force_n, grasp=grasp, tolerance_m=tolerance_m)
            )
        elif action == names.trajectory:
            points = goal["trajectory"]["points"]
            times = [sum(np.array(list(point["time_from_start"].values())) * (1, 1e-9)) for point in points]
            positions, velocities = ([point[name] for point in points] for name in ("positions", "velocities"))
            self.fake.start_trajectory(
                JointTrajectory(0, later_s, np.array(times), np.array(positions), np.array(velocities))
            )
        else:
            constraints = goal["request"]["goal_constraints"][0]
            at = constraints["position_constraints"][0]["constraint_region"]["primitive_poses"][0]["position"]
            turn = constraints["orientation_constraints"][0]["orientation"]
            base_from_ee = np.eye(4)
            base_from_ee[:3, :3] = rotation_of([turn[axis] for axis in "xyzw"])
            base_from_ee[:3, 3] = [at[axis] for axis in "xyz"]
            self.fake.start_plan(PlanRequest(0, later_s, base_from_ee @ self._ee, True, 0.1))

    def views(self) -> dict[str, RobotView]:
        pose, now_s = self.fake.pose, self.now_s()
        seen = {name: render(make_camera(name, pose, IMAGE_SIZE), {}) for name in EYES}
        return {name: RobotView(view.camera, view.rgb, view.depth_m, now_s) for name, view in seen.items()}

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before_s = time.monotonic()
        while not self._over.wait(STEP_S):
            with self.lock:
                now_s = time.monotonic()
                self.fake.wait(now_s - before_s)
                before_s = now_s
                if self.config.watchdog.required:
                    self.obey(self.gate.tick(self.measured(), now_s))


def rotation_of(quaternion_xyzw: Any) -> np.ndarray:
    x, y, z, w = quaternion_xyzw
    angle = 2 * np.arctan2(np.linalg.norm([x, y, z]), w)
    axis = np.array([x, y, z]) / max(np.linalg.norm([x, y, z]), 1e-12)
    return kinematics.rotation_of(axis * angle)
