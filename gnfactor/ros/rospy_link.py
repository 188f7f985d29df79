"""The way to a robot of ROS 1 by rospy, for a computer on the robot's network that has ROS itself.

What moves goes through the watchdog where one is required. Connections that break come back by themselves, as rospy has
it; what was lost is said by every command until then, and afterwards nothing moves before a hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from gnfactor.errors import ConfigError, GNFactorError, RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.goals import COMPLAINTS, Goal, grip_goal, plan_goal, trajectory_goal
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, Progress, RobotState, RobotView
from gnfactor.ros.messages import decode, filled, message_class, ros_module
from gnfactor.ros.rospy_actions import ActionClient
from gnfactor.ros.rospy_node import MasterWatch, choose_addresses, start_node
from gnfactor.ros.sensors import Sensors
from gnfactor.ros.voice import Voice
from gnfactor.ros.watchdog import quaternion_xyzw

ActionName = Literal["trajectory", "plan", "move", "grasp", "recovery"]
KINDS: Mapping[ActionName, str] = {
    "trajectory": "control_msgs/FollowJointTrajectory",
    "plan": "moveit_msgs/MoveGroup",
    "move": "franka_gripper/Move",
    "grasp": "franka_gripper/Grasp",
    "recovery": "franka_msgs/ErrorRecovery",
}
SILENT_S = 1.0
"""A robot whose state has not come for so long is lost."""
_FRESH_S = 0.3
"""A measured pose that came longer ago is not commanded: the arm may be elsewhere by now."""
_BUFFER = 2**24
"""Bytes, for pictures."""
_POLL_S, _FLUSH_S = 0.01, 0.1


@dataclass(frozen=True)
class _Job:
    """What was started last."""

    sequence: int
    action: ActionClient


class RospyLink:
    """RobotLink over rospy. One process can be one node of ROS 1, once."""

    def __init__(self, config: RobotConfig) -> None:
        """Connect, and wait until all that is needed is there; commands nothing.

        Raises:
            MissingExtraError: ROS 1 is not installed.
            ConfigError: the configuration is not of a ROS 1, or addresses or files are missing in it.
            RobotError: the master, a topic, a controller or an action has not appeared within link.timeout_s.
        """
        if config.ros != 1:
            raise ConfigError(f"link.type is rospy, which speaks ROS 1, and ros is {config.ros}; use rosbridge")
        self._config, self._began_s = config, time.monotonic()
        self._owns_node = start_node(config.link.uri, config.link.timeout_s)
        self._rospy = ros_module("rospy")
        self._master = MasterWatch(choose_addresses(config.link.uri))
        self._sensors = Sensors(config)
        self._came_s: dict[str, float] = {}
        self._broken: dict[str, str] = {}
        self._job: _Job | None = None
        self._moves, self._has_commanded, self._is_closed = False, False, False
        self._last_sequence = 0
        self._needs_hold: str | None = None
        """What was lost, until a hold after it."""
        self._topics: list[Any] = []
        text, pose = message_class("std_msgs/String"), message_class("geometry_msgs/PoseStamped")
        self._words = self._publisher(config.topics.command, text)
        self._voice = Voice(config, self._words.publish, self.now_s)
        target = config.topics.target
        self._targets = None if target is None else self._publisher(target, pose)
        self._subscribe(config.topics.watchdog, text, lambda message: self._voice.take(message.data))
        for topic, kind in self._sensors.topics().items():
            # The state's definition comes with it: franka_msgs need not be installed here.
            found = self._rospy.AnyMsg if topic == config.topics.state else message_class(kind)
            self._subscribe(topic, found, self._taker(topic))
        self._actions = {name: self._client(name, topic) for name, topic in _actions(config).items()}
        try:
            self._wait_for_all()
        except BaseException:
            self._release()
            raise

    def now_s(self) -> float:
        return float(self._rospy.get_time())

    def wait(self, duration_s: float) -> None:
        end_s = self.now_s() + duration_s
        while True:
            self._beat()
            left_s = end_s - self.now_s()
            if left_s <= 0:
                return
            time.sleep(min(left_s, 1 / self._config.watchdog.heartbeat_hz))

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        end_s = time.monotonic() + max_age_s
        while True:
            self._check_reach()
            views = self._sensors.views(self.now_s(), max_age_s)
            if views is not None:
                return views
            if time.monotonic() > end_s:
                raise RobotError(f"no new pictures: {self._sensors.blindness(self.now_s(), max_age_s)}")
            time.sleep(_POLL_S)

    def state(self) -> RobotState:
        self._beat()
        complaint = self._closure() or self._silence()
        if complaint is not None:
            raise RobotError(complaint)
        return self._sensors.state()

    def stream(self, target: PoseTarget) -> None:
        self._check_may_move()
        if not self._takes(target.sequence, target.expires_s):
            return
        self._moves = self._has_commanded = True
        if self._config.watchdog.required:
            self._voice.target(target)
        else:
            self._pull(target.base_from_gripper)

    def start_trajectory(self, trajectory: JointTrajectory) -> None:
        self._start("trajectory", trajectory, lambda: trajectory_goal(self._config, trajectory))

    def start_plan(self, request: PlanRequest) -> None:
        self._start("plan", request, lambda: plan_goal(self._config, request))

    def start_grip(self, command: GripCommand) -> None:
        self._start("grasp" if command.grasp else "move", command, lambda: grip_goal(command))

    def progress(self) -> Progress:
        self._check_reach()
        self._beat()
        if self._job is None:
            return Progress(0, "done")
        if self._config.watchdog.required and self._moves:
            self._check_watchdog()
            if (latch := self._voice.latch()) is not None:
                return Progress(self._job.sequence, "failed", latch)
        found = self._job.action.state()
        return Progress(self._job.sequence, found.status, found.message)

    def hold(self) -> None:
        """End goals, tell the watchdog, and where it does not answer, send the measured pose ourselves.

        Raises:
            RobotError: the robot may not have heard it; all was tried nevertheless.
        """
        if self._is_closed:
            raise RobotError("this link is closed")
        self._moves, self._has_commanded = False, True
        for name, action in self._actions.items():
            if name != "recovery":
                action.cancel()
        complaint = self._voice.hold() if self._config.watchdog.required else None
        if complaint is not None or not self._config.watchdog.required:
            sent = self._pull_to_measured()
            complaint = complaint and f"{complaint}; {sent}"
        complaint = self._loss() or complaint
        self._needs_hold = complaint
        if complaint is not None:
            raise RobotError(complaint)

    def recover(self) -> None:
        """As in RobotLink. Holds before and after, so that no old target waits for the arm.

        Raises:
            RobotError: it cannot be reached, or has not recovered within link.timeout_s.
        """
        self._check_reach()
        self.hold()
        action, end_s = self._actions["recovery"], time.monotonic() + self._config.link.timeout_s
        action.start({})
        while (found := action.state()).status == "running":
            if time.monotonic() > end_s:
                raise RobotError(f"{action.name} has not ended within {self._config.link.timeout_s} s")
            time.sleep(_POLL_S)
        if found.status == "failed":
            raise RobotError(f"the robot has not recovered: {found.message}")
        self.hold()

    def close(self) -> None:
        """Hold, then release everything; one that never commanded anything leaves without a word."""
        if self._is_closed:
            return
        try:
            if self._has_commanded:
                self.hold()
        finally:
            time.sleep(_FLUSH_S)
            self._release()

    def _start(
        self, name: ActionName, command: JointTrajectory | PlanRequest | GripCommand, make: Callable[[], Goal]
    ) -> None:
        self._check_may_move()
        if not self._takes(command.sequence, command.expires_s):
            return
        if name not in self._actions:
            raise RobotError(f"this robot is not set up for '{name}': the executor is {self._config.executor.name}")
        goal, action = make(), self._actions[name]
        self._moves = self._has_commanded = True
        if self._config.watchdog.required:
            self._voice.arm()
        action.start(goal)
        self._job = _Job(command.sequence, action)

    def _takes(self, sequence: int, expires_s: float) -> bool:
        """Whether a command is neither late nor out of order."""
        if self.now_s() >= expires_s or sequence <= self._last_sequence:
            return False
        self._last_sequence = sequence
        return True

    def _beat(self) -> None:
        if self._moves and self._config.watchdog.required:
            self._voice.heartbeat()

    def _check_reach(self) -> None:
        complaint = self._loss()
        if complaint is not None:
            self._needs_hold = self._needs_hold or complaint
            raise RobotError(complaint)

    def _check_may_move(self) -> None:
        self._check_reach()
        if self._config.watchdog.required:
            self._check_watchdog()
        if self._needs_hold is not None:
            raise RobotError(f"hold before the next motion, since there was this: {self._needs_hold}")
        if self._config.watchdog.required and (latch := self._voice.latch()) is not None:
            raise RobotError(latch)

    def _check_watchdog(self) -> None:
        """Wait for its first word as long as for everything else; later it has to be there."""
        while (complaint := self._voice.silence()) is not None:
            if time.monotonic() - self._began_s > self._config.link.timeout_s:
                self._needs_hold = self._needs_hold or complaint
                raise RobotError(complaint)
            time.sleep(_POLL_S)

    def _loss(self) -> str | None:
        """What is lost, if anything without which no command reaches the robot."""
        return self._closure() or self._silence() or self._master.complaint()

    def _closure(self) -> str | None:
        if self._is_closed:
            return "this link is closed"
        return "ROS has shut this node down" if self._rospy.is_shutdown() else None

    def _silence(self) -> str | None:
        topic = self._config.topics.state
        silent_s = time.monotonic() - self._came_s.get(topic, self._began_s)
        return None if silent_s <= SILENT_S else f"the robot's state has not come on {topic} for {silent_s:.1f} s"

    def _pull(self, base_from_gripper: Float[np.ndarray, "4 4"]) -> None:
        """Give the controller a target without a watchdog between."""
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

    def _pull_to_measured(self) -> str:
        """Command the measured pose, where it is known; in words, whether that was done."""
        if self._targets is None:
            return "there is no topic for the measured pose; goals are cancelled only"
        if time.monotonic() - self._came_s.get(self._config.topics.state, -np.inf) > _FRESH_S:
            return "the measured pose is not known any more; goals are cancelled only"
        self._pull(self._sensors.state().base_from_gripper)
        return f"the measured pose was sent to {self._config.topics.target} directly"

    def _wait_for_all(self) -> None:
        end_s = time.monotonic() + self._config.link.timeout_s
        while (missing := self._missing()) is not None:
            if time.monotonic() > end_s:
                raise RobotError(f"after {self._config.link.timeout_s} s (link.timeout_s), {missing}")
            time.sleep(_POLL_S)

    def _missing(self) -> str | None:
        """In words, what has to be there and is not."""
        if self._broken:
            return "; ".join(f"{topic}: {complaint}" for topic, complaint in self._broken.items())
        said = [f"nothing has come on {topic}" for topic in self._sensors.missing()]
        said += [f"no action server answers at {one.name}" for one in self._actions.values() if not one.is_there]
        if self._config.executor.name == "impedance" and self._targets and not self._targets.get_num_connections():
            said.append(f"no controller listens to {self._config.topics.target}")
        if not said:
            return None
        return "; ".join(said) + ": start the robot's software, or correct these names (rostopic list tells them)"

    def _publisher(self, topic: str, kind: type[Any]) -> Any:
        made = self._rospy.Publisher(topic, kind, queue_size=8, tcp_nodelay=True)
        self._topics.append(made)
        return made

    def _subscribe(self, topic: str, kind: type[Any], take: Callable[[Any], None]) -> None:
        # Frames come in many messages, none of which may be missing; of the rest the newest counts.
        queue = 100 if topic in (self._config.topics.tf, self._config.topics.tf_static) else 2
        made = self._rospy.Subscriber(topic, kind, take, queue_size=queue, buff_size=_BUFFER, tcp_nodelay=True)
        self._topics.append(made)

    def _taker(self, topic: str) -> Callable[[Any], None]:
        """What becomes of the messages of one topic."""

        def take(message: Any) -> None:
            try:
                if isinstance(message, self._rospy.AnyMsg):
                    message = decode(message._connection_header, message._buff)
                self._sensors.take(topic, message)
                self._came_s[topic] = time.monotonic()
            except GNFactorError as error:
                self._broken[topic] = str(error)

        return take

    def _client(self, name: ActionName, topic: str) -> ActionClient:
        family = {"move": "grip", "grasp": "grip"}.get(name, name)
        return ActionClient(topic, KINDS[name], COMPLAINTS.get(family, lambda _: None))

    def _release(self) -> None:
        self._is_closed = True
        self._master.close()
        for topic in self._topics:
            topic.unregister()
        for action in self._actions.values():
            action.close()
        if self._owns_node:
            self._rospy.signal_shutdown("the link is closed")


def _actions(config: RobotConfig) -> dict[ActionName, str]:
    """Names of the actions that this configuration uses."""
    names = config.actions
    found: dict[ActionName, str] = {"move": names.grip_move, "grasp": names.grip_grasp, "recovery": names.recovery}
    executor = config.executor.name
    if executor == "trajectory" and names.trajectory is not None:
        found["trajectory"] = names.trajectory
    if executor == "moveit" and names.move_group is not None:
        found["plan"] = names.move_group
    return found
