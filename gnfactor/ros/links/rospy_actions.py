"""One action of the robot in ROS 1, over its plain topics: what is under way stays so when the master is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count
from threading import Lock
from typing import Any
from uuid import uuid4

from gnfactor.errors import RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.links.goals import Goal, grip_complaint, plan_complaint, trajectory_complaint
from gnfactor.ros.links.messages import filled, message_class, plain, ros_module
from gnfactor.ros.links.ros_link import GoalState, Role
from gnfactor.ros.links.rospy_node import send

_FORGOTTEN_S = 3.0
"""A server that has not named our goal for so long does not know it any more."""
_SUCCEEDED = 3
_ENDS = {2: "preempted", 4: "aborted", 5: "rejected", 8: "recalled", 9: "lost"}
"""Of actionlib_msgs/GoalStatus."""


_KINDS: Mapping[Role, tuple[str, Callable[[Goal], str | None]]] = {
    "move": ("franka_gripper/Move", grip_complaint),
    "grasp": ("franka_gripper/Grasp", grip_complaint),
    "stop": ("franka_gripper/Stop", grip_complaint),
    "recovery": ("franka_msgs/ErrorRecovery", lambda _: None),
    "trajectory": ("control_msgs/FollowJointTrajectory", trajectory_complaint),
    "plan": ("moveit_msgs/MoveGroup", plan_complaint),
}
"""Type of each action, and why its result is no success."""


def action_clients(config: RobotConfig) -> dict[Role, ActionClient]:
    """For the actions that a robot of this configuration is asked for; making the classes of MoveIt's takes seconds."""
    names = config.actions
    wanted: dict[Role, str | None] = {
        "move": names.grip_move,
        "grasp": names.grip_grasp,
        "stop": names.grip_stop,
        "recovery": names.recovery,
        "trajectory": names.trajectory if config.executor.name == "trajectory" else None,
        "plan": names.move_group if config.executor.name == "moveit" else None,
    }
    return {role: ActionClient(name, *_KINDS[role]) for role, name in wanted.items() if name is not None}


class ActionClient:
    """Sends one goal at a time. Safe to be asked while messages come in other threads."""

    def __init__(self, name: str, kind: str, complaint: Callable[[Goal], str | None]) -> None:
        """Begin to listen.

        Args:
            name: of the action, such as "/franka_gripper/move".
            kind: its type, such as "franka_gripper/Move".
            complaint: why a result is no success, if so.

        Raises:
            MissingExtraError: ROS 1 is not installed.
        """
        rospy, self.name, self._kind, self._complaint = ros_module("rospy"), name, kind, complaint
        goal, result = message_class(f"{kind}ActionGoal"), message_class(f"{kind}ActionResult")
        goal_id, statuses = message_class("actionlib_msgs/GoalID"), message_class("actionlib_msgs/GoalStatusArray")
        self._ids = (f"gnfactor-{uuid4().hex[:12]}-{number}" for number in count(1))
        self._lock = Lock()
        self._id, self._result, self._known_s = "", None, 0.0
        self._goals = rospy.Publisher(f"{name}/goal", goal, queue_size=4, tcp_nodelay=True)
        self._cancels = rospy.Publisher(f"{name}/cancel", goal_id, queue_size=4, tcp_nodelay=True)
        self._results = rospy.Subscriber(f"{name}/result", result, self._on_result, tcp_nodelay=True)
        self._statuses = rospy.Subscriber(f"{name}/status", statuses, self._on_status, tcp_nodelay=True)

    @property
    def is_there(self) -> bool:
        """Whether a server takes goals of this kind and answers."""
        return all(topic.get_num_connections() for topic in (self._goals, self._cancels, self._results))

    def start(self, goal: Goal) -> None:
        """Send a goal; a server gives up an earlier one for it.

        Raises:
            RobotError: no server is there to take it.
        """
        if not self.is_there:
            raise RobotError(f"no action server answers at {self.name}; is it running on the robot?")
        message = filled(f"{self._kind}ActionGoal", {"goal": goal}, self._kind)
        with self._lock:
            self._id, self._result, self._known_s = next(self._ids), None, time.monotonic()
            message.goal_id.id = self._id
        send(self._goals, message)

    def cancel(self) -> None:
        """End whatever the server does, whoever asked for it, and our last goal also if it arrives only later."""
        send(self._cancels, filled("actionlib_msgs/GoalID", {}))
        if self._id and self._result is None:
            send(self._cancels, filled("actionlib_msgs/GoalID", {"id": self._id}))

    def state(self) -> GoalState:
        """Of the goal that was sent last."""
        with self._lock:
            result, forgotten_s = self._result, time.monotonic() - self._known_s
        if result is None and forgotten_s > _FORGOTTEN_S:
            return GoalState("failed", f"the server of {self.name} has not named our goal for {forgotten_s:.1f} s")
        if result is None:
            return GoalState("running")
        complaint = self._complaint(plain(result.result))
        if result.status.status == _SUCCEEDED and complaint is None:
            return GoalState("done")
        end = _ENDS.get(result.status.status, "")
        said = [end, complaint, result.status.text]
        return GoalState("failed", f"{self.name}: " + ", ".join(text for text in said if text))

    def close(self) -> None:
        """Stop listening."""
        for topic in (self._goals, self._cancels, self._results, self._statuses):
            topic.unregister()

    def _on_result(self, message: Any) -> None:
        with self._lock:
            if message.status.goal_id.id == self._id:
                self._result = message

    def _on_status(self, message: Any) -> None:
        with self._lock:
            if any(status.goal_id.id == self._id for status in message.status_list):
                self._known_s = time.monotonic()
