"""Looks at an arm that stands still: where it is and what every camera sees of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gnfactor.kinematics import between, rotation_of
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotLink, RobotState, RobotView

STILL_RAD = 0.004
"""An arm none of whose joints has moved by more stands still."""
_POLL_S = 0.05
_NEAR_M, _NEAR_RAD = 0.04, 0.15
"""Poses that are nearer to each other than both say the same."""
_OFFSETS = (
    ((0.06, 0.0, -0.04), (0.0, 0.0, 0.25)),
    ((0.0, 0.12, 0.0), (0.2, 0.0, 0.0)),
    ((0.0, -0.12, -0.04), (0.0, 0.2, -0.25)),
    ((-0.06, 0.06, 0.04), (0.0, -0.2, 0.0)),
    ((0.06, -0.06, 0.04), (-0.2, 0.0, 0.3)),
    ((0.0, 0.06, -0.08), (0.0, 0.0, -0.4)),
    ((-0.06, -0.12, -0.08), (0.15, 0.15, 0.0)),
    ((0.06, 0.12, 0.04), (0.0, 0.0, 0.5)),
)
"""From where the gripper is: along the world's axes (m), and turned about them (rotation vector, rad)."""


@dataclass(frozen=True, eq=False)
class Look:
    """One pose of the arm, and what every camera saw of it."""

    views: Mapping[str, RobotView]
    state: RobotState
    world_from_gripper: Float[np.ndarray, "4 4"]
    """As measured by the arm."""


def look_when_still(link: RobotLink, config: RobotConfig, still_s: float = 1.0, patience_s: float = 10.0) -> Look | str:
    """Wait until the arm has stood still for a while, then look through all cameras; or why that was not possible.

    It need not be in a mode to move, so that a person may hold it. Nothing is commanded.

    Args:
        link: the way to the robot.
        config: of the same robot.
        still_s: how long it must have stood, pictures included.
        patience_s: how long to wait for that.

    Raises:
        RobotError: the robot cannot be reached, or sends no pictures.
    """
    deadline_s = link.now_s() + patience_s
    first = link.state()
    while True:
        state, now_s = link.state(), link.now_s()
        if now_s - state.stamp_s > config.guard.max_state_age_s:
            age_s = now_s - state.stamp_s
            return f"the state is {age_s:.2f} s old; at most {config.guard.max_state_age_s} s are allowed"
        moved_rad = float(np.abs(state.joint_positions - first.joint_positions).max())
        if not moved_rad <= STILL_RAD:
            first = state
        elif state.stamp_s - first.stamp_s >= still_s:
            break
        if now_s > deadline_s:
            return f"the arm has not stood still for {still_s:.1f} s within {patience_s:.0f} s; hold it still"
        link.wait(_POLL_S)
    views = link.observe(config.guard.max_image_age_s)
    early = [name for name, view in views.items() if view.stamp_s < first.stamp_s]
    if early:
        return f"the pictures of {', '.join(early)} are from before the arm stood still; try again"
    after = link.state()
    if float(np.abs(after.joint_positions - first.joint_positions).max()) > STILL_RAD:
        return "the arm moved while it was looked at; hold it still"
    return Look(views, after, config.arm.world_from_base.matrix @ after.base_from_gripper)


def repeats(look: Look, others: Sequence[Look]) -> bool:
    """Whether the arm stood nearly so in one of the others."""
    ways = [between(other.world_from_gripper, look.world_from_gripper) for other in others]
    return any(distance_m < _NEAR_M and turn_rad < _NEAR_RAD for distance_m, turn_rad in ways)


def poses_around(world_from_gripper: Float[np.ndarray, "4 4"]) -> Iterator[Float[np.ndarray, "4 4"]]:
    """Poses not far from one, in different places and directions."""
    for offset, turn in _OFFSETS:
        pose = world_from_gripper.copy()
        pose[:3, 3] += offset
        pose[:3, :3] = rotation_of(np.array(turn)) @ pose[:3, :3]
        yield pose
