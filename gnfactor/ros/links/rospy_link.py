"""The way to a robot of ROS 1 by rospy, for a computer on the robot's network that has ROS itself.

Connections that break come back by themselves, as rospy has it, also without a master.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from gnfactor.errors import ConfigError, GNFactorError, RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.links.messages import decode, filled, message_class, ros_module
from gnfactor.ros.links.ros_link import SILENT_S, Role, RosLink
from gnfactor.ros.links.rospy_actions import ActionClient, action_clients
from gnfactor.ros.links.rospy_node import MasterWatch, choose_addresses, send, start_node
from gnfactor.ros.sensing.sensors import Sensors
from gnfactor.ros.watchdog import quaternion_xyzw

_BUFFER = 2**24
"""Bytes, for pictures."""
_FRAMES_KEPT, _NEWEST, _WORDS_KEPT = 100, 2, 8
"""Messages that may wait: none of tf may be missing, of the rest the newest counts; no word of ours is left out."""
_POLL_S, _FLUSH_S = 0.01, 0.1


class RospyLink(RosLink):
    """RobotLink over rospy. One process can be one node of ROS 1, once."""

    def __init__(self, config: RobotConfig) -> None:
        """Connect, and wait until all that is needed is there; commands nothing.

        Raises:
            MissingExtraError: ROS 1 is not installed.
            ConfigError: the configuration is not of a ROS 1, or addresses or files are missing in it.
            RobotError: the master, a topic, a controller or an action has not appeared within link.timeout_s.
        """
        super().__init__(config, RospyTransport(config))


class RospyTransport:
    """Topics and actions of one robot on its master."""

    def __init__(self, config: RobotConfig) -> None:
        """Connects to nothing yet. Raises as RospyLink does, but for RobotError."""
        if config.ros != 1:
            raise ConfigError(f"link.type is rospy, which speaks ROS 1, and ros is {config.ros}; use rosbridge")
        self._config, self._rospy = config, ros_module("rospy")
        self._uri = choose_addresses(config.link.uri)
        self._sensors = Sensors(config)
        self._broken: dict[str, str] = {}
        """Why the last message of a topic could not be read."""
        self._open: list[Any] = []
        self._actions: dict[Role, ActionClient] = {}
        self._owns_node = False
        self._master: MasterWatch | None = None

    @property
    def sensors(self) -> Sensors:
        return self._sensors

    @property
    def actions(self) -> Mapping[Role, ActionClient]:
        return self._actions

    @property
    def connections(self) -> int:
        """One: each topic has a connection of its own, and what is lost of them shows in `loss`."""
        return 1

    def start(self, hear_watchdog: Callable[[str], None]) -> None:
        """Become a node, begin to listen, and wait for those who listen to us.

        Raises:
            RobotError: the master, a controller or an action has not appeared within link.timeout_s.
        """
        began_s, topics = time.monotonic(), self._config.topics
        self._owns_node = start_node(self._uri, self._config.link.timeout_s)
        self._master = MasterWatch(self._uri)
        text, pose = message_class("std_msgs/String"), message_class("geometry_msgs/PoseStamped")
        self._words = self._publisher(topics.command, text)
        self._targets = None if topics.target is None else self._publisher(topics.target, pose)
        self._subscribe(topics.watchdog, text, lambda message: hear_watchdog(message.data))
        for topic, kind in self._sensors.topics().items():
            # The state's definition comes with it: franka_msgs need not be installed here.
            found = self._rospy.AnyMsg if topic == topics.state else message_class(kind)
            self._subscribe(topic, found, self._taker(topic))
        self._actions = action_clients(self._config)
        while absent := self._absent():
            if time.monotonic() - began_s > self._config.link.timeout_s:
                raise RobotError(
                    f"after {self._config.link.timeout_s} s (link.timeout_s), {'; '.join(absent)}: start the robot's "
                    "software, or correct these names (rostopic list tells those that there are)"
                )
            time.sleep(_POLL_S)

    def now_s(self) -> float:
        return float(self._rospy.get_time())

    def loss(self) -> str | None:
        """That ROS has ended here, that the robot's state does not come any more, or that the master is gone."""
        if self._rospy.is_shutdown():
            return "ROS has shut this node down"
        topic = self._config.topics.state
        silent_s = self._sensors.silence_s(topic)
        if SILENT_S < silent_s < np.inf:
            return f"the robot's state has not come on {topic} for {silent_s:.1f} s{self.hint()}"
        return None if self._master is None else self._master.complaint()

    def hint(self) -> str:
        said = "; ".join(f"{topic}: {complaint}" for topic, complaint in self._broken.items())
        return f" (what came cannot be read: {said})" if said else ""

    def say(self, word: str) -> None:
        send(self._words, filled("std_msgs/String", {"data": word}))

    def pull(self, base_from_ee: Float[np.ndarray, "4 4"]) -> None:
        turn = quaternion_xyzw(base_from_ee.tolist())
        values = {
            "header": {"frame_id": self._config.arm.base_frame},
            "pose": {
                "position": dict(zip("xyz", base_from_ee[:3, 3].tolist(), strict=True)),
                "orientation": dict(zip("xyzw", turn, strict=True)),
            },
        }
        message = filled("geometry_msgs/PoseStamped", values)
        message.header.stamp = self._rospy.Time.now()
        send(self._targets, message)

    def stop_fingers(self) -> None:
        self._actions["stop"].start({})

    def close(self) -> None:
        """Let what was said last leave, then release everything."""
        time.sleep(_FLUSH_S if self._open else 0)
        if self._master is not None:
            self._master.close()
        for topic in self._open:
            topic.unregister()
        for action in self._actions.values():
            action.close()
        if self._owns_node:
            self._rospy.signal_shutdown("the link is closed")

    def _absent(self) -> list[str]:
        """In words, who does not listen to us yet."""
        said = [f"no action server answers at {one.name}" for one in self._actions.values() if not one.is_there]
        if self._config.executor.name == "impedance" and self._targets and not self._targets.get_num_connections():
            said.append(f"no controller listens to {self._config.topics.target}")
        return said

    def _publisher(self, topic: str, kind: type[Any]) -> Any:
        made = self._rospy.Publisher(topic, kind, queue_size=_WORDS_KEPT, tcp_nodelay=True)
        self._open.append(made)
        return made

    def _subscribe(self, topic: str, kind: type[Any], take: Callable[[Any], None]) -> None:
        queue = _FRAMES_KEPT if topic in (self._config.topics.tf, self._config.topics.tf_static) else _NEWEST
        made = self._rospy.Subscriber(topic, kind, take, queue_size=queue, buff_size=_BUFFER, tcp_nodelay=True)
        self._open.append(made)

    def _taker(self, topic: str) -> Callable[[Any], None]:
        """What becomes of the messages of one topic, in a thread of ROS."""

        def take(message: Any) -> None:
            try:
                if isinstance(message, self._rospy.AnyMsg):
                    message = decode(message._connection_header, message._buff)
                self._sensors.take(topic, message)
                self._broken.pop(topic, None)
            except GNFactorError as error:
                self._broken[topic] = str(error)

        return take
