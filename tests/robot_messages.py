"""Messages of a robot and its cameras as the two generations of ROS have them, made with rosbags' classes."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rosbags.typesys import Stores, get_typestore

from gnfactor.geometry import quaternion_from_rotation
from gnfactor.ros.link import RobotState, RobotView

STORES = {1: get_typestore(Stores.ROS1_NOETIC), 2: get_typestore(Stores.ROS2_HUMBLE)}


def make(ros: int, kind: str, **fields: Any) -> Any:
    """A message, such as "sensor_msgs/Image", of one generation of ROS; one that rosbags lacks is a plain object."""
    name = kind.replace("/", "/msg/")
    return STORES[ros].types[name](**fields) if name in STORES[ros].types else SimpleNamespace(**fields)


def time_of(ros: int, stamp_s: float) -> Any:
    nanoseconds = round(stamp_s * 1e9)
    return make(ros, "builtin_interfaces/Time", sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def header(ros: int, stamp_s: float, frame: str = "") -> Any:
    sequence = {"seq": 0} if ros == 1 else {}
    return make(ros, "std_msgs/Header", **sequence, stamp=time_of(ros, stamp_s), frame_id=frame)


def image(
    ros: int,
    stamp_s: float,
    frame: str,
    encoding: str,
    pixels: np.ndarray,
    *,
    padding: int = 0,
    is_bigendian: bool = False,
) -> Any:
    """Pixels as they are, each row filled up by so many bytes."""
    height, width = pixels.shape[:2]
    ordered = pixels.astype(pixels.dtype.newbyteorder(">" if is_bigendian else "<"))
    rows = np.frombuffer(ordered.tobytes(), np.uint8).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAA)
    return make(
        ros,
        "sensor_msgs/Image",
        header=header(ros, stamp_s, frame),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(is_bigendian),
        step=data.shape[1],
        data=data.ravel(),
    )


def camera_info(
    ros: int,
    stamp_s: float,
    frame: str,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    distortion: tuple[float, ...] = (0.0,) * 5,
    model: str = "plumb_bob",
) -> Any:
    """Of a camera of (height, width) pixels."""
    matrices = {
        "D": np.array(distortion),
        "K": intrinsics.ravel().astype(np.float64),
        "R": np.eye(3).ravel(),
        "P": np.column_stack((intrinsics, np.zeros(3))).ravel().astype(np.float64),
    }
    region = make(ros, "sensor_msgs/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return make(
        ros,
        "sensor_msgs/CameraInfo",
        header=header(ros, stamp_s, frame),
        height=size[0],
        width=size[1],
        distortion_model=model,
        **{name if ros == 1 else name.lower(): value for name, value in matrices.items()},
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def pictures(ros: int, view: RobotView, frame: str) -> tuple[Any, Any, Any]:
    """Colour, depth and info of one view; depth in whole millimetres."""
    camera = view.camera
    depth_mm = (1000 * view.depth_m).round().astype(np.uint16)
    return (
        image(ros, view.stamp_s, frame, "rgb8", view.rgb),
        image(ros, view.stamp_s, frame, "16UC1", depth_mm),
        camera_info(ros, view.stamp_s, frame, camera.intrinsics, (camera.height, camera.width)),
    )


def joint_state(ros: int, stamp_s: float, positions: dict[str, float], speeds: dict[str, float] | None = None) -> Any:
    velocities = [0.0 if speeds is None else speeds[name] for name in positions]
    return make(
        ros,
        "sensor_msgs/JointState",
        header=header(ros, stamp_s),
        name=list(positions),
        position=np.array(list(positions.values()), np.float64),
        velocity=np.array(velocities, np.float64),
        effort=np.zeros(0),
    )


def transform(ros: int, stamp_s: float, parent: str, child: str, pose: np.ndarray) -> Any:
    """geometry_msgs/TransformStamped of `parent_from_child`."""
    x, y, z = pose[:3, 3].tolist()
    qx, qy, qz, qw = quaternion_from_rotation(torch.from_numpy(pose[:3, :3].copy())).tolist()
    return make(
        ros,
        "geometry_msgs/TransformStamped",
        header=header(ros, stamp_s, parent),
        child_frame_id=child,
        transform=make(
            ros,
            "geometry_msgs/Transform",
            translation=make(ros, "geometry_msgs/Vector3", x=x, y=y, z=z),
            rotation=make(ros, "geometry_msgs/Quaternion", x=qx, y=qy, z=qz, w=qw),
        ),
    )


def tf(ros: int, *transforms: Any) -> Any:
    return make(ros, "tf2_msgs/TFMessage", transforms=list(transforms))


def franka_state(ros: int, state: RobotState, base_from_ee: np.ndarray, joint_names: tuple[str, ...]) -> Any:
    """The arm's own message, as far as it is read."""
    errors = SimpleNamespace(joint_reflex="joint_reflex" in state.errors, cartesian_reflex=False)
    common: dict[str, Any] = {
        "header": header(ros, state.stamp_s),
        "robot_mode": int(state.mode),
        "current_errors": errors,
    }
    q, dq = state.joint_positions, state.joint_velocities
    if ros == 1:
        return SimpleNamespace(**common, q=q.tolist(), dq=dq.tolist(), O_T_EE=base_from_ee.T.ravel().tolist())
    joints = joint_state(
        2, state.stamp_s, dict(zip(joint_names, q, strict=True)), dict(zip(joint_names, dq, strict=True))
    )
    at = transform(2, state.stamp_s, "base", "ee", base_from_ee).transform
    pose = make(
        2,
        "geometry_msgs/PoseStamped",
        header=header(2, state.stamp_s, "base"),
        pose=make(
            2,
            "geometry_msgs/Pose",
            position=make(2, "geometry_msgs/Point", x=at.translation.x, y=at.translation.y, z=at.translation.z),
            orientation=at.rotation,
        ),
    )
    return SimpleNamespace(**common, measured_joint_state=joints, o_t_ee=pose)


def plain(value: Any) -> Any:
    """A message as dicts, lists and numbers, as JSON has them; times as rosbridge of ROS 1 writes them, if so named."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value) or isinstance(value, SimpleNamespace):
        return {name: plain(part) for name, part in vars(value).items()}
    return value


def as_rospy(value: Any) -> Any:
    """A message of ROS 1 with times and bytes as rospy has them."""
    if isinstance(value, list):
        return [as_rospy(part) for part in value]
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype == np.uint8 else tuple(value.tolist())
    if not (dataclasses.is_dataclass(value) or isinstance(value, SimpleNamespace)):
        return value
    fields = vars(value)
    if set(fields) == {"sec", "nanosec"}:
        return SimpleNamespace(secs=fields["sec"], nsecs=fields["nanosec"])
    return SimpleNamespace(**{name: as_rospy(part) for name, part in fields.items()})
