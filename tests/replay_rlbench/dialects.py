"""The classes that RLBench and PyRep have, with each dialect's own signatures, exceptions and habits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.replay_rlbench.errors import PYREP, RLBENCH
from tests.replay_rlbench.simulator import BASE_M, LOWER_M, REACH_M, TASK, UPPER_M, Task, World

DIALECTS = ("upstream", "peract_fork", "gnfactor_fork")


OUTSIDE = "A path could not be found because the target is outside of workspace."
NO_PATH = "A path could not be found. Most likely due to the target being inaccessible."


class InvalidTaskName(Exception):  # noqa: N818 (RLBench's name)
    """No such task."""


def name_to_task_class(task_file: str) -> type[Task]:
    if task_file != TASK:
        raise InvalidTaskName(f"no file for '{task_file}'")
    return Task


class CameraConfig:
    def __init__(
        self, rgb=True, rgb_noise=None, depth=True, depth_noise=None, point_cloud=True, mask=True,
        image_size=(128, 128), render_mode="opengl3", masks_as_one_channel=True, depth_in_meters=False,
    ) -> None:  # fmt: skip
        assert not depth_in_meters
        self.rgb, self.depth, self.image_size, self.render_mode = rgb, depth, image_size, render_mode


class ObservationConfig:
    """Upstream's."""

    def __init__(
        self, left_shoulder_camera=None, right_shoulder_camera=None, overhead_camera=None, wrist_camera=None,
        front_camera=None, joint_velocities=True, joint_velocities_noise=None, joint_positions=True,
        joint_positions_noise=None, joint_forces=True, joint_forces_noise=None, gripper_open=True, gripper_pose=True,
        gripper_matrix=False, gripper_joint_positions=False, gripper_touch_forces=False, wrist_camera_matrix=False,
        record_gripper_closing=False, task_low_dim_state=False,
    ) -> None:  # fmt: skip
        assert joint_velocities
        assert joint_positions
        assert gripper_pose
        assert gripper_joint_positions
        self.left_shoulder_camera, self.right_shoulder_camera = left_shoulder_camera, right_shoulder_camera
        self.overhead_camera, self.wrist_camera, self.front_camera = overhead_camera, wrist_camera, front_camera


class PerActObservationConfig(ObservationConfig):
    def __init__(
        self, left_shoulder_camera=None, right_shoulder_camera=None, overhead_camera=None, wrist_camera=None,
        front_camera=None, record_ignore_collisions=True, **others,
    ) -> None:  # fmt: skip
        cameras = (left_shoulder_camera, right_shoulder_camera, overhead_camera, wrist_camera, front_camera)
        super().__init__(*cameras, **others)


class GNFactorObservationConfig(ObservationConfig):
    def __init__(
        self, left_shoulder_camera=None, right_shoulder_camera=None, overhead_camera=None, wrist_camera=None,
        front_camera=None, record_ignore_collisions=True, nerf_multi_view=True, **others,
    ) -> None:  # fmt: skip
        cameras = (left_shoulder_camera, right_shoulder_camera, overhead_camera, wrist_camera, front_camera)
        super().__init__(*cameras, **others)


class Planner:
    """`EndEffectorPoseViaPlanning`, but for its method `action`."""

    def __init__(self, absolute_mode=True, frame="world", collision_checking=False) -> None:
        assert absolute_mode
        assert frame == "world"
        self._collision_checking = collision_checking

    def action_shape(self, scene: World) -> tuple[int, ...]:
        return (7,)

    def set_control_mode(self, robot: object) -> None:
        assert robot == "the robot"

    def plan(self, scene: World, action: np.ndarray, ignore_collisions: bool, leaves_shapes: bool) -> None:
        invalid = RLBENCH["InvalidActionError"]
        if action.shape != (7,) or not np.isclose(np.linalg.norm(action[3:]), 1):
            raise invalid("Action contained non unit quaternion!")
        if not ((action[:3] > LOWER_M) & (action[:3] < UPPER_M)).all():
            raise invalid(OUTSIDE)
        touched = [] if ignore_collisions else [shape for shape in scene.pyrep.shapes if shape.is_collidable()][:1]
        for shape in touched:
            shape.set_collidable(False)
        try:
            scene.fail("arm")
            if np.linalg.norm(action[:3] - BASE_M) > REACH_M:
                raise invalid(NO_PATH)
        finally:
            for shape in [] if leaves_shapes else touched:
                shape.set_collidable(True)
        scene.planned.append({"pose": action.copy(), "ignore_collisions": ignore_collisions})
        scene.move(action)


class UpstreamPlanner(Planner):
    def action(self, scene: World, action: np.ndarray) -> None:
        self.plan(scene, action, not self._collision_checking, leaves_shapes=False)


class ForkPlanner(Planner):
    def action(self, scene: World, action: np.ndarray, ignore_collisions: bool = True) -> None:
        self.plan(scene, action, ignore_collisions, leaves_shapes=True)


class Discrete:
    def __init__(self, attach_grasped_objects=True, detach_before_open=True) -> None:
        pass


class Mode:
    """`MoveArmThenGripper`, but for its method `action`."""

    def __init__(self, arm_action_mode: Any, gripper_action_mode: Any) -> None:
        self.arm_action_mode, self.gripper_action_mode = arm_action_mode, gripper_action_mode


class UpstreamMode(Mode):
    def action(self, scene: World, action: np.ndarray) -> None:
        assert action.shape == (8,), "upstream takes eight numbers"
        self.arm_action_mode.action(scene, np.array(action[:7]))
        scene.actuate(bool(action[7] > 0.5))


class ForkMode(Mode):
    def action(self, scene: World, action: np.ndarray) -> None:
        assert action.shape == (9,), "the forks take nine numbers"
        self.arm_action_mode.action(scene, np.array(action[:7]), bool(action[8]))
        scene.actuate(bool(action[7] > 0.5))


class TaskRunner:
    """`TaskEnvironment`, but for its method `reset`."""

    def __init__(self, world: World, mode: Any, task: Task) -> None:
        self.world, self._mode, self._variation = world, mode, 0
        world.task, task.world = task, world

    def get_name(self) -> str:
        return TASK

    def set_variation(self, v: int) -> None:
        if v >= self.variation_count():
            raise RLBENCH["TaskEnvironmentError"](f"Requested variation {v}, but there are only 3 variations.")
        self._variation = v

    def variation_count(self) -> int:
        return self.world.task.variation_count()

    def begin(self, placements: int | None) -> tuple[list[str], Any]:
        self.world.fail("reset")
        self.world.placements.append(placements)
        return self.world.task.init_episode(self._variation), self.world.observe()

    def get_observation(self) -> Any:
        return self.world.observe()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool]:
        self.world.actions.append(np.array(action))
        self._mode.action(self.world, action)
        _, over = self.world.task.success()
        return self.world.observe(), self.reward(), over

    def reward(self) -> float:
        return float(self.world.task.success()[0])

    def reset_to_demo(self, demo: Any) -> tuple[list[str], Any]:
        raise AssertionError("the stored demonstration would have to be a pickle of RLBench's")

    def get_demos(self, amount: int, live_demos: bool = False) -> list[Any]:
        raise AssertionError("the replay records nothing")


class UpstreamTaskEnvironment(TaskRunner):
    def reset(self, demo: Any = None) -> tuple[list[str], Any]:
        return self.begin(None if demo is None else demo.num_reset_attempts)


class ForkTaskEnvironment(TaskRunner):
    def reset(self) -> tuple[list[str], Any]:
        return self.begin(None)

    def get_task_descriptions(self) -> list[str]:
        """As in the forks: it prepares another episode, so that the scene is no longer the one that was seen."""
        return self.world.task.init_episode(self._variation)

    def reward(self) -> float:
        return 0.5  # the forks give a task's own reward, which may be more than success and failure


class UpstreamDemo:
    def __init__(self, observations, random_seed=None, num_reset_attempts=None) -> None:
        self._observations, self.random_seed, self.num_reset_attempts = observations, random_seed, num_reset_attempts

    def __len__(self) -> int:
        return len(self._observations)

    def __getitem__(self, i: int) -> Any:
        return self._observations[i]


class ForkDemo:
    def __init__(self, observations, random_seed=None) -> None:
        self._observations, self.random_seed = observations, random_seed


def environment_class(world: World, runner: type[TaskRunner]) -> type:
    """`Environment`, whose simulator is `world`."""

    class Environment:
        def __init__(
            self, action_mode, dataset_root="", obs_config=None, headless=False, static_positions=False,
            robot_setup="panda",
        ) -> None:  # fmt: skip
            assert headless
            self._mode, self._launched = action_mode, False
            world.config = obs_config

        def launch(self) -> None:
            world.fail("launch")
            self._mode.arm_action_mode.set_control_mode("the robot")
            self._launched = True

        def shutdown(self) -> None:
            assert self._launched
            self._launched = False

        def get_task(self, task_class: type[Task]) -> TaskRunner:
            assert self._launched
            return runner(world, self._mode, task_class(world.pyrep, "the robot"))

    return Environment


def classes(dialect: str, world: World) -> dict[str, dict[str, Any]]:
    """Contents of the modules of RLBench and PyRep, by module."""
    forked = dialect != "upstream"
    config = {"upstream": ObservationConfig, "peract_fork": PerActObservationConfig}
    runner = ForkTaskEnvironment if forked else UpstreamTaskEnvironment
    return {
        "pyrep": {"PyRep": type(world.pyrep)},
        "pyrep.const": {
            "RenderMode": SimpleNamespace(OPENGL="opengl", OPENGL3="opengl3"),
            "ObjectType": SimpleNamespace(SHAPE="shape"),
        },
        "pyrep.errors": PYREP,
        "rlbench": {},
        "rlbench.action_modes": {},
        "rlbench.action_modes.action_mode": {"MoveArmThenGripper": ForkMode if forked else UpstreamMode},
        "rlbench.action_modes.arm_action_modes": {
            "EndEffectorPoseViaPlanning": ForkPlanner if forked else UpstreamPlanner
        },
        "rlbench.action_modes.gripper_action_modes": {"Discrete": Discrete},
        "rlbench.backend": {},
        "rlbench.backend.exceptions": RLBENCH,
        "rlbench.demo": {"Demo": ForkDemo if forked else UpstreamDemo},
        "rlbench.environment": {"Environment": environment_class(world, runner)},
        "rlbench.observation_config": {
            "CameraConfig": CameraConfig,
            "ObservationConfig": config.get(dialect, GNFactorObservationConfig),
        },
        "rlbench.task_environment": {"TaskEnvironment": runner},
        "rlbench.utils": {"InvalidTaskName": InvalidTaskName, "name_to_task_class": name_to_task_class},
    }
