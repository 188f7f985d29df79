"""What a hold does when something is missing, over a transport that only notes down. No ROS here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnfactor.errors import RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import PoseTarget, RobotState
from gnfactor.ros.links.bridge_actions import TopicAction
from gnfactor.ros.links.ros_link import FRESH_S, GoalState, RosLink
from gnfactor.ros.links.rosbridge import Rosbridge
from gnfactor.ros.links.voice import Voice
from gnfactor.ros.sensing.sensors import Sensors
from tests.fake_robot import FakeRobot, robot_config

CONFIG = replace(robot_config(), watchdog=replace(robot_config().watchdog, required=False))


class Action:
    """Notes that it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    def start(self, goal: object) -> None: ...

    def cancel(self) -> None:
        self.cancelled += 1

    def state(self) -> GoalState:
        return GoalState("done")


class Notes:
    """A transport that sends nothing; its sensors say what `state` does."""

    def __init__(self, state: Callable[[], RobotState], silence_s: float = 0.0) -> None:
        self.pulls = list[np.ndarray]()
        self.sensors: Any = SimpleNamespace(state=state, silence_s=lambda _: silence_s, missing=list, adrift=list)
        self.actions = {"move": Action(), "grasp": Action(), "plan": Action()}
        self.connections = 1

    def start(self, hear_watchdog: Callable[[str], None]) -> None: ...

    def now_s(self) -> float:
        return time.time()

    def loss(self) -> str | None:
        return None

    def hint(self) -> str:
        return ""

    def say(self, word: str) -> None: ...

    def pull(self, base_from_ee: np.ndarray) -> None:
        self.pulls.append(base_from_ee)

    def stop_fingers(self) -> None: ...

    def close(self) -> None: ...


def state_of_age(age_s: float, config: RobotConfig = CONFIG) -> Callable[[], RobotState]:
    return lambda: replace(FakeRobot(config).state(), stamp_s=time.time() - age_s)


def broken() -> RobotState:
    raise AttributeError("no field O_T_EE")


def test_a_fresh_pose_is_commanded_by_a_hold() -> None:
    transport = Notes(state_of_age(0.0))
    RosLink(CONFIG, transport).hold()
    expected = FakeRobot(CONFIG).state().base_from_gripper @ np.linalg.inv(CONFIG.arm.ee_from_gripper.matrix)
    np.testing.assert_allclose(transport.pulls, [expected])


@pytest.mark.parametrize(
    ("state", "silence_s", "why"),
    [
        (state_of_age(0.0), FRESH_S + 0.1, "is not known any more"),
        (state_of_age(3.0), 0.0, "is not known any more"),
        (state_of_age(-3.0), 0.0, "is not known any more"),
        (broken, 0.0, "no field O_T_EE"),
    ],
)
def test_without_a_pose_to_command_a_hold_has_failed_and_nothing_moves(
    state: Callable[[], RobotState], silence_s: float, why: str
) -> None:
    transport = Notes(state, silence_s)
    link = RosLink(CONFIG, transport)
    with pytest.raises(RobotError, match=why):
        link.hold()
    with pytest.raises(RobotError, match="hold before the next motion"):
        link.stream(PoseTarget(1, time.time() + 1, np.eye(4)))
    assert transport.pulls == []
    assert all(action.cancelled == 1 for action in transport.actions.values())


def test_a_robot_without_a_topic_for_poses_is_held_by_its_cancellations() -> None:
    transport = Notes(state_of_age(3.0))
    executor, topics = replace(CONFIG.executor, name="trajectory"), replace(CONFIG.topics, target=None)
    RosLink(replace(CONFIG, executor=executor, topics=topics), transport).hold()
    assert transport.pulls == []
    assert all(action.cancelled == 1 for action in transport.actions.values())


def test_a_watchdog_that_never_spoke_is_missed_before_anything_is_said_to_the_robot() -> None:
    config = replace(robot_config(), link=replace(robot_config().link, timeout_s=0.1))
    transport = Notes(state_of_age(0.0))
    link = RosLink(config, transport)
    with pytest.raises(RobotError, match=r"^no watchdog has spoken on /gnfactor/watchdog: start"):
        link.hold()
    link.close()
    assert transport.pulls == []
    assert not any(action.cancelled for action in transport.actions.values())


@pytest.mark.parametrize("text", ["", "[]", "{}", "5", "null", "[" * 100_000, '{"session": 1, "sequence": "a"}'])
def test_what_is_no_status_of_the_watchdog_counts_as_silence(text: str) -> None:
    voice = Voice(robot_config(), lambda _: None, time.time)
    voice.take(text)
    assert "no watchdog has spoken" in str(voice.silence())
    assert voice.latch() is None


def test_a_state_without_its_fields_is_an_error_of_the_robot() -> None:
    sensors, topics = Sensors(CONFIG), CONFIG.topics
    stamp = SimpleNamespace(stamp=SimpleNamespace(secs=1, nsecs=0), frame_id="")
    names = [*CONFIG.arm.joint_names, *CONFIG.arm.finger_joint_names]
    for topic in {topics.joint_states, topics.finger_states or topics.joint_states}:
        sensors.take(topic, SimpleNamespace(header=stamp, name=names, position=[0.0] * len(names)))
    sensors.take(topics.state, SimpleNamespace(header=stamp))
    with pytest.raises(RobotError, match=r"cannot be read as franka_msgs/FrankaState: .*robot_mode"):
        sensors.state()


class Bridge(Rosbridge):
    """Notes what is published, and connects to nothing."""

    connections = 0  # type: ignore[assignment]

    def __init__(self) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []

    def advertise(self, *_: object) -> None: ...

    def subscribe(self, *_: object) -> None: ...

    def next_number(self) -> str:
        return "goal-1"

    def publish(self, topic: str, message: dict[str, Any]) -> None:
        self.published.append((topic, message))


def test_a_cancellation_names_our_goal_so_that_it_is_recalled_where_it_comes_later() -> None:
    bridge = Bridge()
    action = TopicAction(bridge, "/move", "move")
    action.cancel()
    assert bridge.published == [("/move/cancel", {})]
    action.start({})
    action.cancel()
    assert bridge.published[2:] == [("/move/cancel", {}), ("/move/cancel", {"id": "goal-1"})]
    action._result = SimpleNamespace()
    action.cancel()
    assert bridge.published[4:] == [("/move/cancel", {})]
