"""The way to a robot of ROS 1 or 2 through a rosbridge server; this computer needs no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
from jaxtyping import Float

from gnfactor.errors import RobotError
from gnfactor.ros.bridge_access import bridge_access
from gnfactor.ros.bridge_actions import bridge_actions
from gnfactor.ros.bridge_messages import BridgeMessages, type_name, with_attributes
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.goals import duration
from gnfactor.ros.robot_clock import RobotClock
from gnfactor.ros.ros_link import SILENT_S, RobotAction, Role, RosLink
from gnfactor.ros.rosbridge import Rosbridge, Subscription
from gnfactor.ros.sensors import Sensors
from gnfactor.ros.stamps import seconds
from gnfactor.ros.watchdog import quaternion_xyzw

CLOCK_SERVICE = "/rosapi/get_time"
CLOCK_KINDS = {1: "rosapi/GetTime", 2: "rosapi_msgs/srv/GetTime"}
_CLOCK_ASKED, _CLOCK_AGAIN_S = 5, 10.0
"""How often the clock is asked for at first, and after how long once more."""
_ROSAPI = "rosapi must run beside the bridge, as its launch file has it"
_POLL_S = 0.005
_STATE_MS = 10
"""Least time between two states; franka_ros2 may publish a thousand in a second."""


class RosbridgeLink(RosLink):
    """RobotLink over one websocket."""

    def __init__(self, config: RobotConfig) -> None:
        """Connect, and wait until everything that is needed has spoken; commands nothing.

        Raises:
            MissingExtraError: websockets, cbor2 or rosbags is not installed.
            ConfigError: the address, a certificate or a secret cannot be used.
            RobotError: the bridge cannot be reached, its clock cannot be known well enough, or something has not come
                within link.timeout_s.
        """
        super().__init__(config, RosbridgeTransport(config))


class RosbridgeTransport:
    """Names and types of one robot on the bridge."""

    def __init__(self, config: RobotConfig) -> None:
        """Connects to nothing yet. Raises as RosbridgeLink does, but for RobotError."""
        access = bridge_access(config.link)
        messages = BridgeMessages(config.ros)
        self._config, self._bridge = config, Rosbridge(access, messages)
        self._sensors, self._clock = Sensors(config), RobotClock(config.link.max_clock_error_s)
        self._asked_s = -np.inf
        for topic, kind in self._sensors.topics().items():
            self._bridge.subscribe(topic, self._subscription(topic, kind, messages.is_standard(kind)))
        self._actions = bridge_actions(self._bridge, config)
        if config.watchdog.required:
            self._bridge.advertise(config.topics.command, type_name(config.ros, "std_msgs/String"))
        if config.topics.target is not None:
            self._bridge.advertise(config.topics.target, type_name(config.ros, "geometry_msgs/PoseStamped"))

    @property
    def sensors(self) -> Sensors:
        return self._sensors

    @property
    def actions(self) -> Mapping[Role, RobotAction]:
        return self._actions

    @property
    def connections(self) -> int:
        return self._bridge.connections

    def start(self, hear_watchdog: Callable[[str], None]) -> None:
        """Connect, learn the robot's clock, and hear that all servers of actions are there.

        Raises:
            RobotError: the bridge cannot be reached, its clock cannot be known well enough, or a server does not
                speak within link.timeout_s.
        """
        end_s = time.monotonic() + self._config.link.timeout_s
        if self._config.watchdog.required:
            kind = type_name(self._config.ros, "std_msgs/String")
            words = Subscription(kind, lambda message: hear_watchdog(message.data))
            self._bridge.subscribe(self._config.topics.watchdog, words)
        self._bridge.start(self._config.link.timeout_s)
        for _ in range(_CLOCK_ASKED):
            try:
                self._ask_clock().result(self._config.link.timeout_s)
            except TimeoutError:
                raise RobotError(f"{CLOCK_SERVICE} has not answered; {_ROSAPI}{self.hint()}") from None
        try:
            self._clock.now_s()
        except RobotError as error:
            raise RobotError(f"{error}; {_ROSAPI}{self.hint()}") from error
        while absent := [action.name for action in self._actions.values() if not action.is_there]:
            if time.monotonic() > end_s:
                raise RobotError(
                    f"after {self._config.link.timeout_s} s (link.timeout_s), no server of {', '.join(absent)} has "
                    f"been heard{self.hint()}: start the robot's software, or correct these names"
                )
            time.sleep(_POLL_S)

    def now_s(self) -> float:
        """The robot's clock; asks for it again from time to time, without waiting for the answer."""
        if min(self._clock.age_s(), time.monotonic() - self._asked_s) > _CLOCK_AGAIN_S and self.loss() is None:
            self._ask_clock()
        return self._clock.now_s()

    def loss(self) -> str | None:
        lost = self._bridge.loss()
        if lost is not None:
            return lost
        topic = self._config.topics.state
        silent_s = self._sensors.silence_s(topic)
        if silent_s == np.inf or silent_s <= SILENT_S:
            return None
        return f"the robot's state has not come on {topic} for {silent_s:.1f} s{self.hint()}"

    def hint(self) -> str:
        complaints = "; ".join(self._bridge.complaints)
        return f" (the bridge says: {complaints})" if complaints else ""

    def say(self, word: str) -> None:
        self._bridge.publish(self._config.topics.command, {"data": word})

    def pull(self, base_from_ee: Float[np.ndarray, "4 4"]) -> None:
        target = self._config.topics.target
        assert target is not None, "asked for only where there is one"
        turn = quaternion_xyzw(base_from_ee.tolist())
        stamp = duration(self._config.ros, self._clock.now_s())
        pose = {
            "position": dict(zip("xyz", base_from_ee[:3, 3].tolist(), strict=True)),
            "orientation": dict(zip("xyzw", turn, strict=True)),
        }
        self._bridge.publish(
            target, {"header": {"frame_id": self._config.arm.base_frame, "stamp": stamp}, "pose": pose}
        )

    def stop_fingers(self) -> None:
        if "stop" in self._actions:
            self._actions["stop"].start({})
            return
        operation = {"op": "call_service", "service": self._config.actions.grip_stop, "type": "std_srvs/srv/Trigger"}
        self._bridge.request(operation, self._bridge.next_number())

    def close(self) -> None:
        self._bridge.close()

    def _subscription(self, topic: str, kind: str, raw: bool) -> Subscription:
        # Frames come in many messages, none of which may be missing; of the rest the newest counts.
        topics = self._config.topics
        is_tf = topic in (topics.tf, topics.tf_static)
        is_state = topic in (topics.state, topics.joint_states, topics.finger_states)
        return Subscription(
            kind,
            lambda message: self._sensors.take(topic, message),
            raw=raw,
            pause_ms=_STATE_MS if is_state else 0,
            newest_only=not is_tf,
        )

    def _ask_clock(self) -> Future[Mapping[str, Any]]:
        """Ask for the robot's time; the answer is learned when it comes."""
        self._asked_s = asked_s = time.monotonic()

        def learn(answer: Future[Mapping[str, Any]]) -> None:
            answered_s = time.monotonic()
            if answer.exception() is not None:  # the connection is lost, which is said elsewhere
                return
            values = answer.result().get("values")
            if answer.result()["result"]:
                self._clock.learn(asked_s, seconds(with_attributes(values).time), answered_s)
            else:
                self._bridge.complain(f"{CLOCK_SERVICE}: {values}")

        operation = {"op": "call_service", "service": CLOCK_SERVICE, "type": CLOCK_KINDS[self._config.ros]}
        answer = self._bridge.request(operation, self._bridge.next_number())
        answer.add_done_callback(learn)
        return answer
