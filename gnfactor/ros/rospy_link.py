"""The way to a robot of ROS 1 by rospy, for a computer on the robot's network that has ROS itself.

What moves goes through the watchdog where one is required. Connections that break come back by themselves, as rospy has
it; what was lost is said by every command until then, and afterwards nothing moves before a hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gnfactor.errors import ConfigError, RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.goals import (
    Goal,
    grip_complaint,
    grip_goal,
    plan_complaint,
    plan_goal,
    trajectory_complaint,
    trajectory_goal,
)
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, Progress, RobotState, RobotView
from gnfactor.ros.messages import ros_module
from gnfactor.ros.rospy_actions import ActionClient
from gnfactor.ros.rospy_node import MasterWatch, choose_addresses, start_node
from gnfactor.ros.rospy_topics import RobotTopics
from gnfactor.ros.voice import Voice

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
        uri = choose_addresses(config.link.uri)
        self._owns_node = start_node(uri, config.link.timeout_s)
        self._rospy, self._master = ros_module("rospy"), MasterWatch(uri)
        self._voice = Voice(config, self._say, self.now_s)
        self._topics = RobotTopics(config, self._voice.take)
        self._actions = _action_clients(config)
        self._job: _Job | None = None
        self._last_sequence = 0
        self._moves, self._has_commanded, self._is_closed = False, False, False
        self._needs_hold: str | None = None
        """What was lost, until a hold after it."""
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
        end_s, sensors = time.monotonic() + max_age_s, self._topics.sensors
        while True:
            self._check_reach()
            views = sensors.views(self.now_s(), max_age_s)
            if views is not None:
                return views
            if time.monotonic() > end_s:
                raise RobotError(f"no new pictures: {sensors.blindness(self.now_s(), max_age_s)}")
            time.sleep(_POLL_S)

    def state(self) -> RobotState:
        self._beat()
        complaint = self._closure() or self._topics.silence()
        if complaint is not None:
            raise RobotError(complaint)
        return self._topics.sensors.state()

    def stream(self, target: PoseTarget) -> None:
        self._check_may_move()
        if not self._takes(target.sequence, target.expires_s):
            return
        self._moves = self._has_commanded = True
        if self._config.watchdog.required:
            self._voice.target(target)
        else:
            self._topics.pull(target.base_from_gripper)

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
                raise RobotError(latch)
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
        self._end_goals()
        complaint = self._voice.hold() if self._config.watchdog.required else None
        if not self._config.watchdog.required:
            self._topics.pull_to_measured()
        elif complaint is not None:
            complaint = f"{complaint}; {self._topics.pull_to_measured()}"
        self._needs_hold = self._loss() or complaint
        if self._needs_hold is not None:
            raise RobotError(self._needs_hold)

    def recover(self) -> None:
        """As in RobotLink. Holds before and after, so that no old target waits for the arm.

        Raises:
            RobotError: it cannot be reached, or has not recovered within link.timeout_s.
        """
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
            raise RobotError(f"this link is not set up for '{name}': executor.name is {self._config.executor.name}")
        goal, action = make(), self._actions[name]
        self._moves = self._has_commanded = True
        if self._config.watchdog.required:
            self._voice.arm()
        action.start(goal)
        self._job = _Job(command.sequence, action)

    def _end_goals(self) -> None:
        """Whoever asked for them. Franka's gripper does not heed cancellations: moving fingers are stopped."""
        for name, action in self._actions.items():
            if name in ENDED_BY_HOLD:
                action.cancel()
        fingers = (self._actions["move"], self._actions["grasp"])
        if self._job is not None and self._job.action in fingers and self._job.action.state().status == "running":
            self._actions["stop"].start({})

    def _say(self, word: str) -> None:
        self._topics.say(word)

    def _takes(self, sequence: int, expires_s: float) -> bool:
        """Whether a command is neither late nor out of order."""
        if self.now_s() >= expires_s or sequence <= self._last_sequence:
            return False
        self._last_sequence = sequence
        return True

    def _beat(self) -> None:
        """Never from a thread of its own: a policy that hangs must stop the arm."""
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
        """What is lost of that without which no command reaches the robot."""
        return self._closure() or self._topics.silence() or self._master.complaint()

    def _closure(self) -> str | None:
        if self._is_closed:
            return "this link is closed"
        return "ROS has shut this node down" if self._rospy.is_shutdown() else None

    def _wait_for_all(self) -> None:
        end_s = time.monotonic() + self._config.link.timeout_s
        while missing := self._missing():
            if time.monotonic() > end_s:
                raise RobotError(
                    f"after {self._config.link.timeout_s} s (link.timeout_s), {'; '.join(missing)}: start the robot's "
                    "software, or correct these names (rostopic list tells those that there are)"
                )
            time.sleep(_POLL_S)

    def _missing(self) -> list[str]:
        servers = [f"no action server answers at {one.name}" for one in self._actions.values() if not one.is_there]
        return self._topics.missing() + servers

    def _release(self) -> None:
        self._is_closed = True
        self._master.close()
        self._topics.close()
        for action in self._actions.values():
            action.close()
        if self._owns_node:
            self._rospy.signal_shutdown("the link is closed")


ActionName = Literal["trajectory", "plan", "move", "grasp", "stop", "recovery"]
ENDED_BY_HOLD: tuple[ActionName, ...] = ("trajectory", "plan", "move", "grasp")
_KINDS: Mapping[ActionName, tuple[str, Callable[[Goal], str | None]]] = {
    "trajectory": ("control_msgs/FollowJointTrajectory", trajectory_complaint),
    "plan": ("moveit_msgs/MoveGroup", plan_complaint),
    "move": ("franka_gripper/Move", grip_complaint),
    "grasp": ("franka_gripper/Grasp", grip_complaint),
    "stop": ("franka_gripper/Stop", grip_complaint),
    "recovery": ("franka_msgs/ErrorRecovery", lambda _: None),
}
"""Type of each action, and why its result is no success."""


def _action_clients(config: RobotConfig) -> dict[ActionName, ActionClient]:
    """Those that this configuration uses; making the classes of MoveIt's takes seconds."""
    names = config.actions
    wanted: dict[ActionName, str | None] = {
        "move": names.grip_move,
        "grasp": names.grip_grasp,
        "stop": names.grip_stop,
        "recovery": names.recovery,
        "trajectory": names.trajectory if config.executor.name == "trajectory" else None,
        "plan": names.move_group if config.executor.name == "moveit" else None,
    }
    return {name: ActionClient(topic, *_KINDS[name]) for name, topic in wanted.items() if topic is not None}
