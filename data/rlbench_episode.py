"""One demonstration as a folder of RLBench's, as RLBench, PerAct and GNFactor load them.

    <camera>_rgb/<frame>.png              8-bit colour
    <camera>_depth/<frame>.png            depth in three bytes, the highest first, linear from NEAR_M to FAR_M; a pixel
                                          without a reading lies in the far plane
    <camera>_mask/<frame>.png             labels in three bytes, the lowest first; where they are known
    low_dim_obs.pkl                       all other numbers, as attributes of RLBench's classes
    variation_number.pkl
    variation_descriptions.pkl            instructions
    nerf_data/<frame>/{images,depths}/<view>.png, poses/<view>.txt, description.txt
                                          views to learn from, at the frames that have some; their depth is packed as
                                          that of GNFactor's generator is assumed to be, see `data.multiview`

The pickles name RLBench's classes, and NumPy's functions as NumPy 1 called them, which NumPy 2 still understands; none
of these has to be installed for writing. Cameras are turned into RLBench's convention, the inverse of
`gnfactor.envs.rlbench.convert.opencv_camera`. What was not recorded (forces, a task's own state, the state of random
generators) is None, as RLBench has it for what was not asked for.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from data.multiview import MultiviewOptions
from gnfactor.demonstration import Demonstration
from gnfactor.errors import DataError
from gnfactor.geometry import quaternion_from_rotation
from gnfactor.scene import ARM, ArmState, Camera, Observation, View

NEAR_M, FAR_M = 0.0, 6.5536
"""Planes between which the depth of recorded cameras is packed: a store keeps depths of 0.1 mm to 6.5535 m."""

_STEPS = 2**24 - 1
_PROTOCOL = 4
_CAMERAS = ("left_shoulder", "right_shoulder", "overhead", "wrist", "front")
_KINDS = ("rgb", "depth", "mask", "point_cloud")
"""Of the pictures that a frame's attributes begin with, in their order."""
_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From x to the right and y down to x to the left and y up."""


def write_recording(folder: Path, demonstration: Demonstration) -> None:
    """Fill a new or empty folder.

    The flag of a frame says whether the motion that leaves it ignores collisions (at the last frame, whether the one
    that reached it did): `data.demos` reads it so, and a policy that learns from the flag of the frame it acts at, as
    PerAct's and GNFactor's do, learns the right one.

    Raises:
        DataError: it holds something that RLBench's folders cannot; says what.
        OSError: the disk is full or the folder cannot be written to.
    """
    flags = (*demonstration.ignore_collisions[1:], demonstration.ignore_collisions[-1])
    moments = [
        _moment(seen, flag, f"frame {frame}")
        for frame, (seen, flag) in enumerate(zip(demonstration.observations, flags, strict=True))
    ]
    _write_pickle(folder / "low_dim_obs.pkl", _demo(moments, demonstration.variation))
    _write_pickle(folder / "variation_number.pkl", demonstration.variation)
    _write_pickle(folder / "variation_descriptions.pkl", list(demonstration.instructions))
    for frame, seen in enumerate(demonstration.observations):
        for name, view in seen.views.items():
            _write_pixels(folder / f"{name}_rgb" / f"{frame}.png", view.rgb)
            _write_pixels(folder / f"{name}_depth" / f"{frame}.png", pack_depth(view.depth_m, NEAR_M, FAR_M))
            if view.segmentation is not None:
                _write_pixels(folder / f"{name}_mask" / f"{frame}.png", _lowest_byte_first(view.segmentation))
    for frame, views in demonstration.target_views.items():
        _write_views(folder / "nerf_data" / str(frame), views, demonstration.instructions)


def pack_depth(depth_m: NDArray[Any], near_m: float, far_m: float) -> NDArray[np.uint8]:
    """Depth (height, width) in the bytes of a picture, (height, width, 3); 0 is put into the far plane.

    Depths outside the planes become those of the plane; at the far one they are still told from no reading.
    """
    share = (depth_m.astype(np.float64) - near_m) / (far_m - near_m)
    steps = np.clip(np.floor(share * _STEPS + 0.5), 0, _STEPS - 1)
    return _lowest_byte_first(np.where(depth_m > 0, steps, _STEPS).astype(np.int64))[..., ::-1]


def rlbench_camera(camera: Camera, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World_from_camera (4, 4) and intrinsics (3, 3) of a camera whose x is to the left, y up, and focal lengths are
    negative.

    Raises:
        DataError: its pose is not a rotation and a translation; `what` begins the message.
    """
    _check_pose(camera.world_from_camera, what)
    return camera.world_from_camera @ _TURN + 0.0, camera.intrinsics @ _TURN[:3, :3] + 0.0  # + 0.0 for no -0.0


class _Recorded:
    """An object of one of RLBench's classes: its attributes."""

    def __init__(self, attributes: Mapping[str, object]) -> None:
        vars(self).update(attributes)


class _Demo(_Recorded):
    """Written as `rlbench.demo.Demo`."""


class _Frame(_Recorded):
    """Written as `rlbench.backend.observation.Observation`."""


_NAMES: dict[object, tuple[str, str]] = {
    _Demo: ("rlbench.demo", "Demo"),
    _Frame: ("rlbench.backend.observation", "Observation"),
    np.ndarray: ("numpy", "ndarray"),
    np.dtype: ("numpy", "dtype"),
    np.empty(0).__reduce__()[0]: ("numpy.core.multiarray", "_reconstruct"),
}
"""What a recording may refer to, by the name under which others know it; there is nothing else in one."""


# The pickler in Python, since the one in C imports whatever it names.
class _Writer(pickle._Pickler):  # pyright: ignore[reportPrivateUsage]
    def save_global(self, obj: object, name: str | None = None) -> None:  # noqa: ARG002
        """Write a reference to a class or function; `name`, what it calls itself, is not used."""
        pickler: Any = self  # not all of it is known to type checkers
        for part in _NAMES[obj]:
            pickler.save(part)
        pickler.write(pickle.STACK_GLOBAL)
        pickler.memoize(obj)


def _write_pickle(path: Path, value: object) -> None:
    buffer = io.BytesIO()
    _Writer(buffer, _PROTOCOL).dump(value)
    path.write_bytes(buffer.getvalue())


def _demo(moments: Sequence[_Frame], variation: int) -> _Demo:
    return _Demo({"_observations": list(moments), "random_seed": None, "variation_number": variation})


def _moment(seen: Observation, flag: bool, where: str) -> _Frame:
    """One frame's attributes, in RLBench's order; pictures stand beside the pickle."""
    arm: ArmState = seen.arms[ARM]
    pose = arm.world_from_gripper
    _check_pose(pose, f"{where}: the gripper")
    quaternion_xyzw = quaternion_from_rotation(torch.from_numpy(pose[:3, :3])).numpy()
    return _Frame(
        {
            **{f"{camera}_{kind}": None for camera in _CAMERAS for kind in _KINDS},
            "joint_velocities": arm.joint_velocities.astype(np.float64),
            "joint_positions": arm.joint_positions.astype(np.float64),
            "joint_forces": None,
            "gripper_open": float(arm.gripper_open),
            "gripper_pose": np.concatenate((pose[:3, 3], quaternion_xyzw)),
            "gripper_matrix": pose.astype(np.float64),
            "gripper_joint_positions": arm.finger_positions_m.astype(np.float64),
            "gripper_touch_forces": None,
            "task_low_dim_state": None,
            "ignore_collisions": np.array(float(flag)),
            "misc": _misc(seen.views, where),
        }
    )


def _misc(views: Mapping[str, View], where: str) -> dict[str, object]:
    """What RLBench notes about cameras."""
    misc: dict[str, object] = {}
    for name, view in views.items():
        extrinsics, intrinsics = rlbench_camera(view.camera, f"{where}: camera '{name}'")
        misc[f"{name}_camera_extrinsics"], misc[f"{name}_camera_intrinsics"] = extrinsics, intrinsics
        misc[f"{name}_camera_near"], misc[f"{name}_camera_far"] = NEAR_M, FAR_M
    return misc


def _check_pose(pose: NDArray[np.float64], what: str) -> None:
    rotation = pose[:3, :3]
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise DataError(f"{what} has a pose that is not a rotation and a translation, which RLBench cannot hold")


def _write_views(folder: Path, views: Mapping[str, View], instructions: Sequence[str]) -> None:
    """Views to learn from of one frame, numbered in their order."""
    assumed = MultiviewOptions()
    for number, (name, view) in enumerate(views.items()):
        _write_pixels(folder / "images" / f"{number}.png", view.rgb)
        depth = pack_depth(view.depth_m, assumed.near_m, assumed.far_m)
        _write_pixels(folder / "depths" / f"{number}.png", depth)
        pose, intrinsics = rlbench_camera(view.camera, f"view '{name}'")
        path = folder / "poses" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join((*_rows(pose), "", *_rows(intrinsics), "")), encoding="utf-8")
    (folder / "description.txt").write_text("".join(f"{text}\n" for text in instructions), encoding="utf-8")


def _rows(matrix: NDArray[np.float64]) -> list[str]:
    """Lines of numbers that are read back as they are."""
    return [" ".join(repr(float(value)) for value in row) for row in matrix]


def _lowest_byte_first(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """Numbers of 24 bits, each in three channels."""
    return np.stack((numbers & 255, numbers >> 8 & 255, numbers >> 16), -1).astype(np.uint8)


def _write_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
