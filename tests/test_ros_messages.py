"""Classes of ROS 1 messages: those that we write down ourselves are the robot's, by ROS's own checksums."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnfactor.errors import ConfigError, DataError, MissingExtraError
from tests.ros.presence import require_ros

require_ros()

from std_msgs.msg import Header  # noqa: E402

from gnfactor.ros.links.messages import built_class, decode, filled, message_class, plain, ros_module  # noqa: E402
from tests.ros.state_message import FrankaState  # noqa: E402

pytestmark = pytest.mark.ros

ROBOTS_CHECKSUMS = {
    "franka_gripper/Move": "85e8e11f508e446b706022926779afee",
    "franka_gripper/Grasp": "6f89449359949eaf1f0fef57b7e0db2a",
    "franka_gripper/Homing": "f37964fcdec026d9507d088d32b65b38",
    "franka_gripper/Stop": "f37964fcdec026d9507d088d32b65b38",
    "franka_msgs/ErrorRecovery": "d5a016b49f278075666fbc901debbd08",
    "control_msgs/FollowJointTrajectory": "bc4f9b743838566551c0390c65f1a248",
    "moveit_msgs/MoveGroup": "33225407c32b189345eec6893a5a0da3",
}
"""As the generators of ROS itself compute them from franka_ros, control_msgs and moveit_msgs."""
PARTS = ("Action", "ActionGoal", "ActionResult", "ActionFeedback", "Goal", "Result", "Feedback")
NUMBERS = st.floats(allow_nan=False)


@pytest.mark.parametrize(("action", "checksum"), ROBOTS_CHECKSUMS.items())
def test_our_field_lists_have_the_checksums_of_the_robots_own(action: str, checksum: str) -> None:
    assert built_class(f"{action}Action", action)._md5sum == checksum


@pytest.mark.parametrize("action", ROBOTS_CHECKSUMS)
def test_every_part_of_an_action_has_its_class(action: str) -> None:
    for part in PARTS:
        assert message_class(action + part)._type == action + part


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_a_grasp_survives_the_wire(width: float, inner: float, outer: float, speed: float, force: float) -> None:
    goal = message_class("franka_gripper/GraspGoal")(width=width, speed=speed, force=force)
    goal.epsilon.inner, goal.epsilon.outer = inner, outer
    buffer = io.BytesIO()
    goal.serialize(buffer)
    read = message_class("franka_gripper/GraspGoal")().deserialize(buffer.getvalue())
    assert (read.width, read.epsilon.inner, read.epsilon.outer, read.speed, read.force) == (
        *(width, inner, outer, speed, force),
    )


@given(st.lists(st.tuples(st.integers(0, 100), NUMBERS), max_size=4))
def test_what_is_filled_into_a_message_is_what_arrives(points: list[tuple[int, float]]) -> None:
    values = {
        "trajectory": {
            "joint_names": ["a", "b"],
            "points": [
                {"positions": [number, -number], "time_from_start": {"secs": at, "nsecs": 5}} for at, number in points
            ],
        },
        "goal_tolerance": [{"name": "a", "position": 0.25}],
    }
    kind = "control_msgs/FollowJointTrajectory"
    buffer = io.BytesIO()
    filled(f"{kind}Goal", values, kind).serialize(buffer)
    read = plain(message_class(f"{kind}Goal")().deserialize(buffer.getvalue()))
    assert read["trajectory"]["joint_names"] == ["a", "b"]
    assert [
        (point["time_from_start"], point["positions"], point["velocities"]) for point in read["trajectory"]["points"]
    ] == [({"secs": at, "nsecs": 5}, [number, -number], []) for at, number in points]
    (tolerance,) = read["goal_tolerance"]
    assert tolerance == {"name": "a", "position": 0.25, "velocity": 0.0, "acceleration": 0.0}


def test_an_installed_package_is_preferred() -> None:
    assert message_class("std_msgs/Header") is Header


def published(message: Any, checksum: str) -> tuple[dict[str, str], bytes]:
    """A message as it comes from the wire: header of the connection, bytes."""
    buffer = io.BytesIO()
    message.serialize(buffer)
    header = {"type": message._type, "md5sum": checksum, "message_definition": message._full_text}
    return header, buffer.getvalue()


@given(st.lists(NUMBERS, min_size=7, max_size=7), st.integers(0, 6), st.booleans())
def test_what_comes_with_its_definition_is_read_without_its_package(
    joints: list[float], mode: int, reflex: bool
) -> None:
    state = FrankaState(q=joints, robot_mode=mode)
    state.current_errors.cartesian_reflex = reflex
    read = decode(*published(state, FrankaState._md5sum))
    assert (list(read.q), read.robot_mode, read.current_errors.cartesian_reflex) == (joints, mode, reflex)


def test_a_definition_that_is_not_that_of_the_checksum_is_refused() -> None:
    with pytest.raises(DataError, match=f"checksum {FrankaState._md5sum}, but says.*0123"):
        decode(*published(FrankaState(), "0123"))


def test_an_unknown_message_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"no package.*'franka_gripper/Wave'.*franka_gripper/MoveAction"):
        message_class("franka_gripper/Wave")


def test_without_ros_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "actionlib", None)
    with pytest.raises(MissingExtraError, match=r"'actionlib' is needed.*apt-get install python3-rospy"):
        ros_module("actionlib")
