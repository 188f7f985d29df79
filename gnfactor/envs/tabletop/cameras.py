"""RLBench's five cameras, as measured from recorded demonstrations, in OpenCV's convention; and one for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin, tan

import numpy as np
from jaxtyping import Float

from gnfactor.errors import SceneError
from gnfactor.scene import Camera

WRIST = "wrist"
"""The camera that moves with the hand."""


@dataclass(frozen=True)
class _Fixed:
    """A camera on a stand: where it is (m), where it heads, how far it looks down; its image's rows are level."""

    position: tuple[float, float, float]
    heading_deg: float
    """Of the optical axis about the world's z, from +x."""
    down_deg: float


_FIXED = {
    "front": _Fixed((1.35, 0.0, 1.58), heading_deg=180.0, down_deg=25.0),
    "left_shoulder": _Fixed((-0.175, 0.2, 1.98), heading_deg=-10.0, down_deg=65.0),
    "right_shoulder": _Fixed((-0.175, -0.2, 1.98), heading_deg=10.0, down_deg=65.0),
    "overhead": _Fixed((-0.175, 0.0, 2.43), heading_deg=0.0, down_deg=65.0),
    "spectator": _Fixed((-0.30, -1.10, 1.70), heading_deg=64.0, down_deg=31.5),
}
"""The first four are RLBench's; "spectator" stands aside and sees arm, table and the front of what faces the robot."""
_FIXED_FIELD_DEG, _WRIST_FIELD_DEG = 40.0, 60.0
_WRIST_POSITION_M = (-0.0500, 0.0020, -0.0921)
_WRIST_TILT = radians(5.0)


def tabletop_cameras(
    world_from_gripper: Float[np.ndarray, "4 4"], image_size: tuple[int, int], names: Sequence[str]
) -> dict[str, Camera]:
    """The named cameras for one pose of the gripper; the wrist camera moves with it.

    `image_size` is (width, height) in pixels. The field of view belongs to the longer side, and the principal point is
    half the size with pixel centres at integers, as in RLBench. Raises SceneError for a name that is not known.
    """
    return {name: _camera(name, world_from_gripper, image_size) for name in names}


def _camera(name: str, world_from_gripper: Float[np.ndarray, "4 4"], image_size: tuple[int, int]) -> Camera:
    if name == WRIST:
        return pinhole(world_from_gripper @ _gripper_from_wrist(), _WRIST_FIELD_DEG, image_size)
    if name not in _FIXED:
        known = ", ".join((*_FIXED, WRIST))
        raise SceneError(f"the tabletop world has no camera '{name}'; it has {known}: choose among these")
    fixed = _FIXED[name]
    pose = level_pose(np.array(fixed.position), radians(fixed.heading_deg), radians(fixed.down_deg))
    return pinhole(pose, _FIXED_FIELD_DEG, image_size)


def pinhole(world_from_camera: Float[np.ndarray, "4 4"], field_deg: float, image_size: tuple[int, int]) -> Camera:
    """A camera of this pose with RLBench's intrinsics, see `tabletop_cameras`."""
    width, height = image_size
    focal = max(width, height) / 2 / tan(radians(field_deg) / 2)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(intrinsics=intrinsics, world_from_camera=world_from_camera, width=width, height=height)


def level_pose(position: Float[np.ndarray, "3"], heading: float, down: float) -> Float[np.ndarray, "4 4"]:
    """World from a camera whose image's rows are level.

    Args:
        position: of the camera, m.
        heading: of the optical axis about the world's z, from +x, rad.
        down: angle of the optical axis below the horizontal, rad.
    """
    right = np.array([sin(heading), -cos(heading), 0])
    forward = np.array([cos(heading) * cos(down), sin(heading) * cos(down), -sin(down)])
    return _pose_from_axes(right, forward, position)


def _gripper_from_wrist() -> Float[np.ndarray, "4 4"]:
    """Constant: the camera sits behind the fingers and looks along them, tilted towards their side."""
    right = np.array([0.0, -1.0, 0.0])
    forward = np.array([sin(_WRIST_TILT), 0, cos(_WRIST_TILT)])
    return _pose_from_axes(right, forward, np.array(_WRIST_POSITION_M))


def _pose_from_axes(
    right: Float[np.ndarray, "3"], forward: Float[np.ndarray, "3"], position: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "4 4"]:
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack((right, np.cross(forward, right), forward))
    pose[:3, 3] = position
    return pose
