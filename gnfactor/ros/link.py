"""What we ask of a robot, whatever carries our words to it: ROS 1, a websocket, a recording, a test.

A link knows names, messages and transport, and no policy and no limit. Poses of commands and states are
`base_from_gripper`: our gripper frame (between the finger tips, z out of the gripper, y along the fingers' motion) in
the frame of the arm's base. All times are seconds on the robot's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from gnfactor.scene import Camera


class RobotMode(IntEnum):
    """What the arm is ready for, numbered as in libfranka."""

    OTHER = 0
    IDLE = 1
    MOVE = 2
    GUIDING = 3
    REFLEX = 4
    USER_STOPPED = 5
    AUTOMATIC_ERROR_RECOVERY = 6


@dataclass(frozen=True, eq=False)
class RobotState:
    """What the arm says about itself."""

    stamp_s: float
    """When it was measured."""
    mode: RobotMode
    errors: tuple[str, ...]
    """Names of the errors that are active, as the robot gives them."""
    joint_positions: Float[np.ndarray, "7"]
    joint_velocities: Float[np.ndarray, "7"]
    base_from_gripper: Float[np.ndarray, "4 4"]
    """Measured, not commanded."""
    finger_positions_m: Float[np.ndarray, "2"]
    """Distance of each finger from closed."""

    @property
    def width_m(self) -> float:
        """Between the fingers."""
        return float(self.finger_positions_m.sum())


@dataclass(frozen=True, eq=False)
class RobotView:
    """What one camera of the robot saw."""

    camera: Camera
    """As calibrated; `world_from_camera` at the time of the picture."""
    rgb: UInt8[np.ndarray, "height width 3"]
    depth_m: Float[np.ndarray, "height width"]
    """Along the optical axis; 0 or non-finite where there is no reading."""
    stamp_s: float
    """When it was taken; the older one of colour and depth."""


@dataclass(frozen=True, eq=False)
class PoseTarget:
    """One target of a stream that a Cartesian controller follows."""

    sequence: int
    expires_s: float
    """From then on nobody should act on it any more."""
    base_from_gripper: Float[np.ndarray, "4 4"]


@dataclass(frozen=True, eq=False)
class JointTrajectory:
    """A motion in time, from rest to rest."""

    sequence: int
    expires_s: float
    """By then it must be over."""
    times_s: Float[np.ndarray, "points"]
    """Since its start; growing, the first above 0."""
    positions: Float[np.ndarray, "points 7"]
    velocities: Float[np.ndarray, "points 7"]


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """A pose for somebody else's planner, to be planned and carried out."""

    sequence: int
    expires_s: float
    base_from_gripper: Float[np.ndarray, "4 4"]
    avoid_collisions: bool
    speed_share: float
    """Of the arm's own limits of speed and acceleration."""


@dataclass(frozen=True)
class GripCommand:
    """Fingers to a width, or closed on something."""

    sequence: int
    expires_s: float
    width_m: float
    speed_m_s: float
    force_n: float
    """With which to close on something; not read otherwise."""
    grasp: bool
    """Close until something is held; False: move to the width."""
    tolerance_m: float
    """How much wider or narrower than `width_m` a held thing may be, so that any thing counts as held."""


@dataclass(frozen=True)
class Progress:
    """How far the command that was started last has come."""

    sequence: int
    status: Literal["running", "done", "failed"]
    message: str = ""
    """The robot's words, where it failed."""


@runtime_checkable
class RobotLink(Protocol):
    """The way to one robot.

    Every method raises RobotError where the robot cannot be reached. Commands return at once: `progress` says how far
    the last one that was started has come. A link drops a command that has expired or whose sequence is not above
    all before it.
    """

    def now_s(self) -> float:
        """The robot's clock."""
        ...

    def wait(self, duration_s: float) -> None:
        """Let so much time pass on the robot's clock."""
        ...

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        """The newest picture of every configured camera, by name.

        Waits at most `max_age_s` for pictures that are not older than that. Raises RobotError where none comes.
        """
        ...

    def state(self) -> RobotState:
        """The newest state, however old; its stamp says how old it is."""
        ...

    def stream(self, target: PoseTarget) -> None:
        """Send one target of a stream. That no other follows is not a stop: the arm goes on to the last one."""
        ...

    def start_trajectory(self, trajectory: JointTrajectory) -> None: ...

    def start_plan(self, request: PlanRequest) -> None: ...

    def start_grip(self, command: GripCommand) -> None: ...

    def progress(self) -> Progress:
        """Of the trajectory, plan or grip that was started last."""
        ...

    def hold(self) -> None:
        """Give up the arm's motion and command the measured pose. Safe at any time; leaves the fingers as they are."""
        ...

    def recover(self) -> None:
        """Clear a reflex or an error; only ever on the operator's word."""
        ...

    def close(self) -> None:
        """Hold, then release everything; safe to call twice."""
        ...
