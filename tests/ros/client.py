"""The other side of the simulated Franka, for tests: listens to its topics, streams targets, calls actions."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import actionlib
import numpy as np
import rospy
from geometry_msgs.msg import PoseStamped
from scipy.spatial.transform import Rotation, Slerp
from std_srvs.srv import SetBool, Trigger

from gnfactor.ros.links.messages import decode, message_class
from tests.ros.franka_node import BASE, BASE_POSITION_M

STATE = "/franka_state_controller/franka_states"
TARGET = "/cartesian_impedance_example_controller/equilibrium_pose"
_SPEED_M_S, _SPEED_RAD_S, _RATE_HZ = 0.3, 1.0, 30.0
_LEAD_M = 0.06
"""The target waits where it is this far ahead of the gripper."""


class Client:
    """Keeps the latest message of each topic that it listens to, and when each one came."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}
        self.came_s: dict[str, list[float]] = defaultdict(list)
        self._targets = rospy.Publisher(TARGET, PoseStamped, queue_size=1, tcp_nodelay=True)
        self._hand = rospy.Publisher("/simulation/hand", PoseStamped, queue_size=1, tcp_nodelay=True)
        self._actions: dict[str, actionlib.SimpleActionClient] = {}

    def listen(self, topic: str, kind: type[Any] = rospy.AnyMsg) -> None:
        def keep(message: Any) -> None:
            self.latest[topic] = message
            self.came_s[topic].append(time.monotonic())

        rospy.Subscriber(topic, kind, keep, queue_size=5, tcp_nodelay=True, buff_size=2**22)

    def wait(self, is_done: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Whether something became true within that time."""
        end = time.monotonic() + seconds
        while not is_done():
            if time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def state(self) -> Any:
        """The arm's own state, by the definition that came with it."""
        raw = self.latest[STATE]
        return decode(raw._connection_header, raw._buff)

    def pose(self) -> np.ndarray:
        """`base_from_gripper` as the state has it, which is by columns."""
        return np.array(self.state().O_T_EE).reshape(4, 4).T

    def send(self, base_from_gripper: np.ndarray) -> None:
        """Publish one target."""
        self._targets.publish(_pose_message(base_from_gripper))

    def go(self, base_from_gripper: np.ndarray, seconds: float = 40.0) -> float:
        """Stream targets along the straight line to a pose and wait there; how far off the gripper ended (m)."""
        return self._pull(self._targets, base_from_gripper, seconds)

    def lead(self, base_from_gripper: np.ndarray, seconds: float = 40.0) -> float:
        """Guide the arm to a pose as a hand does, in the mode that `switch("guide", True)` begins."""
        return self._pull(self._hand, base_from_gripper, seconds)

    def _pull(self, publisher: rospy.Publisher, base_from_gripper: np.ndarray, seconds: float) -> float:
        start = self.pose()
        turns = Rotation.from_matrix(np.stack((start[:3, :3], base_from_gripper[:3, :3])))
        way_m = float(np.linalg.norm(base_from_gripper[:3, 3] - start[:3, 3]))
        duration_s = max(way_m / _SPEED_M_S, float((turns[1] * turns[0].inv()).magnitude()) / _SPEED_RAD_S, 0.05)
        turn, share, end, target = Slerp((0.0, 1.0), turns), 0.0, time.monotonic() + seconds, start
        while time.monotonic() < end:
            off_m = float(np.linalg.norm(self.pose()[:3, 3] - base_from_gripper[:3, 3]))
            if share == 1.0 and off_m < 0.002:
                break
            if np.linalg.norm(self.pose()[:3, 3] - target[:3, 3]) < _LEAD_M:
                share = min(share + 1 / (duration_s * _RATE_HZ), 1.0)
            target = np.eye(4)
            target[:3, :3] = turn(share).as_matrix()
            target[:3, 3] = start[:3, 3] + share * (base_from_gripper[:3, 3] - start[:3, 3])
            publisher.publish(_pose_message(target))
            time.sleep(1 / _RATE_HZ)
        return float(np.linalg.norm(self.pose()[:3, 3] - base_from_gripper[:3, 3]))

    def act(self, name: str, kind: str, goal: Any, seconds: float = 40.0) -> Any:
        """Result of an action."""
        if name not in self._actions:
            self._actions[name] = actionlib.SimpleActionClient(name, message_class(f"{kind}Action"))
            assert self._actions[name].wait_for_server(rospy.Duration(20)), f"no action server {name}"
        client = self._actions[name]
        client.send_goal(goal)
        assert client.wait_for_result(rospy.Duration(seconds)), f"{name} did not end"
        return client.get_result()

    def recover(self) -> None:
        self.act(
            "/franka_control/error_recovery",
            "franka_msgs/ErrorRecovery",
            message_class("franka_msgs/ErrorRecoveryGoal")(),
        )

    def set_gripper(self, is_open: bool) -> Any:
        """Open, or grasp whatever is there."""
        if is_open:
            goal = message_class("franka_gripper/MoveGoal")(width=0.08, speed=0.1)
            return self.act("/franka_gripper/move", "franka_gripper/Move", goal)
        goal = message_class("franka_gripper/GraspGoal")(width=0.0, speed=0.1, force=20.0)
        goal.epsilon.inner = goal.epsilon.outer = 0.08
        return self.act("/franka_gripper/grasp", "franka_gripper/Grasp", goal)

    def switch(self, name: str, on: bool) -> str:
        """When it was switched (the clock's time, s)."""
        return rospy.ServiceProxy(f"/simulation/{name}", SetBool)(on).message

    def trigger(self, name: str) -> str:
        return rospy.ServiceProxy(f"/simulation/{name}", Trigger)().message

    def stage(self, task: str, variation: int, seed: int) -> None:
        """Put another scene before the arm."""
        rospy.set_param("/simulation/scene", {"task": task, "variation": variation, "seed": seed})
        self.trigger("reset")
        time.sleep(0.2)

    def expert_step(self) -> dict[str, Any] | None:
        """Do what the expert does next; that, or None where it has finished."""
        waypoint = json.loads(self.trigger("expert"))
        if waypoint is not None:
            pose = np.array(waypoint["world_from_gripper"])
            pose[:3, 3] -= BASE_POSITION_M
            waypoint["off_m"] = self.go(pose, 15.0)
            self.set_gripper(waypoint["gripper_open"])
        return waypoint


def _pose_message(base_from_gripper: np.ndarray) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id, message.header.stamp = BASE, rospy.Time.from_sec(time.time())
    at, turn = message.pose.position, message.pose.orientation
    at.x, at.y, at.z = base_from_gripper[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = Rotation.from_matrix(base_from_gripper[:3, :3]).as_quat().tolist()
    return message
