"""A rosbridge server with a robot behind it, in this process: what a lab has on the robot's computer.

It speaks the protocol as rosbridge_suite does (ROS 1 and ROS 2), with messages serialised by rosbags; the robot is the
one of `bridged_robot`.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ssl import SSLContext
from typing import Any

import cbor2
import numpy as np
from rosbags.typesys import get_types_from_msg
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from gnfactor.ros.link import RobotView
from gnfactor.ros.links.bridge_access import rosauth
from gnfactor.ros.links.rosbridge_link import CLOCK_SERVICE
from gnfactor.ros.watchdog import Pose
from tests.bridged_robot import Robot
from tests.robot_messages import STORES, franka_state, joint_state, pictures, plain, tf, transform

STEP_S, PICTURE_S, STATUS_S = 0.01, 0.05, 0.05
SUCCEEDED = {1: 3, 2: 4}
CANCELLED = {1: 2, 2: 5}
if "tf2_msgs/msg/TFMessage" not in STORES[1].types:
    STORES[1].register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))


@dataclass
class Client:
    """One connection."""

    socket: ServerConnection
    topics: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    advertised: dict[str, str] = field(default_factory=dict[str, str])
    is_known: bool = False
    since_s: float = field(default_factory=time.monotonic)
    sent_s: dict[str, float] = field(default_factory=dict[str, float])

    def send(self, frame: dict[str, Any]) -> None:
        with suppress(ConnectionClosed):
            self.socket.send(json.dumps(frame))


class Bridge:
    """The server; `port` stays the same when it is started again."""

    def __init__(
        self,
        robot: Robot,
        *,
        port: int = 0,
        tls: SSLContext | None = None,
        rosauth_secret: str | None = None,
        bearer: str | None = None,
        sends_on_to: str | None = None,
        mute: tuple[str, ...] = (),
        answer_delay_s: float = 0.0,
        deaf_s: float = 0.15,
        alter: Callable[[str, Any], Any] = lambda _, message: message,
    ) -> None:
        self.robot, self.ros = robot, robot.config.ros
        self.mute, self.answer_delay_s, self.alter = set(mute), answer_delay_s, alter
        self._deaf_s = deaf_s if self.ros == 1 else 0.0
        """What is published so soon after a connection reaches nobody: in ROS 1 the others are still connecting."""
        self._rosauth, self._bearer, self._sends_on_to = rosauth_secret, bearer, sends_on_to
        self._goals: dict[str, tuple[str, str, Client]] = {}
        self._results: list[tuple[str, str]] = []
        self.recalled = set[str]()
        """Goals that were cancelled by their id; of these, one that comes only then is not begun."""
        self._clients: list[Client] = []
        self._over = threading.Event()
        self.server: Server = serve(self._talk, "127.0.0.1", port, ssl=tls, process_request=self._admit, max_queue=None)
        self.port: int = self.server.socket.getsockname()[1]
        self._threads = [
            threading.Thread(target=self.server.serve_forever, daemon=True),
            threading.Thread(target=self._publish, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Close everything at once."""
        self._over.set()
        self.server.shutdown()
        for client in list(self._clients):
            with suppress(OSError):
                client.socket.socket.shutdown(2)
        for thread in self._threads:
            thread.join()

    def _admit(self, _: ServerConnection, request: Request) -> Response | None:
        if self._sends_on_to is not None:
            return Response(302, "Found", Headers({"Location": self._sends_on_to, "Content-Length": "0"}), b"")
        given = request.headers.get("Authorization", "")
        if self._bearer is None or hmac.compare_digest(given, f"Bearer {self._bearer}"):
            return None
        return Response(401, "Unauthorized", Headers({"Content-Length": "0"}), b"")

    def _talk(self, socket: ServerConnection) -> None:
        client = Client(socket, is_known=self._rosauth is None)
        self._clients.append(client)
        with suppress(ConnectionClosed, OSError):
            for text in socket:
                frame = json.loads(text)
                if not client.is_known:
                    if not self._knows(frame):
                        socket.close()
                        return
                    client.is_known = True
                    continue
                with self.robot.lock:
                    self._hear(client, frame)

    def _knows(self, frame: dict[str, Any]) -> bool:
        assert self._rosauth is not None
        if frame["op"] != "auth" or abs(time.time() - frame["t"]) > 5:
            return False
        expected = rosauth(self._rosauth, frame["dest"], frame["t"], frame["rand"])
        return hmac.compare_digest(expected["mac"], frame["mac"])

    def _hear(self, client: Client, frame: dict[str, Any]) -> None:
        robot, op = self.robot, frame["op"]
        if op == "subscribe":
            client.topics[frame["topic"]] = frame
        elif op == "advertise":
            client.advertised[frame["topic"]] = frame["type"]
        elif op == "call_service" and frame["service"] == robot.config.actions.grip_stop:
            robot.fake.stop_fingers()
            client.send({"op": "service_response", "id": frame["id"], "values": {"success": True}, "result": True})
        elif op == "call_service":
            assert frame["service"] == CLOCK_SERVICE
            self._tell_time(client, frame)
        elif op == "send_action_goal":
            robot.start(frame["action"], frame["args"])
            self._goals[frame["id"]] = (frame["id"], frame["action"], client)
        elif op == "cancel_action_goal":
            self._cancel(frame["action"])
        elif op == "publish" and time.monotonic() < client.since_s + self._deaf_s:
            return
        elif op == "publish":
            assert frame["topic"] in client.advertised, "a topic is advertised before anything is published to it"
            self._take(client, frame["topic"], frame["msg"])
        else:
            client.send({"op": "status", "level": "error", "msg": f"Unknown operation: {op}"})

    def _take(self, client: Client, topic: str, message: dict[str, Any]) -> None:
        robot, topics = self.robot, self.robot.config.topics
        if topic == topics.command:
            word = robot.gate.hear(message["data"], robot.measured(), robot.now_s(), time.monotonic())
            robot.obey(word)
            self._say_watchdog()
        elif topic == topics.target:
            pose = message["pose"]
            assert message["header"]["frame_id"] == robot.config.arm.base_frame
            seconds, nanoseconds = message["header"]["stamp"].values()
            assert abs(seconds + 1e-9 * nanoseconds - robot.now_s()) < 1, "stamps are of the robot's clock"
            robot.pull(Pose(list(pose["position"].values()), list(pose["orientation"].values())))
        elif topic.endswith("/goal"):
            action = topic.removesuffix("/goal")
            number = message["goal_id"]["id"]
            if number in self.recalled:
                return
            robot.start(action, message["goal"])
            self._goals[number] = (number, action, client)
            self._say_statuses(action)
        elif topic.endswith("/cancel"):
            self.recalled.add(message.get("id", ""))
            self._cancel(topic.removesuffix("/cancel"))

    def _cancel(self, action: str) -> None:
        self.robot.fake.hold()
        for number, name, client in list(self._goals.values()):
            if name == action:
                self._answer(number, action, client, CANCELLED[self.ros])

    def _tell_time(self, client: Client, frame: dict[str, Any]) -> None:
        if "rosapi" in self.mute:
            client.send({"op": "service_response", "id": frame["id"], "values": "no such service", "result": False})
            return
        time.sleep(self.answer_delay_s)
        seconds, nanoseconds = divmod(round(self.robot.now_s() * 1e9), 10**9)
        names = {1: ("secs", "nsecs"), 2: ("sec", "nanosec")}[self.ros]
        values = {"time": dict(zip(names, (seconds, nanoseconds), strict=True))}
        client.send({"op": "service_response", "id": frame["id"], "values": values, "result": True})

    def _answer(self, number: str, action: str, client: Client, status: int, error: str = "") -> None:
        if self._goals.pop(number, None) is None:
            return
        names, code = self.robot.config.actions, 0 if status == SUCCEEDED[self.ros] else -4
        result: dict[str, Any] = {"success": code == 0, "error": error}
        if action == names.trajectory:
            result = {"error_code": code, "error_string": error}
        elif action == names.move_group:
            result = {"error_code": {"val": code or 1}}
        elif action == names.recovery:
            result = {}
        if self.ros == 2:
            values = {"op": "action_result", "id": number, "action": action, "values": result}
            client.send({**values, "status": status, "result": True})
            return
        said = {"status": {"goal_id": {"id": number}, "status": status, "text": error}, "result": result}
        self._send(f"{action}/result", said)

    def _publish(self) -> None:
        pictures_s = statuses_s = 0.0
        while not self._over.wait(STEP_S):
            with self.robot.lock:
                now_s = time.monotonic()
                self._publish_state()
                self._answer_goals()
                if now_s - statuses_s > STATUS_S:
                    statuses_s = now_s
                    self._say_watchdog()
                    names = self.robot.config.actions
                    for action in (
                        names.grip_stop,
                        names.grip_move,
                        names.grip_grasp,
                        names.recovery,
                        names.trajectory,
                        names.move_group,
                    ):
                        self._say_statuses(action)
                views = self.robot.views() if now_s - pictures_s > PICTURE_S else {}
                poses = {name: view.camera.world_from_camera for name, view in views.items()}
            if views:
                pictures_s = now_s
                self._publish_views(views, poses)

    def _publish_state(self) -> None:
        config, state = self.robot.config, replace(self.robot.fake.state(), stamp_s=self.robot.now_s())
        arm = config.arm
        self._send(config.topics.state, franka_state(self.ros, state, self.robot.base_from_ee, arm.joint_names))
        joints = dict(zip(arm.joint_names, state.joint_positions, strict=True))
        joints |= dict(zip(arm.finger_joint_names, state.finger_positions_m, strict=True))
        self._send(config.topics.joint_states, joint_state(self.ros, state.stamp_s, joints))

    def _publish_views(self, views: dict[str, RobotView], poses: dict[str, np.ndarray]) -> None:
        config = self.robot.config
        base_from_world = np.linalg.inv(config.arm.world_from_base.matrix)
        for name, view in views.items():
            camera = config.cameras[name]
            place = transform(
                self.ros, view.stamp_s, config.arm.base_frame, camera.frame, base_from_world @ poses[name]
            )
            self._send(config.topics.tf, tf(self.ros, place))
            for topic, message in zip(
                (camera.color, camera.depth, camera.info), pictures(self.ros, view, camera.frame), strict=True
            ):
                self._send(topic, message)

    def _answer_goals(self) -> None:
        fake = self.robot.fake
        if fake.progress().status == "running" or not self.robot.finishes:
            return
        failed = fake.progress().status == "failed"
        for number, action, client in list(self._goals.values()):
            aborted = {1: 4, 2: 6}[self.ros]
            self._answer(number, action, client, aborted if failed else SUCCEEDED[self.ros], fake.progress().message)

    def _say_statuses(self, action: str | None) -> None:
        if self.ros == 1 and action is not None:
            active = [number for number, name, _ in self._goals.values() if name == action]
            listed = [{"goal_id": {"id": number}, "status": 1, "text": ""} for number in active]
            self._send(f"{action}/status", {"status_list": listed})

    def _say_watchdog(self) -> None:
        if self.robot.config.watchdog.required:
            status = {"stamp_s": self.robot.now_s(), **vars(self.robot.gate.status)}
            self._send(self.robot.config.topics.watchdog, {"data": json.dumps(status)})

    def _send(self, topic: str, message: Any) -> None:
        """To all that listen, as each wants it."""
        if topic in self.mute:
            return
        message = self.alter(topic, message)
        for client in list(self._clients):
            wanted = client.topics.get(topic)
            if wanted is None or time.monotonic() - client.sent_s.get(topic, 0) < wanted["throttle_rate"] / 1000:
                continue
            client.sent_s[topic] = time.monotonic()
            with suppress(ConnectionClosed, OSError):
                if wanted["compression"] == "cbor-raw":
                    client.socket.send(cbor2.dumps(self._raw(topic, wanted["type"], message)))
                else:
                    client.send({"op": "publish", "topic": topic, "msg": self._json(message)})

    def _raw(self, topic: str, kind: str, message: Any) -> dict[str, Any]:
        store = STORES[self.ros]
        name = kind if self.ros == 2 else kind.replace("/", "/msg/")
        serialize = store.serialize_ros1 if self.ros == 1 else store.serialize_cdr
        data = message if isinstance(message, bytes) else bytes(serialize(message, name))
        return {"op": "publish", "topic": topic, "msg": {"secs": 0, "nsecs": 0, "bytes": data}}

    def _json(self, message: Any) -> Any:
        """As rosbridge writes it: times of ROS 1 with their own names, and null for what is not finite."""
        return _finite(plain(message), self.ros)


def _finite(value: Any, ros: int) -> Any:
    if isinstance(value, dict):
        if ros == 1 and set(value) == {"sec", "nanosec"}:
            return {"secs": value["sec"], "nsecs": value["nanosec"]}
        return {name: _finite(part, ros) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part, ros) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
