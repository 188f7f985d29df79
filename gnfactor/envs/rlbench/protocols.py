"""The part of RLBench and PyRep that is used here, as types: their classes, with the members that are called.

An object of theirs is annotated with the class of the same name here, so that the type checker knows what may be done
with it without either package being installed. A member that is not here may not be used; one that is here has an
entry in `contract.json`, which says in which of the three dialects of RLBench it exists, and with which parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@runtime_checkable
class RenderMode(Protocol):
    """`pyrep.const.RenderMode`: how a camera draws."""

    OPENGL: RenderMode
    OPENGL3: RenderMode


@runtime_checkable
class ObjectType(Protocol):
    """`pyrep.const.ObjectType`: kinds of things in a scene."""

    SHAPE: ObjectType


@runtime_checkable
class Object(Protocol):
    """`pyrep.objects.object.Object`: a thing in a scene; only what shapes are asked here."""

    def is_collidable(self) -> bool: ...

    def set_collidable(self, value: bool) -> None: ...


@runtime_checkable
class PyRep(Protocol):
    """`pyrep.pyrep.PyRep`: the simulation."""

    def get_objects_in_tree(self, *, object_type: ObjectType) -> list[Object]:
        """All objects of a kind."""
        ...


@runtime_checkable
class CameraConfig(Protocol):
    """`rlbench.observation_config.CameraConfig`: what of one camera is wanted."""

    def __init__(
        self,
        *,
        rgb: bool = True,
        depth: bool = True,
        point_cloud: bool = True,
        mask: bool = True,
        image_size: tuple[int, int] = (128, 128),
        render_mode: RenderMode = ...,
        depth_in_meters: bool = False,
    ) -> None:
        """`image_size` is (width, height)."""
        ...


@runtime_checkable
class ObservationConfig(Protocol):
    """`rlbench.observation_config.ObservationConfig`: what an observation holds."""

    def __init__(
        self,
        *,
        left_shoulder_camera: CameraConfig = ...,
        right_shoulder_camera: CameraConfig = ...,
        overhead_camera: CameraConfig = ...,
        wrist_camera: CameraConfig = ...,
        front_camera: CameraConfig = ...,
        joint_velocities: bool = True,
        joint_positions: bool = True,
        joint_forces: bool = True,
        gripper_open: bool = True,
        gripper_pose: bool = True,
        gripper_joint_positions: bool = False,
        task_low_dim_state: bool = False,
    ) -> None: ...


@runtime_checkable
class Observation(Protocol):
    """`rlbench.backend.observation.Observation`: one moment.

    Pictures and whatever else was not asked for are None.
    """

    left_shoulder_rgb: NDArray[np.uint8] | None
    left_shoulder_depth: Floats | None
    right_shoulder_rgb: NDArray[np.uint8] | None
    right_shoulder_depth: Floats | None
    overhead_rgb: NDArray[np.uint8] | None
    overhead_depth: Floats | None
    wrist_rgb: NDArray[np.uint8] | None
    wrist_depth: Floats | None
    front_rgb: NDArray[np.uint8] | None
    front_depth: Floats | None
    joint_velocities: Floats
    joint_positions: Floats
    gripper_open: float
    gripper_pose: Floats
    gripper_joint_positions: Floats
    misc: Mapping[str, Any]


@runtime_checkable
class FlaggedObservation(Observation, Protocol):
    """`rlbench.backend.observation.Observation` of the two forks."""

    ignore_collisions: Floats


@runtime_checkable
class Demo(Protocol):
    """`rlbench.demo.Demo`: the observations of one demonstration; `num_reset_attempts` is upstream's alone."""

    random_seed: tuple[Any, ...]
    num_reset_attempts: int

    def __init__(
        self,
        observations: Sequence[Observation],
        random_seed: tuple[Any, ...] | None = None,
        num_reset_attempts: int | None = None,
    ) -> None:
        """`num_reset_attempts` exists in upstream alone."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Observation: ...


@runtime_checkable
class ArmActionMode(Protocol):
    """`rlbench.action_modes.arm_action_modes.ArmActionMode`: what the arm does with its part of an action."""


@runtime_checkable
class EndEffectorPoseViaPlanning(ArmActionMode, Protocol):
    """`rlbench.action_modes.arm_action_modes.EndEffectorPoseViaPlanning`: plans a path to a pose of the gripper."""

    def __init__(self, *, absolute_mode: bool = True, collision_checking: bool = False) -> None: ...

    def action(self, scene: Scene, action: Floats, ignore_collisions: bool = True) -> None:
        """Plan and go; `ignore_collisions` exists in the two forks alone."""
        ...

    def action_shape(self, scene: Scene) -> tuple[int, ...]: ...

    def set_control_mode(self, robot: object) -> None: ...


@runtime_checkable
class GripperActionMode(Protocol):
    """`rlbench.action_modes.gripper_action_modes.GripperActionMode`."""


@runtime_checkable
class Discrete(GripperActionMode, Protocol):
    """`rlbench.action_modes.gripper_action_modes.Discrete`: opens or closes."""

    def __init__(self) -> None: ...


@runtime_checkable
class ActionMode(Protocol):
    """`rlbench.action_modes.action_mode.ActionMode`: what an action consists of."""


@runtime_checkable
class MoveArmThenGripper(ActionMode, Protocol):
    """`rlbench.action_modes.action_mode.MoveArmThenGripper`."""

    def __init__(self, arm_action_mode: ArmActionMode, gripper_action_mode: GripperActionMode) -> None: ...


@runtime_checkable
class Task(Protocol):
    """`rlbench.backend.task.Task`: `init_episode` and `decorate_observation` are meant to be overridden, and called by
    RLBench.
    """

    def __init__(self, pyrep: PyRep | None, robot: object) -> None: ...

    def variation_count(self) -> int: ...

    def success(self) -> tuple[bool, bool]:
        """Whether the goal is reached, and whether the episode is over."""
        ...

    def init_episode(self, index: int) -> list[str]:
        """Prepare a variation of the task; returns ways to say the goal."""
        ...

    def decorate_observation(self, observation: Observation) -> Observation:
        """See every observation before anybody else does."""
        ...


@runtime_checkable
class Scene(Protocol):
    """`rlbench.backend.scene.Scene`: what stands in the simulator; action modes are given it."""

    pyrep: PyRep
    task: Task

    def register_step_callback(self, func: Callable[[], None]) -> None:
        """Call this after every step of the simulation in which the arm moves."""
        ...


@runtime_checkable
class TaskEnvironment(Protocol):
    """`rlbench.task_environment.TaskEnvironment`: one task in the simulator."""

    def set_variation(self, v: int) -> None: ...

    def reset(self, demo: Demo | None = None) -> tuple[list[str], Observation]:
        """Make a scene with NumPy's global generator; returns ways to say the goal, and what is seen first.

        `demo` exists in upstream alone, and says how often its recorder placed the objects.
        """
        ...

    def step(self, action: Floats) -> tuple[Observation, float, bool]:
        """Carry out one action; returns what is seen then, a reward, and whether the episode is over."""
        ...

    def get_observation(self) -> Observation: ...

    def get_demos(
        self,
        amount: int,
        live_demos: bool = False,
        *,
        max_attempts: int = 10,
    ) -> list[Demo]:
        """Let RLBench's own motions do the task; raises RuntimeError when that many attempts have failed."""
        ...


@runtime_checkable
class Environment(Protocol):
    """`rlbench.environment.Environment`: the simulator with a robot in it."""

    def __init__(
        self, action_mode: ActionMode, *, obs_config: ObservationConfig = ..., headless: bool = False
    ) -> None: ...

    def launch(self) -> None: ...

    def shutdown(self) -> None: ...

    def get_task(self, task_class: type[Task]) -> TaskEnvironment: ...


@runtime_checkable
class VisionSensor(Protocol):
    """`pyrep.objects.vision_sensor.VisionSensor`: a camera; x is to the left and y up."""

    @staticmethod
    def create(
        resolution: list[int],
        *,
        explicit_handling: bool = False,
        near_clipping_plane: float = 0.01,
        far_clipping_plane: float = 10.0,
        view_angle: float = 60.0,
        render_mode: RenderMode = ...,
    ) -> VisionSensor:
        """`resolution` is [width, height], `view_angle` belongs to the longer side, in degrees."""
        ...

    def set_renderable(self, value: bool) -> None:
        """Whether cameras see this object."""
        ...

    def set_matrix(self, matrix: Floats) -> None:
        """Stand there: world_from_camera (4, 4)."""
        ...

    def get_matrix(self) -> Floats: ...

    def get_intrinsic_matrix(self) -> Floats:
        """Pixels, (3, 3); focal lengths are negative."""
        ...

    def handle_explicitly(self) -> None:
        """Draw now, without a step of the simulation."""
        ...

    def capture_rgb(self) -> Floats:
        """(height, width, 3) in 0..1, as last drawn."""
        ...

    def capture_depth(self, in_meters: bool = False) -> Floats:
        """(height, width) along the optical axis, as last drawn."""
        ...

    def remove(self) -> None: ...
