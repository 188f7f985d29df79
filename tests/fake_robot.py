"""A robot of pure kinematics behind a RobotLink: it follows commands, records them, and fails on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from gnfactor import kinematics
from gnfactor.ros.config import CameraConfig, RobotConfig, load
from gnfactor.ros.link import (
    GripCommand,
    JointTrajectory,
    PlanRequest,
    PoseTarget,
    Progress,
    RobotMode,
    RobotState,
    RobotView,
)
from tests.fake_env import make_camera, render

ROBOTS = Path(__file__).resolve().parent.parent / "configs/robot"
READY = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
EYES = ("front", "overhead")
IMAGE_SIZE = (64, 64)
SPEED_M_S, FINGER_SPEED_M_S = 0.5, 0.2


@cache
def robot_config(*overrides: str) -> RobotConfig:
    """The Panda's file with two made-up cameras."""
    camera = CameraConfig(color="c", depth="d", info="i", frame="f")
    config = load([str(ROBOTS / "franka_ros.yaml"), "guard.min_workspace_points=100", *overrides])
    return replace(config, cameras=dict.fromkeys(EYES, camera))


@dataclass
class FakeRobot:
    """Time passes only in `wait`. `record` has every command in order, each hold and release included."""

    config: RobotConfig
    held_width_m: float = 0.0
    """Thickness of what is between the fingers."""
    on_state: Callable[[FakeRobot], None] = lambda _: None
    """Called before every reading of the state, to make something fail."""
    alter_state: Callable[[RobotState], RobotState] = lambda state: state
    alter_view: Callable[[RobotView], RobotView] = lambda view: view
    follows: bool = True
    """Whether the arm follows what it is told."""
    plan_fails: str | None = None
    record: list[object] = field(default_factory=list[object])

    def __post_init__(self) -> None:
        self.clock_s, self.stamp_s = 100.0, 100.0
        self.arm = self.config.arm.model()
        self.joints, self.fingers_m = READY.copy(), np.full(2, 0.04)
        self.velocities = np.zeros(7)
        self.mode = RobotMode.MOVE
        self.frozen = False
        self._target: np.ndarray | None = None
        self._way: tuple[float, JointTrajectory] | None = None
        self._grip: GripCommand | None = None
        self._progress = Progress(0, "done")

    @property
    def pose(self) -> np.ndarray:
        return kinematics.gripper_pose(self.arm, self.joints)

    @property
    def holding(self) -> bool:
        return bool(self.record) and self.record[-1] in ("hold", "close") and self._target is None and self._way is None

    def now_s(self) -> float:
        return self.clock_s

    def wait(self, duration_s: float) -> None:
        before = self.joints.copy()
        self.clock_s += duration_s
        if not self.frozen:
            self.stamp_s = self.clock_s
        if self.follows:
            self._follow_target(duration_s)
            self._follow_way()
        self._move_fingers(duration_s)
        self.velocities = (self.joints - before) / duration_s

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        self.clock_s += 1e-3
        if not self.frozen:
            self.stamp_s = self.clock_s
        seen = {name: render(make_camera(name, self.pose, IMAGE_SIZE), {}) for name in EYES}
        return {
            name: self.alter_view(RobotView(view.camera, view.rgb, view.depth_m, self.clock_s))
            for name, view in seen.items()
        }

    def state(self) -> RobotState:
        self.on_state(self)
        base_from_gripper = np.linalg.inv(self.arm.world_from_base) @ self.pose
        state = RobotState(
            self.stamp_s,
            self.mode,
            (),
            self.joints.copy(),
            self.velocities.copy(),
            base_from_gripper,
            self.fingers_m.copy(),
        )
        return self.alter_state(state)

    def stream(self, target: PoseTarget) -> None:
        self.record.append(target)
        self._target = self.arm.world_from_base @ target.base_from_gripper

    def start_trajectory(self, trajectory: JointTrajectory) -> None:
        self.record.append(trajectory)
        self._way, self._progress = (self.clock_s, trajectory), Progress(trajectory.sequence, "running")

    def start_plan(self, request: PlanRequest) -> None:
        self.record.append(request)
        if self.plan_fails is not None:
            self._progress = Progress(request.sequence, "failed", self.plan_fails)
            return
        reach = kinematics.best_reach(self.arm, self.arm.world_from_base @ request.base_from_gripper, self.joints)
        steps = np.linspace(0, 1, 40)[1:, None]
        positions = self.joints + steps * (reach.joints - self.joints)
        times_s = steps[:, 0] * 4
        way = JointTrajectory(request.sequence, request.expires_s, times_s, positions, np.zeros_like(positions))
        self._way, self._progress = (self.clock_s, way), Progress(request.sequence, "running")

    def start_grip(self, command: GripCommand) -> None:
        self.record.append(command)
        self._grip, self._progress = command, Progress(command.sequence, "running")

    def progress(self) -> Progress:
        return self._progress

    def hold(self) -> None:
        self.record.append("hold")
        self._target = self._way = None

    def recover(self) -> None:
        self.record.append("recover")
        self.mode = RobotMode.MOVE

    def stop_fingers(self) -> None:
        self.record.append("stop")
        self._grip = None

    def close(self) -> None:
        self.hold()
        self.record.append("close")

    def _follow_target(self, duration_s: float) -> None:
        if self._target is None:
            return
        distance_m, turn_rad = kinematics.between(self.pose, self._target)
        share = min(1.0, SPEED_M_S * duration_s / max(distance_m, 0.2 * turn_rad, 1e-9))
        reach = kinematics.search(self.arm, kinematics.along(self.pose, self._target, share), self.joints)
        self.joints = reach.joints if reach.arrived else self.joints

    def _follow_way(self) -> None:
        if self._way is None:
            return
        began_s, way = self._way
        since_s = self.clock_s - began_s
        times_s = np.concatenate(([0.0], way.times_s))
        path = np.concatenate((self.joints[None], way.positions))
        self.joints = np.array([np.interp(since_s, times_s, positions) for positions in path.T])
        if since_s >= times_s[-1]:
            self._way, self._progress = None, Progress(way.sequence, "done")

    def _move_fingers(self, duration_s: float) -> None:
        if self._grip is None:
            return
        goal_m = max(self._grip.width_m, self.held_width_m) / 2
        step_m = FINGER_SPEED_M_S * duration_s
        self.fingers_m = self.fingers_m + np.clip(goal_m - self.fingers_m, -step_m, step_m)
        if np.allclose(self.fingers_m, goal_m):
            self._progress, self._grip = Progress(self._grip.sequence, "done"), None
