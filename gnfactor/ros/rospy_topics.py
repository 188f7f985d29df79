"""Topics of a robot of ROS 1: what it says, and where it listens for targets and for words to its watchdog."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from gnfactor.errors import GNFactorError, RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.messages import decode, filled, message_class, ros_module
from gnfactor.ros.sensors import Sensors
from gnfactor.ros.watchdog import quaternion_xyzw

SILENT_S = 1.0
"""A robot whose state has not come for so long is lost."""
_FRESH_S = 0.3
"""A measured pose that came longer ago is not commanded: the arm may be elsewhere by now."""
_BUFFER = 2**24
"""Bytes, for pictures."""
_FRAMES_KEPT = 100


class RobotTopics:
    """Listens from the beginning; `sensors` knows what has been heard."""

    def __init__(self, config: RobotConfig, on_watchdog: Callable[[str], None]) -> None:
        """Nothing has come yet.

        Args:
            config: of the robot.
            on_watchdog: is told what the watchdog says of itself, in a thread of ROS.

        Raises:
            MissingExtraError: ROS 1 is not installed.
            ConfigError: a calibration file cannot be used.
        """
        self._config, self._rospy, self._began_s = config, ros_module("rospy"), time.monotonic()
        self.sensors = Sensors(config)
        self._came_s: dict[str, float] = {}
        self._broken: dict[str, str] = {}
        """Why the last message of a topic could not be read."""
        self._open: list[Any] = []
        text, pose, target = message_class("std_msgs/String"), message_class("geometry_msgs/PoseStamped"), None
        if config.topics.target is not None:
            target = self._publisher(config.topics.target, pose)
        self._targets, self._words = target, self._publisher(config.topics.command, text)
        self._subscribe(config.topics.watchdog, text, lambda message: on_watchdog(message.data))
        for topic, kind in self.sensors.topics().items():
            # The state's definition comes with it: franka_msgs need not be installed here.
            found = self._rospy.AnyMsg if topic == config.topics.state else message_class(kind)
            self._subscribe(topic, found, self._taker(topic))

    def say(self, word: str) -> None:
        """Send a word to the watchdog."""
        self._words.publish(word)

    def pull(self, base_from_gripper: Float[np.ndarray, "4 4"]) -> None:
        """Give the controller a target, without a watchdog between.

        Raises:
            RobotError: this robot has no such controller.
        """
        if self._targets is None:
            raise RobotError("topics.target is null: this robot takes no stream of poses")
        pose = base_from_gripper @ np.linalg.inv(self._config.arm.ee_from_gripper.matrix)
        turn = quaternion_xyzw(pose.tolist())
        values = {
            "header": {"frame_id": self._config.arm.base_frame},
            "pose": {
                "position": dict(zip("xyz", pose[:3, 3].tolist(), strict=True)),
                "orientation": dict(zip("xyzw", turn, strict=True)),
            },
        }
        message = filled("geometry_msgs/PoseStamped", values)
        message.header.stamp = self._rospy.Time.now()
        self._targets.publish(message)

    def pull_to_measured(self) -> str:
        """Command the measured pose where that is possible; in words, whether it was done."""
        if self._targets is None:
            return "there is no topic for the measured pose: goals are cancelled only"
        if time.monotonic() - self._came_s.get(self._config.topics.state, -np.inf) > _FRESH_S:
            return "the measured pose is not known any more: goals are cancelled only"
        try:
            self.pull(self.sensors.state().base_from_gripper)
        except RobotError as error:
            return f"the measured pose cannot be used: {error}"
        return f"the measured pose was sent to {self._config.topics.target} directly"

    def silence(self) -> str | None:
        """That the robot's state does not come any more, if so."""
        topic = self._config.topics.state
        silent_s = time.monotonic() - self._came_s.get(topic, self._began_s)
        if silent_s <= SILENT_S:
            return None
        why = f": {self._broken[topic]}" if topic in self._broken else ""
        return f"the robot's state has not come on {topic} for {silent_s:.1f} s{why}"

    def missing(self) -> list[str]:
        """In words, what has to be there and is not."""
        if self._broken:
            return [f"{topic} cannot be read: {complaint}" for topic, complaint in self._broken.items()]
        said = [f"nothing has come on {topic}" for topic in self.sensors.missing()]
        if self._config.executor.name == "impedance" and self._targets and not self._targets.get_num_connections():
            said.append(f"no controller listens to {self._config.topics.target}")
        return said

    def close(self) -> None:
        """Stop listening."""
        for topic in self._open:
            topic.unregister()

    def _publisher(self, topic: str, kind: type[Any]) -> Any:
        made = self._rospy.Publisher(topic, kind, queue_size=8, tcp_nodelay=True)
        self._open.append(made)
        return made

    def _subscribe(self, topic: str, kind: type[Any], take: Callable[[Any], None]) -> None:
        # Frames come in many messages, none of which may be missing; of the rest the newest counts.
        queue = _FRAMES_KEPT if topic in (self._config.topics.tf, self._config.topics.tf_static) else 2
        made = self._rospy.Subscriber(topic, kind, take, queue_size=queue, buff_size=_BUFFER, tcp_nodelay=True)
        self._open.append(made)

    def _taker(self, topic: str) -> Callable[[Any], None]:
        """What becomes of the messages of one topic."""

        def take(message: Any) -> None:
            try:
                if isinstance(message, self._rospy.AnyMsg):
                    message = decode(message._connection_header, message._buff)
                self.sensors.take(topic, message)
            except GNFactorError as error:
                self._broken[topic] = str(error)
                return
            self._broken.pop(topic, None)
            self._came_s[topic] = time.monotonic()

        return take
