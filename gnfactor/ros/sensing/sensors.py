"""From messages of cameras, joints and tf to what a link hands on: views and states. Knows no transport."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float

from gnfactor.errors import ConfigError, RobotError
from gnfactor.ros.config import CameraConfig, RobotConfig
from gnfactor.ros.link import RobotState, RobotView
from gnfactor.ros.sensing.camera_file import CameraCalibration, load_calibration
from gnfactor.ros.sensing.frames import FrameTree, bare
from gnfactor.ros.sensing.franka_state import JointReading, arm_reading, joint_readings, named
from gnfactor.ros.sensing.pictures import decode_color, decode_depth, lens_of
from gnfactor.ros.sensing.stamps import newest_pair, stamp_s
from gnfactor.scene import Camera

KEPT_PICTURES = 8
"""Messages kept of every topic with pictures, for their partners to come."""
STATE_TYPES = {1: "franka_msgs/FrankaState", 2: "franka_msgs/FrankaRobotState"}
COMPRESSED = "/compressed"
"""How the names of image_transport's topics with PNG or JPEG end."""
_OF_CAMERAS = {"sensor_msgs/Image", "sensor_msgs/CompressedImage"}


class Sensors:
    """Takes messages from any thread, and says what they say together.

    A message is anything with the fields as attributes: of rospy, of rosbags, of JSON made into objects.
    """

    def __init__(self, config: RobotConfig) -> None:
        """Nothing has come yet.

        Raises:
            ConfigError: a calibration file cannot be used, or a camera's depth is compressed.
        """
        self._config = config
        self._calibrations = {name: _calibration(name, camera) for name, camera in config.cameras.items()}
        self._types = _message_types(config)
        self._lock = Lock()
        self._frames = FrameTree()
        self._joints: dict[str, dict[str, JointReading]] = {topic: {} for topic in self._joint_topics}
        self._latest: dict[str, Any] = {}
        self._came_s: dict[str, float] = {}
        self._recent = {
            topic: deque[tuple[float, Any]](maxlen=KEPT_PICTURES)
            for topic, kind in self._types.items()
            if kind in _OF_CAMERAS
        }

    def topics(self) -> Mapping[str, str]:
        """Type of message of every topic to listen to, as this generation of ROS writes it."""
        infix = {1: "/", 2: "/msg/"}[self._config.ros]
        return {topic: kind.replace("/", infix) for topic, kind in self._types.items()}

    def take(self, topic: str, message: Any) -> None:
        """Keep what a topic said; mistakes in it are told when it is asked for."""
        with self._lock:
            self._latest[topic], self._came_s[topic] = message, time.monotonic()
            if topic in self._recent:
                self._recent[topic].append((stamp_s(message.header), message))
            elif topic in self._joints:
                self._joints[topic].update(joint_readings(message))
            elif topic in (self._config.topics.tf, self._config.topics.tf_static):
                self._frames.add(message.transforms, fixed=topic == self._config.topics.tf_static)

    def silence_s(self, topic: str) -> float:
        """How long ago a topic spoke; inf where it never has."""
        return time.monotonic() - self._came_s.get(topic, -inf)

    def missing(self) -> list[str]:
        """Topics that must speak and have not yet; tf counts where a camera's place is to come from it."""
        adrift = self.adrift()
        with self._lock:
            tf = {self._config.topics.tf, self._config.topics.tf_static}
            silent = [topic for topic in self._types if topic not in self._latest and topic not in tf]
            has_spoken = not tf.isdisjoint(self._latest)
        return silent + ([self._config.topics.tf] if adrift and not has_spoken else [])

    def adrift(self) -> list[str]:
        """Of every camera that tf does not place yet: the setting that names its frame, and what tf knows."""
        with self._lock:
            base, known = self._config.arm.base_frame, ", ".join(self._frames.known) or "none yet"
            return [
                f"tf knows no way from '{base}' to '{self._tf_frame(name)}' ({self._setting(name)}); it knows {known}"
                for name in self._config.cameras
                if not self._frames.connects(base, self._tf_frame(name))
            ]

    def views(self, now_s: float, max_age_s: float) -> Mapping[str, RobotView] | None:
        """The newest colour and depth of every camera that belong together, by its name.

        None where one camera has none that is at most `max_age_s` old, or has not said its intrinsics.

        Raises:
            RobotError: a message cannot be used, or tf does not know where a camera stands.
        """
        pairs = {name: self._newest(camera) for name, camera in self._config.cameras.items()}
        views: dict[str, RobotView] = {}
        for name, pair in pairs.items():
            if pair is None or now_s - min(pair[0][0], pair[1][0]) > max_age_s:
                return None
            views[name] = self._view(name, *pair)
        return views

    def blindness(self, now_s: float, max_age_s: float) -> str:
        """In words, why there are no views: for every camera without one, what it has."""
        said: list[str] = []
        for name, camera in self._config.cameras.items():
            pair = self._newest(camera)
            topics = (camera.color, camera.depth, camera.info)
            silent = [topic for topic in topics if topic not in self._latest]
            if silent:
                said.append(f"'{name}' has heard nothing on {', '.join(silent)}")
            elif pair is None:
                color_s, depth_s = (now_s - max(self._stamps(topic)) for topic in (camera.color, camera.depth))
                said.append(
                    f"the newest colour of '{name}' is {color_s:.2f} s old and its newest depth {depth_s:.2f} s; no "
                    f"two are within {camera.max_gap_s} s"
                )
            elif (age_s := now_s - min(pair[0][0], pair[1][0])) > max_age_s:
                said.append(f"the newest picture of '{name}' is {age_s:.2f} s old; at most {max_age_s} s are allowed")
        return "; ".join(said)

    def state(self) -> RobotState:
        """The newest state; as old as its oldest part.

        Raises:
            RobotError: a part has not come yet, or cannot be used.
        """
        try:
            return self._state()
        except (AttributeError, TypeError, ValueError) as error:
            raise RobotError(
                f"{self._config.topics.state} cannot be read as {STATE_TYPES[self._config.ros]}: {error}; are the "
                "robot's messages of another version?"
            ) from error

    def _state(self) -> RobotState:
        topics, arm = self._config.topics, self._config.arm
        with self._lock:
            silent = [topic for topic in (topics.state, *self._joint_topics) if topic not in self._latest]
            if silent:
                raise RobotError(f"nothing has come yet on {', '.join(silent)}; is the robot's driver running?")
            message = self._latest[topics.state]
            joints = {topic: dict(readings) for topic, readings in self._joints.items()}
        named(topics.joint_states, arm.joint_names, joints[topics.joint_states])
        finger_topic = self._joint_topics[-1]
        fingers = named(finger_topic, arm.finger_joint_names, joints[finger_topic])
        reading = arm_reading(self._config.ros, topics.state, message, arm)
        return RobotState(
            stamp_s=min(reading.stamp_s, *(finger.stamp_s for finger in fingers)),
            mode=reading.mode,
            errors=reading.errors,
            joint_positions=reading.joint_positions,
            joint_velocities=reading.joint_velocities,
            base_from_gripper=reading.base_from_ee @ arm.ee_from_gripper.matrix,
            finger_positions_m=np.array([finger.position for finger in fingers]),
        )

    @property
    def _joint_topics(self) -> list[str]:
        """That of the arm, and that of the fingers where they have one of their own."""
        topics = self._config.topics
        return [topics.joint_states, *([topics.finger_states] if topics.finger_states is not None else [])]

    def _newest(self, camera: CameraConfig) -> tuple[tuple[float, Any], tuple[float, Any]] | None:
        """Stamp and message of a colour and a depth picture."""
        with self._lock:
            color, depth = list(self._recent[camera.color]), list(self._recent[camera.depth])
            if camera.info not in self._latest:
                return None
        pair = newest_pair([time_s for time_s, _ in color], [time_s for time_s, _ in depth], camera.max_gap_s)
        return None if pair is None else (color[pair[0]], depth[pair[1]])

    def _stamps(self, topic: str) -> list[float]:
        with self._lock:
            return [time_s for time_s, _ in self._recent[topic]]

    def _view(self, name: str, color: tuple[float, Any], depth: tuple[float, Any]) -> RobotView:
        camera = self._config.cameras[name]
        info = self._latest[camera.info]
        parts = ((camera.info, info), (camera.color, color[1]), (camera.depth, depth[1]))
        for topic, message in parts:
            if bare(message.header.frame_id) != bare(camera.frame):
                raise RobotError(
                    f"{topic} is in the frame '{message.header.frame_id}', not in cameras.{name}.frame, "
                    f"'{camera.frame}', as colour, depth and info must be: register them, or correct the name"
                )
        lens = lens_of(camera.info, info, rectified=camera.rectified, max_distortion_px=camera.max_distortion_px)
        rgb = decode_color(camera.color, color[1])
        depth_m = decode_depth(camera.depth, depth[1], camera.depth_scale)
        for topic, pixels in ((camera.color, rgb), (camera.depth, depth_m)):
            if pixels.shape[:2] != (lens.height, lens.width):
                raise RobotError(
                    f"{topic} has {pixels.shape[1]} x {pixels.shape[0]} pixels, {camera.info} is of {lens.width} x "
                    f"{lens.height}; colour and depth must be registered and as large as the info says"
                )
        stamp = min(color[0], depth[0])
        pose = self._world_from_camera(name, color[0])
        return RobotView(Camera(lens.intrinsics, pose, lens.width, lens.height), rgb, depth_m, stamp)

    def _world_from_camera(self, name: str, time_s: float) -> Float[np.ndarray, "4 4"]:
        arm, calibration = self._config.arm, self._calibrations[name]
        tolerance_s = self._config.cameras[name].max_tf_gap_s
        with self._lock:
            base_from_frame = self._frames.pose(arm.base_frame, self._tf_frame(name), time_s, tolerance_s)
        frame_from_camera = np.eye(4) if calibration is None else calibration.parent_from_camera
        return arm.world_from_base.matrix @ base_from_frame @ frame_from_camera

    def _setting(self, name: str) -> str:
        """Where that frame is named."""
        return f"cameras.{name}.frame" if self._calibrations[name] is None else f"of cameras.{name}.calibration"

    def _tf_frame(self, name: str) -> str:
        """The frame that tf has to know: the camera's, or the one in which a file places it."""
        calibration = self._calibrations[name]
        return self._config.cameras[name].frame if calibration is None else calibration.parent_frame


def _message_types(config: RobotConfig) -> dict[str, str]:
    """Type of message of every topic, as ROS 1 writes it."""
    topics = config.topics
    types = {topics.state: STATE_TYPES[config.ros], topics.joint_states: "sensor_msgs/JointState"}
    if topics.finger_states is not None:
        types[topics.finger_states] = "sensor_msgs/JointState"
    types[topics.tf] = types[topics.tf_static] = "tf2_msgs/TFMessage"
    for camera in config.cameras.values():
        is_compressed = camera.color.endswith(COMPRESSED)
        types[camera.color] = "sensor_msgs/CompressedImage" if is_compressed else "sensor_msgs/Image"
        types[camera.depth], types[camera.info] = "sensor_msgs/Image", "sensor_msgs/CameraInfo"
    return types


def _calibration(name: str, camera: CameraConfig) -> CameraCalibration | None:
    if COMPRESSED in camera.depth:
        raise ConfigError(
            f"cameras.{name}.depth is {camera.depth}: compressed depth is not read here; name the topic without it"
        )
    if camera.calibration is None:
        return None
    calibration = load_calibration(Path(camera.calibration), f"cameras.{name}.calibration")
    if bare(calibration.camera_frame) != bare(camera.frame):
        raise ConfigError(
            f"{camera.calibration} is of the camera frame '{calibration.camera_frame}', cameras.{name}.frame is "
            f"'{camera.frame}'; name the file of this camera"
        )
    return calibration
