"""RLBench's observations as ours, and our actions as RLBench's.

The one place that knows RLBench's cameras: they look along z with x to the left and y up, and have negative focal
lengths. They leave here in OpenCV's convention, which gives the same pixels. World frame, gripper frame, joints and
units are RLBench's everywhere in this program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnfactor.actions import ArmTarget
from gnfactor.envs.rlbench import protocols
from gnfactor.errors import DataError, SimulatorError
from gnfactor.geometry import pose_from, quaternion_from_rotation, rotation_from_quaternion
from gnfactor.scene import ARM, ArmState, Camera, Observation, View

FRAME_S = 0.05
"""RLBench simulates, and records, 20 frames per second."""
FINGER_STROKE_M = 0.04
OPEN_SHARE = 0.95
"""Of the stroke, beyond which the gripper counts as open. PerAct's and GNFactor's forks, which made the published
demonstrations, say so; upstream has 0.9. The fingers tell, so that a policy hears the same from all of them."""

_NOT_A_ROTATION = 1e-3


def observation_from(seen: protocols.Observation, cameras: Sequence[str], step: int, time_s: float) -> Observation:
    """One moment as RLBench gives it.

    Args:
        seen: with colour and depth (as RLBench stores it, 0 to 1 between the clipping planes) of every camera in
            `cameras`, the arm's joints and the gripper's pose and joints.
        cameras: names.
        step: actions taken since the episode began.
        time_s: simulated since the episode began.

    Raises:
        SimulatorError: a picture of a camera is missing.
    """
    return Observation(step, time_s, {name: view_from(seen, name) for name in cameras}, {ARM: arm_from(seen)})


def view_from(seen: protocols.Observation, camera: str) -> View:
    """What one camera saw.

    Raises:
        SimulatorError: RLBench drew no picture with it.
    """
    rgb, depth = _pictures(seen, camera)
    if rgb is None or depth is None:
        raise SimulatorError(f"RLBench gave no picture of the camera '{camera}', though it was asked for one")
    near_m, far_m = (float(seen.misc[f"{camera}_camera_{plane}"]) for plane in ("near", "far"))
    return View(
        opencv_camera(
            np.asarray(seen.misc[f"{camera}_camera_intrinsics"], np.float64),
            np.asarray(seen.misc[f"{camera}_camera_extrinsics"], np.float64),
            width=rgb.shape[1],
            height=rgb.shape[0],
            what=f"the camera '{camera}'",
        ),
        np.array(rgb, np.uint8),
        metric_depth(depth, near_m, far_m),
    )


def metric_depth(depth: NDArray[Any], near_m: float, far_m: float) -> NDArray[np.float32]:
    """Depth (m) along the optical axis of the renderer's depth, 0 at the near and 1 at the far plane.

    0 where the renderer saw nothing up to its far plane.
    """
    share = np.asarray(depth, np.float64)
    return np.where(share >= 1, 0, near_m + share * (far_m - near_m)).astype(np.float32)


def arm_from(seen: protocols.Observation) -> ArmState:
    """Proprioception; the gripper is open by `OPEN_SHARE`."""
    pose = torch.from_numpy(np.asarray(seen.gripper_pose, np.float64))
    fingers_m = np.array(seen.gripper_joint_positions, np.float64)
    return ArmState(
        world_from_gripper=pose_from(rotation_from_quaternion(pose[3:]), pose[:3]).numpy(),
        gripper_open=bool(fingers_m[0] > OPEN_SHARE * FINGER_STROKE_M),
        finger_positions_m=fingers_m,
        joint_positions=np.array(seen.joint_positions, np.float64),
        joint_velocities=np.array(seen.joint_velocities, np.float64),
    )


def action_from(target: ArmTarget, *, with_collision_flag: bool) -> NDArray[np.float64]:
    """An action of RLBench: position (m) and quaternion xyzw of the gripper in the world, 1 for an open gripper.

    Args:
        target: with a pose that `why_no_pose` has nothing against.
        with_collision_flag: append 1 where collisions are to be ignored, else 0, as the two forks want it.
    """
    pose = target.world_from_gripper
    quaternion_xyzw = quaternion_from_rotation(torch.from_numpy(np.asarray(pose[:3, :3], np.float64))).numpy()
    flags = [float(target.gripper_open), float(target.ignore_collisions)][: 2 if with_collision_flag else 1]
    return np.concatenate((pose[:3, 3], quaternion_xyzw, flags))


def why_no_pose(target: ArmTarget) -> str | None:
    """What is wrong with a target's pose before anybody tries to reach it, or None."""
    pose = target.world_from_gripper
    if not np.isfinite(pose).all():
        return "the target pose holds a number that is not finite"
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _NOT_A_ROTATION or np.linalg.det(rotation) < 0:
        return "the target pose holds no rotation"
    return None


def opencv_camera(
    intrinsics: NDArray[np.float64], world_from_camera: NDArray[np.float64], width: int, height: int, what: str
) -> Camera:
    """A camera of RLBench in OpenCV's convention.

    Args:
        intrinsics: (3, 3), RLBench's, of which focal lengths are negative where an axis is turned.
        world_from_camera: (4, 4), RLBench's.
        width: of its pictures, as is height.
        height: see there.
        what: to begin messages with.

    Raises:
        DataError: it cannot have made pictures of this size, or its pose is none.
    """
    if np.abs(2 * intrinsics[:2, 2] - (width, height)).max() > 1:
        raise DataError(
            f"{what} was recorded with its centre at pixel {intrinsics[:2, 2].tolist()}, "
            f"which does not fit pictures of {width}x{height}; the pictures were resized or exchanged"
        )
    flip = np.diag([*np.sign(intrinsics[[0, 1], [0, 1]]), 1.0])  # turning an axis and its focal length keeps pixels
    rotation = world_from_camera[:3, :3] @ flip
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise DataError(f"{what} has a pose that is not a rotation and a translation")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, world_from_camera[:3, 3]
    return Camera(intrinsics @ flip, pose, width, height)


def _pictures(seen: protocols.Observation, camera: str) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Colour and depth of a camera; RLBench has an attribute for each."""
    return {
        "front": (seen.front_rgb, seen.front_depth),
        "left_shoulder": (seen.left_shoulder_rgb, seen.left_shoulder_depth),
        "right_shoulder": (seen.right_shoulder_rgb, seen.right_shoulder_depth),
        "overhead": (seen.overhead_rgb, seen.overhead_depth),
        "wrist": (seen.wrist_rgb, seen.wrist_depth),
    }[camera]
