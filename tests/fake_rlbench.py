"""A stand-in for RLBench and PyRep in which time is visible, to record demonstrations from.

A step of the simulation is counted; every picture has the count at the moment when it was drawn as its colour, every
observation has it as its first joint position, and depths are those of the table's plane, from wherever a camera
stands. A demonstration moves, stops, closes the gripper, moves, and stops. Signatures are those of the contract.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
PLANE_M = 0.75
NEAR_M, FAR_M = 0.01, 4.5
PYREP_ERRORS = ("ConfigurationError", "ConfigurationPathError", "IKError")
RLBENCH_ERRORS = ("BoundaryError", "InvalidActionError", "WaypointError")
SEGMENT = 6
"""Frames of each motion."""


class Simulator:
    """What there is one of in a process."""

    def __init__(self) -> None:
        self.steps = 0
        self.running = False
        self.failures: list[str] = []
        """How the next demonstrations go wrong, one after the other: "late", "unplaceable" or "lost connection"."""
        self.sensors: list[VisionSensor] = []
        self.launches = 0

    def step(self) -> None:
        self.steps += 1


simulator = Simulator()


class RenderMode(Enum):
    OPENGL, OPENGL3 = 0, 6


class VisionSensor:
    def __init__(self, width: int, height: int, angle_deg: float, explicit: bool, far_m: float) -> None:
        self.size, self.far_m, self._angle, self._explicit = (width, height), far_m, np.deg2rad(angle_deg), explicit
        self.pose, self.renderable = np.eye(4), True
        self._drawn: tuple[int, np.ndarray] | None = None
        simulator.sensors.append(self)

    @staticmethod
    def create(
        resolution: list[int],
        explicit_handling: bool = False,
        perspective_mode: bool = True,
        show_volume_not_detecting: bool = True,
        show_volume_detecting: bool = True,
        passive: bool = False,
        use_local_lights: bool = False,
        show_fog: bool = True,
        near_clipping_plane: float = 0.01,
        far_clipping_plane: float = 10.0,
        view_angle: float = 60.0,
        ortho_size: float = 1.0,
        sensor_size: object = None,
        render_mode: RenderMode = RenderMode.OPENGL3,
        position: object = None,
        orientation: object = None,
    ) -> VisionSensor:
        width, height = resolution
        return VisionSensor(width, height, view_angle, explicit_handling, far_clipping_plane)

    def set_renderable(self, value: bool) -> None:
        self.renderable = value

    def set_matrix(self, matrix: np.ndarray, relative_to: object = None) -> None:
        assert matrix.shape == (4, 4)
        self.pose = matrix

    def get_matrix(self, relative_to: object = None) -> np.ndarray:
        return self.pose

    def get_intrinsic_matrix(self) -> np.ndarray:
        focal = max(self.size) / 2 / np.tan(self._angle / 2)
        return np.array([[-focal, 0, self.size[0] / 2], [0, -focal, self.size[1] / 2], [0, 0, 1]])

    def handle_explicitly(self) -> None:
        assert self._explicit, "RuntimeError of PyRep"
        self._drawn = (simulator.steps, plane_depth(self.pose, self.get_intrinsic_matrix(), self.size, self.far_m))

    def capture_rgb(self) -> np.ndarray:
        assert self._drawn is not None, "nothing was drawn yet"
        return np.full((self.size[1], self.size[0], 3), self._drawn[0] % 256 / 255, np.float32)

    def capture_depth(self, in_meters: bool = False) -> np.ndarray:
        assert self._drawn is not None
        assert in_meters
        return self._drawn[1]

    def remove(self) -> None:
        simulator.sensors.remove(self)


def plane_depth(pose: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int], far_m: float) -> np.ndarray:
    """Depth of the table's plane, or the far plane's; cameras look along z, and focal lengths turn x and y."""
    column, row = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack(((column - intrinsics[0, 2]) / intrinsics[0, 0], (row - intrinsics[1, 2]) / intrinsics[1, 1]), -1)
    downwards = rays @ pose[2, :2] + pose[2, 2]
    depth = np.where(downwards < -1e-6, (PLANE_M - pose[2, 3]) / np.minimum(downwards, -1e-6), far_m)
    return np.minimum(depth, far_m).astype(np.float32)


class Task:
    VARIATIONS = 3

    def __init__(self, pyrep: object, robot: object, name: str | None = None) -> None:
        self.variation = 0
        self.ending: Callable[[], None] | None = None

    def init_episode(self, index: int) -> list[str]:
        self.variation = index
        return [f"push the button number {index}", f"press {index}"]

    def variation_count(self) -> int:
        return self.VARIATIONS

    def success(self) -> tuple[bool, bool]:
        return False, False

    def decorate_observation(self, observation: Any) -> Any:
        return observation

    def get_name(self) -> str:
        return type(self).__name__


class PushButtons(Task):
    pass


class OpenDrawer(Task):
    VARIATIONS = 2


class Demo:
    def __init__(self, observations: list[Any], random_seed: object = None) -> None:
        self._observations, self.random_seed = observations, random_seed

    def __len__(self) -> int:
        return len(self._observations)

    def __getitem__(self, i: int) -> Any:
        return self._observations[i]


class TaskEnvironmentError(Exception):
    pass


class DemoError(Exception):
    pass


class InvalidTaskName(Exception):  # noqa: N818
    pass


class CameraConfig:
    def __init__(
        self,
        rgb: bool = True,
        rgb_noise: object = None,
        depth: bool = True,
        depth_noise: object = None,
        point_cloud: bool = True,
        mask: bool = True,
        image_size: tuple[int, int] = (128, 128),
        render_mode: RenderMode = RenderMode.OPENGL3,
        masks_as_one_channel: bool = True,
        depth_in_meters: bool = False,
    ) -> None:
        assert not depth_in_meters
        self.seen, self.size = rgb and depth, image_size


class ObservationConfig:
    def __init__(self, **settings: Any) -> None:
        self.cameras: dict[str, CameraConfig] = {name: settings[f"{name}_camera"] for name in CAMERAS}


class ObservationConfigOfGNFactor(ObservationConfig):
    def __init__(self, nerf_multi_view: bool = True, **settings: Any) -> None:
        super().__init__(**settings)


class Planning:
    def action(self, scene: object, action: np.ndarray) -> None: ...


class PlanningOfForks:
    def action(self, scene: object, action: np.ndarray, ignore_collisions: bool = True) -> None: ...


class MoveArmThenGripper:
    def __init__(self, arm_action_mode: object, gripper_action_mode: object) -> None: ...


class Discrete:
    pass


class TaskEnvironment:
    def __init__(self, task: Task, config: ObservationConfig, dialect: str) -> None:
        self._task, self._config, self._dialect = task, config, dialect
        self._variation, self._flag = 0, False
        simulator.running = True

    def get_observation(self) -> Any:
        raise AssertionError("nobody looks while a demonstration is recorded")

    def step(self, action: np.ndarray) -> Any:
        raise AssertionError("nobody acts while a demonstration is recorded")

    def set_variation(self, v: int) -> None:
        assert v < self._task.variation_count()
        self._variation = v

    def reset(self) -> tuple[list[str], Any]:
        self._target_m = np.random.uniform(0.1, 0.4)  # RLBench draws from the global generator
        if simulator.failures[:1] == ["unplaceable"]:
            simulator.failures.pop(0)
            raise TaskEnvironmentError("Could not place the task")
        texts = self._task.init_episode(self._variation)
        for _ in range(10):
            simulator.step()
        return texts, self._observe(0.0)

    def get_demos(
        self,
        amount: int,
        live_demos: bool = False,
        image_paths: bool = False,
        callable_each_step: Callable[..., None] | None = None,
        max_attempts: int = 10,
        random_selection: bool = True,
        from_episode_number: int = 0,
    ) -> list[Demo]:
        assert live_demos
        demos: list[Demo] = []
        for _ in range(amount):
            for _ in range(max_attempts):
                self.reset()
                try:
                    demos.append(self._demo())
                    break
                except Exception:  # as RLBench does
                    continue
            else:
                raise RuntimeError("Could not collect demos.")
        return demos

    def _demo(self) -> Demo:
        simulator.step()
        frames = [self._observe(0.0)]
        failure = simulator.failures.pop(0) if simulator.failures else ""
        for segment, flag in enumerate((False, True, False)):
            self._flag = flag
            for frame in range(SEGMENT):
                simulator.step()
                last = frame == SEGMENT - 1
                # the last motion ends at speed, which is no stop
                frames.append(self._observe(0.01 if last and segment < 2 else 0.5, is_open=segment == 0))
            if failure == "late" and segment == 1:
                raise DemoError("the demonstration was not successful")
        if failure == "lost connection":
            raise RuntimeError("The call failed on the simulator's side.")
        return Demo(frames)

    def _observe(self, speed: float, is_open: bool = True) -> Any:
        pictures: dict[str, Any] = {}
        misc: dict[str, Any] = {}
        for number, (name, camera) in enumerate(self._config.cameras.items()):
            width, height = camera.size
            pose = np.diag([1.0, -1.0, -1.0, 1.0])
            pose[:3, 3] = (0.1 * number, 0, 2.0)
            intrinsics = np.array([[-width, 0, width / 2], [0, -width, height / 2], [0, 0, 1]])
            depth_m = plane_depth(pose, intrinsics, camera.size, FAR_M)
            seen = camera.seen
            pictures[f"{name}_rgb"] = np.full((height, width, 3), simulator.steps % 256, np.uint8) if seen else None
            pictures[f"{name}_depth"] = (depth_m - NEAR_M) / (FAR_M - NEAR_M) if seen else None
            misc |= {f"{name}_camera_extrinsics": pose, f"{name}_camera_intrinsics": intrinsics}
            misc |= {f"{name}_camera_near": NEAR_M, f"{name}_camera_far": FAR_M}
        flags = {} if self._dialect == "upstream" else {"ignore_collisions": np.array(float(self._flag))}
        return self._task.decorate_observation(
            SimpleNamespace(
                **pictures,
                **flags,
                misc=misc,
                joint_positions=np.full(7, float(simulator.steps)),
                joint_velocities=np.full(7, speed),
                gripper_open=float(is_open),
                gripper_pose=np.array([self._target_m, 0, 1.0, 1.0, 0, 0, 0]),
                gripper_joint_positions=np.full(2, 0.04 if is_open else 0.01),
            )
        )


class TaskEnvironmentOfUpstream(TaskEnvironment):
    def reset(self, demo: Demo | None = None) -> tuple[list[str], Any]:
        return super().reset()


class Environment:
    def __init__(
        self,
        action_mode: MoveArmThenGripper,
        dataset_root: str = "",
        obs_config: ObservationConfig | None = None,
        headless: bool = False,
    ) -> None:
        assert headless
        assert obs_config is not None
        self._config = obs_config

    def launch(self) -> None:
        simulator.launches += 1

    def shutdown(self) -> None:
        simulator.running = False

    def get_task(self, task_class: type[Task]) -> TaskEnvironment:
        dialect = str(sys.modules["rlbench"].dialect)
        kind = TaskEnvironmentOfUpstream if dialect == "upstream" else TaskEnvironment
        return kind(task_class(self, None), self._config, dialect)


def name_to_task_class(task_file: str) -> type[Task]:
    found = {"push_buttons": PushButtons, "open_drawer": OpenDrawer}
    if task_file not in found:
        raise InvalidTaskName(f"the task file '{task_file}' does not exist")
    return found[task_file]


def modules(dialect: str) -> dict[str, ModuleType]:
    """What `sys.modules` holds where this RLBench is installed."""
    upstream, ours = dialect == "upstream", sys.modules[__name__]
    contents: dict[str, dict[str, Any]] = {
        "pyrep": {"PyRep": object},
        "pyrep.const": {"RenderMode": RenderMode, "ObjectType": SimpleNamespace(SHAPE=1)},
        "pyrep.errors": {name: type(name, (Exception,), {}) for name in PYREP_ERRORS},
        "pyrep.objects": {},
        "pyrep.objects.vision_sensor": {"VisionSensor": VisionSensor},
        "rlbench": {"dialect": dialect},
        "rlbench.action_modes": {},
        "rlbench.action_modes.action_mode": {"MoveArmThenGripper": MoveArmThenGripper},
        "rlbench.action_modes.arm_action_modes": {
            "EndEffectorPoseViaPlanning": Planning if upstream else PlanningOfForks
        },
        "rlbench.action_modes.gripper_action_modes": {"Discrete": Discrete},
        "rlbench.backend": {},
        "rlbench.backend.exceptions": {
            **{name: type(name, (Exception,), {}) for name in RLBENCH_ERRORS},
            "TaskEnvironmentError": TaskEnvironmentError,
        },
        "rlbench.demo": {"Demo": Demo},
        "rlbench.environment": {"Environment": Environment},
        "rlbench.observation_config": {
            "CameraConfig": CameraConfig,
            "ObservationConfig": ObservationConfigOfGNFactor if dialect == "gnfactor_fork" else ObservationConfig,
        },
        "rlbench.task_environment": {"TaskEnvironment": TaskEnvironmentOfUpstream if upstream else TaskEnvironment},
        "rlbench.utils": {"InvalidTaskName": InvalidTaskName, "name_to_task_class": name_to_task_class},
    }
    made: dict[str, ModuleType] = {}
    for name, names in contents.items():
        made[name] = ModuleType(name)
        vars(made[name]).update(names, __spec__=ModuleSpec(name, None), __file__=ours.__file__, __path__=[])
    return made


def forget() -> None:
    """Let those of our modules that import RLBench do so again, since it may be another one by then."""
    package = sys.modules.get("gnfactor.envs.rlbench")
    for name in ("api", "outcomes", "planning", "env"):
        sys.modules.pop(f"gnfactor.envs.rlbench.{name}", None)
        vars(package or SimpleNamespace()).pop(name, None)


@contextmanager
def installed(dialect: str, folder: Path) -> Iterator[Simulator]:
    """Inside, this RLBench can be imported; `folder` is where CoppeliaSim would be."""
    before = {name: os.environ.get(name) for name in ("COPPELIASIM_ROOT", "DISPLAY")}
    made = modules(dialect)
    os.environ.update(COPPELIASIM_ROOT=str(folder), DISPLAY=":0")
    forget()
    sys.modules.update(made)
    simulator.__init__()
    try:
        yield simulator
    finally:
        forget()
        for name in made:
            sys.modules.pop(name, None)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
