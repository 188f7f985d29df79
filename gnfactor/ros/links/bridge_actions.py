"""Actions of the robot through a rosbridge server: topics in ROS 1, operations of the protocol in ROS 2."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Lock
from types import SimpleNamespace
from typing import Any, Literal, Protocol, runtime_checkable

from gnfactor.errors import RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.links.bridge_messages import type_name
from gnfactor.ros.links.goals import Goal, grip_complaint, plan_complaint, trajectory_complaint
from gnfactor.ros.links.ros_link import GoalState, RobotAction, Role
from gnfactor.ros.links.rosbridge import Rosbridge, Subscription

KINDS: Mapping[int, Mapping[Role, str]] = {
    1: {
        "move": "franka_gripper/Move",
        "grasp": "franka_gripper/Grasp",
        "stop": "franka_gripper/Stop",
        "recovery": "franka_msgs/ErrorRecovery",
        "trajectory": "control_msgs/FollowJointTrajectory",
        "plan": "moveit_msgs/MoveGroup",
    },
    2: {
        "move": "franka_msgs/Move",
        "grasp": "franka_msgs/Grasp",
        "recovery": "franka_msgs/ErrorRecovery",
        "trajectory": "control_msgs/FollowJointTrajectory",
        "plan": "moveit_msgs/MoveGroup",
    },
}
"""Types by generation of ROS and by what is asked for."""
_READERS: Mapping[Role, Callable[[Goal], str | None]] = {
    "move": grip_complaint,
    "grasp": grip_complaint,
    "stop": grip_complaint,
    "recovery": lambda _: None,
    "trajectory": trajectory_complaint,
    "plan": plan_complaint,
}
"""Why a result is no success."""
_STATUS_MS = 50
_HEARD_S, _POLL_S = 1.0, 0.005
"""How long after a connection a server may take to be heard; it speaks five times a second."""
_FORGOTTEN_S = 3.0
"""A server that has not named our goal for so long does not know it any more."""
_ENDS = {
    1: {2: "preempted", 3: "", 4: "aborted", 5: "rejected", 8: "recalled", 9: "lost"},
    2: {0: "not taken", 4: "", 5: "canceled", 6: "aborted"},
}
"""Of GoalStatus, by generation of ROS; without a word: it has succeeded."""


def bridge_actions(bridge: Rosbridge, config: RobotConfig) -> dict[Role, BridgeAction]:
    """The actions that a robot of this configuration is asked for."""
    names = config.actions
    wanted: dict[Role, str] = {"move": names.grip_move, "grasp": names.grip_grasp, "recovery": names.recovery}
    if config.ros == 1:  # in ROS 2 it is a service
        wanted["stop"] = names.grip_stop
    if config.executor.name == "trajectory" and names.trajectory is not None:
        wanted["trajectory"] = names.trajectory
    if config.executor.name == "moveit" and names.move_group is not None:
        wanted["plan"] = names.move_group
    make = {1: TopicAction, 2: OperationAction}[config.ros]
    return {role: make(bridge, name, role) for role, name in wanted.items()}


@runtime_checkable
class BridgeAction(RobotAction, Protocol):
    """One action behind a bridge."""

    @property
    def name(self) -> str: ...

    @property
    def is_there(self) -> bool:
        """Whether its server has been heard over this connection."""
        ...


class TopicAction:
    """An action of ROS 1, over its plain topics."""

    def __init__(self, bridge: Rosbridge, name: str, role: Role) -> None:
        kind = KINDS[1][role]
        self._bridge, self.name = bridge, name
        self._role: Role = role
        self._lock = Lock()
        self._id, self._result, self._named_s = "", None, 0.0
        self._heard_on = self._sent_on = 0
        """Connections, by their count."""
        bridge.advertise(f"{name}/goal", f"{kind}ActionGoal")
        bridge.advertise(f"{name}/cancel", "actionlib_msgs/GoalID")
        bridge.subscribe(f"{name}/result", Subscription(f"{kind}ActionResult", self._on_result))
        statuses = Subscription(
            "actionlib_msgs/GoalStatusArray", self._on_status, pause_ms=_STATUS_MS, newest_only=True
        )
        bridge.subscribe(f"{name}/status", statuses)

    @property
    def is_there(self) -> bool:
        return self._heard_on == self._bridge.connections

    def start(self, goal: Goal) -> None:
        end_s = time.monotonic() + _HEARD_S
        while not self.is_there:
            if time.monotonic() > end_s:
                raise RobotError(f"no server of the action {self.name} has been heard; is it running on the robot?")
            time.sleep(_POLL_S)
        with self._lock:
            self._id, self._result, self._named_s = self._bridge.next_number(), None, time.monotonic()
            self._sent_on = self._bridge.connections
        self._bridge.publish(f"{self.name}/goal", {"goal_id": {"id": self._id}, "goal": goal})

    def cancel(self) -> None:
        """End whatever the server does, whoever asked for it, and our last goal also if it arrives only later."""
        self._bridge.publish(f"{self.name}/cancel", {})
        if self._id and self._result is None:
            self._bridge.publish(f"{self.name}/cancel", {"id": self._id})

    def state(self) -> GoalState:
        with self._lock:
            result, forgotten_s = self._result, time.monotonic() - self._named_s
        if result is not None:
            return _end(1, self.name, self._role, result.status.status, _fields(result.result), result.status.text)
        if self._sent_on != self._bridge.connections:
            return GoalState("failed", f"{self.name}: the connection was lost while it was under way")
        if forgotten_s <= _FORGOTTEN_S:
            return GoalState("running")
        return GoalState("failed", f"the server of {self.name} has not named our goal for {forgotten_s:.1f} s")

    def _on_result(self, message: Any) -> None:
        with self._lock:
            if message.status.goal_id.id == self._id:
                self._result = message

    def _on_status(self, message: Any) -> None:
        with self._lock:
            self._heard_on = self._bridge.connections
            if any(status.goal_id.id == self._id for status in message.status_list):
                self._named_s = time.monotonic()


class OperationAction:
    """An action of ROS 2, which the bridge asks for in our name."""

    def __init__(self, bridge: Rosbridge, name: str, role: Role) -> None:
        self._bridge, self.name = bridge, name
        self._role: Role = role
        self._kind = type_name(2, KINDS[2][role], "action")
        self._id: str | None = None
        self._answer: Future[Mapping[str, Any]] | None = None

    @property
    def is_there(self) -> bool:
        """Only a goal finds out."""
        return True

    def start(self, goal: Goal) -> None:
        self._id = self._bridge.next_number()
        operation = {"op": "send_action_goal", "action": self.name, "action_type": self._kind, "args": goal}
        self._answer = self._bridge.request(operation, self._id)

    def cancel(self) -> None:
        """End our last goal, also one that was sent over a connection that has been lost."""
        if self._id is None or (self._answer is not None and self._answer.done() and not self._answer.exception()):
            return
        self._bridge.send({"op": "cancel_action_goal", "id": self._id, "action": self.name})

    def state(self) -> GoalState:
        if self._answer is None or not self._answer.done():
            return GoalState("running")
        lost = self._answer.exception()
        if lost is not None:
            return GoalState("failed", f"{self.name}: {lost}")
        frame = self._answer.result()
        if not frame["result"]:
            return GoalState("failed", f"{self.name}: {frame.get('values')}")
        return _end(2, self.name, self._role, frame["status"], frame["values"], "")


def _fields(message: Any) -> Any:
    """A message with attributes as nested mappings."""
    if isinstance(message, SimpleNamespace):
        return {name: _fields(value) for name, value in vars(message).items()}
    return message


def _end(ros: Literal[1, 2], name: str, role: Role, status: int, result: Goal, text: str) -> GoalState:
    """What came of a goal that has ended."""
    end = _ENDS[ros].get(status, f"ended with the status {status}")
    try:
        complaint = _READERS[role](result)
    except (KeyError, TypeError) as error:
        complaint = f"its result cannot be read ({error!r}): are the robot's messages of another version?"
    if not end and complaint is None:
        return GoalState("done")
    return GoalState("failed", f"{name}: " + ", ".join(word for word in (end, complaint, text) if word))
