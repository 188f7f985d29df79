"""Which RLBench is installed, and how it is started: everything that depends on its dialect is decided here, once.

Importing this module imports RLBench and PyRep; `installation.require_rlbench` says beforehand whether that works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from inspect import signature

from pyrep.const import RenderMode  # pyright: ignore[reportMissingImports]
from rlbench.action_modes.action_mode import MoveArmThenGripper  # pyright: ignore[reportMissingImports]
from rlbench.action_modes.arm_action_modes import (  # pyright: ignore[reportMissingImports]
    EndEffectorPoseViaPlanning,
)
from rlbench.action_modes.gripper_action_modes import Discrete  # pyright: ignore[reportMissingImports]
from rlbench.demo import Demo  # pyright: ignore[reportMissingImports]
from rlbench.environment import Environment  # pyright: ignore[reportMissingImports]
from rlbench.observation_config import (  # pyright: ignore[reportMissingImports]
    CameraConfig,
    ObservationConfig,
)
from rlbench.task_environment import TaskEnvironment  # pyright: ignore[reportMissingImports]

from gnfactor.envs.rlbench import protocols
from gnfactor.errors import SimulatorError

RENDER_MODES: dict[str, protocols.RenderMode] = {"opengl": RenderMode.OPENGL, "opengl3": RenderMode.OPENGL3}
"""By name: how CoppeliaSim draws. "opengl" made the published demonstrations; "opengl3" has shadows."""


@dataclass(frozen=True)
class Dialect:
    """In what the installed RLBench differs from the others, as far as it matters here."""

    name: str
    """"upstream", "peract" or "gnfactor": the fork that its signatures are those of."""
    flag_in_action: bool
    """The forks take with every action whether collisions are ignored; upstream when its planner is made."""
    replays_placements: bool
    """Upstream can place a recorded scene's objects as often as its recorder did, instead of checking for itself."""

    @property
    def action_length(self) -> int:
        """Numbers in an action: position, quaternion, gripper, and in the forks whether collisions are ignored."""
        return 9 if self.flag_in_action else 8


@cache
def dialect() -> Dialect:
    """The dialect of the installed RLBench, by the signatures of what is called."""
    flag_in_action = "ignore_collisions" in signature(EndEffectorPoseViaPlanning.action).parameters
    records_views = "nerf_multi_view" in signature(ObservationConfig).parameters
    return Dialect(
        name="gnfactor" if records_views else "peract" if flag_in_action else "upstream",
        flag_in_action=flag_in_action,
        replays_placements="demo" in signature(TaskEnvironment.reset).parameters,
    )


def observation_config(
    cameras: Sequence[str], image_size: tuple[int, int], renderer: str
) -> protocols.ObservationConfig:
    """What RLBench is asked to observe: colour and depth of some cameras, the arm's joints, the gripper.

    Args:
        cameras: names; the others are taken out of the scene.
        image_size: (width, height), pixels.
        renderer: a name in `RENDER_MODES`.
    """

    def camera(name: str) -> protocols.CameraConfig:
        wanted = name in cameras
        return CameraConfig(
            rgb=wanted,
            depth=wanted,
            point_cloud=False,
            mask=False,
            image_size=image_size,
            render_mode=RENDER_MODES[renderer],
            depth_in_meters=False,
        )

    return ObservationConfig(
        left_shoulder_camera=camera("left_shoulder"),
        right_shoulder_camera=camera("right_shoulder"),
        overhead_camera=camera("overhead"),
        wrist_camera=camera("wrist"),
        front_camera=camera("front"),
        joint_velocities=True,
        joint_positions=True,
        joint_forces=False,
        gripper_open=True,
        gripper_pose=True,
        gripper_joint_positions=True,
        task_low_dim_state=False,
    )


def stored_demo(placement_attempts: int) -> protocols.Demo:
    """What upstream wants to know of a demonstration to make its scene again: how often its objects were placed."""
    return Demo([], num_reset_attempts=placement_attempts)  # dialects: upstream


def launch(
    arm_action_mode: protocols.ArmActionMode, observations: protocols.ObservationConfig
) -> protocols.Environment:
    """Start CoppeliaSim without a window.

    Args:
        arm_action_mode: how the arm carries out its part of an action; the gripper opens or closes after it.
        observations: what is observed.

    Raises:
        SimulatorError: it does not start.
    """
    environment: protocols.Environment = Environment(
        MoveArmThenGripper(arm_action_mode, Discrete()), obs_config=observations, headless=True
    )
    try:
        environment.launch()
    except Exception as error:
        raise SimulatorError(f"CoppeliaSim does not start ({type(error).__name__}: {error})") from error
    return environment
