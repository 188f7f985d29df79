"""Writes demonstrations of the built-in world as RLBench and GNFactor's generator write theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from recorder import Demo, Observation, write_pickle

from gnfactor.demonstration import Demonstration
from gnfactor.geometry import quaternion_from_rotation
from gnfactor.scene import ARM, Camera, View

NEAR_M, FAR_M = 0.01, 10.0
"""Of the cameras all around; the recorded ones have others."""
RECORDED_NEAR_M, RECORDED_FAR_M = 0.02, 4.5


def write_filmed(folder: Path, demonstration: Demonstration) -> None:
    """An episode of RLBench without the views all around."""
    folder.mkdir(parents=True)
    moments = []
    for frame, seen in enumerate(demonstration.observations):
        arm, misc = seen.arms[ARM], dict[str, Any]()
        for name, view in seen.views.items():
            misc[f"{name}_camera_extrinsics"], misc[f"{name}_camera_intrinsics"] = rlbench_camera(view.camera)
            misc[f"{name}_camera_near"], misc[f"{name}_camera_far"] = RECORDED_NEAR_M, RECORDED_FAR_M
            write_picture(folder / f"{name}_rgb" / f"{frame}.png", view.rgb)
            depth = packed_depth(view, RECORDED_NEAR_M, RECORDED_FAR_M)
            write_picture(folder / f"{name}_depth" / f"{frame}.png", depth)
        quaternion = quaternion_from_rotation(torch.from_numpy(arm.world_from_gripper[:3, :3])).numpy()
        moment = Observation()
        vars(moment).update(
            gripper_open=float(arm.gripper_open),
            gripper_pose=np.concatenate((arm.world_from_gripper[:3, 3], quaternion)),
            gripper_joint_positions=arm.finger_positions_m,
            joint_positions=arm.joint_positions,
            joint_velocities=arm.joint_velocities,
            ignore_collisions=np.array(0.0),
            misc=misc,
        )
        moments.append(moment)
    demo = Demo()
    vars(demo).update(_observations=moments)
    write_pickle(folder / "low_dim_obs.pkl", demo)
    write_pickle(folder / "variation_number.pkl", demonstration.variation)
    write_pickle(folder / "variation_descriptions.pkl", list(demonstration.instructions))


def write_views(episode: Path, number: int, views: Mapping[str, View]) -> None:
    """One folder of views all around, in the published layout; what was there is written over."""
    folder = episode / "nerf_data" / str(number)
    (folder / "poses").mkdir(parents=True, exist_ok=True)
    for index, view in enumerate(views.values()):
        write_picture(folder / "images" / f"{index}.png", view.rgb)
        write_picture(folder / "depths" / f"{index}.png", packed_depth(view, NEAR_M, FAR_M))
        blocks = (" ".join(f"{value:.6f}" for value in row) for matrix in rlbench_camera(view.camera) for row in matrix)
        rows = list(blocks)
        (folder / "poses" / f"{index}.txt").write_text("\n".join([*rows[:4], "", *rows[4:], ""]))
    (folder / "description.txt").write_text("open the drawer\n")


def rlbench_camera(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pose and intrinsics with x to the left, y up and negative focal lengths."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return camera.world_from_camera @ flip, camera.intrinsics @ flip[:3, :3]


def packed_depth(view: View, near_m: float, far_m: float) -> np.ndarray:
    """Depth in three bytes, the highest first; what is seen nowhere lies in the far plane."""
    share = np.where(view.depth_m > 0, (view.depth_m.astype(float) - near_m) / (far_m - near_m), 1)
    steps = np.clip(np.floor(share * (2**24 - 1) + 0.5), 0, 2**24 - 1).astype(np.int64)
    return np.stack((steps >> 16, steps >> 8 & 255, steps & 255), -1).astype(np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """A PNG file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
