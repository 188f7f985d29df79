"""What a robot's world looks like to us: cameras, views, the arm's state, and one moment of all of them.

The world frame is RLBench's: metres, z up, the robot at the origin side looking along +x, the table top at
z = 0.750. Arrays here are NumPy, since this is what simulators, files and robots speak; `gnfactor.batch` turns
them into tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

ARM = "right"
"""Name of the one arm there is today; poses, gripper and proprioception stand under an arm's name."""

CAMERAS = ("front", "left_shoulder", "right_shoulder", "overhead", "wrist")
TABLE_HEIGHT_M = 0.750
WORKSPACE_LOWER_M = (-0.3, -0.5, 0.6)
WORKSPACE_UPPER_M = (0.7, 0.5, 1.6)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera in OpenCV's convention (x right, y down, z forward; pixel centres at integers)."""

    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels; focal lengths positive."""
    world_from_camera: Float[np.ndarray, "4 4"]
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class View:
    """What one camera saw."""

    camera: Camera
    rgb: UInt8[np.ndarray, "height width 3"]
    depth_m: Float[np.ndarray, "height width"]
    """Along the optical axis; 0 where there is no reading."""
    segmentation: Int[np.ndarray, "height width"] | None = None
    """Label per pixel, 0 = background; only simulators know it."""


@dataclass(frozen=True, eq=False)
class ArmState:
    """Proprioception of one arm."""

    world_from_gripper: Float[np.ndarray, "4 4"]
    """Pose of the point between the finger tips; z points out of the gripper, y along the fingers' motion."""
    gripper_open: bool
    finger_positions_m: Float[np.ndarray, "2"]
    """Distance of each finger from closed, 0 to 0.04."""
    joint_positions: Float[np.ndarray, "7"]
    joint_velocities: Float[np.ndarray, "7"]


@dataclass(frozen=True, eq=False)
class Observation:
    """One moment, complete: nothing else is needed to choose the next action."""

    step: int
    """Actions taken since the episode began (refused ones count); in demonstrations, keyframes reached."""
    time_s: float
    """Simulated or robot time since the episode began."""
    views: Mapping[str, View]
    """By camera name."""
    arms: Mapping[str, ArmState]
