"""Classes of ROS 1 messages: from the packages installed here, from the wire, or from field lists of our own.

A policy's computer rarely has the robot's own message packages, and does not need them. What the robot publishes comes
with its definition in the connection's header (`decode`); what is sent to the robot is written down below in a few
lines, and a lab's own packages are preferred where there are any (`message_class`). ROS itself compares checksums when
two sides connect, so that a definition that has changed is refused there and never misread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from gnfactor.errors import ConfigError, DataError, MissingExtraError
from gnfactor.ros.links import moveit_messages

INSTALL = (
    "apt-get install python3-rospy python3-actionlib python3-sensor-msgs python3-trajectory-msgs (Debian 12), in a "
    "virtual environment then `python tools/ros.py install .ros` and `export PYTHONPATH=$PWD/.ros`; or by sourcing the "
    "setup.bash of a ROS 1 installation"
)
_SEPARATOR = "=" * 80


@dataclass(frozen=True)
class _Action:
    """Fields of an action's three messages, and of messages of the same package that these are made of."""

    goal: str
    result: str
    feedback: str = ""
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    """By package and name; those of other packages are among them where ROS itself has not got them."""
    standard: tuple[str, ...] = ()
    """Messages of other packages that it holds; these are among those of ROS itself."""


_DONE = "bool success\nstring error"
_ACTIONS: Mapping[str, _Action] = {
    "franka_gripper/Move": _Action("float64 width\nfloat64 speed", _DONE),
    "franka_gripper/Grasp": _Action(
        "float64 width\nGraspEpsilon epsilon\nfloat64 speed\nfloat64 force",
        _DONE,
        parts={"franka_gripper/GraspEpsilon": "float64 inner\nfloat64 outer"},
    ),
    "franka_gripper/Homing": _Action("", _DONE),
    "franka_gripper/Stop": _Action("", _DONE),
    "franka_msgs/ErrorRecovery": _Action("", ""),
    "control_msgs/FollowJointTrajectory": _Action(
        "trajectory_msgs/JointTrajectory trajectory\nJointTolerance[] path_tolerance\nJointTolerance[] goal_tolerance\n"
        "duration goal_time_tolerance",
        "int32 SUCCESSFUL=0\nint32 INVALID_GOAL=-1\nint32 INVALID_JOINTS=-2\nint32 OLD_HEADER_TIMESTAMP=-3\n"
        "int32 PATH_TOLERANCE_VIOLATED=-4\nint32 GOAL_TOLERANCE_VIOLATED=-5\nint32 error_code\nstring error_string",
        "Header header\nstring[] joint_names\ntrajectory_msgs/JointTrajectoryPoint desired\n"
        "trajectory_msgs/JointTrajectoryPoint actual\ntrajectory_msgs/JointTrajectoryPoint error",
        parts={"control_msgs/JointTolerance": "string name\nfloat64 position\nfloat64 velocity\nfloat64 acceleration"},
        standard=("trajectory_msgs/JointTrajectory",),
    ),
    "moveit_msgs/MoveGroup": _Action(
        moveit_messages.GOAL,
        moveit_messages.RESULT,
        moveit_messages.FEEDBACK,
        parts=moveit_messages.PARTS,
        standard=moveit_messages.STANDARD,
    ),
}
"""By package and name. Units: metres, metres per second, newtons, radians."""
_PARTS_OF_ACTIONS = ("Action", "ActionGoal", "ActionResult", "ActionFeedback", "Goal", "Result", "Feedback")


def message_class(name: str) -> type[Any]:
    """The class of a message or of a part of an action, such as "sensor_msgs/Image" or "franka_gripper/GraspGoal".

    Raises:
        MissingExtraError: it takes ROS 1 to make it, which is not installed.
        ConfigError: no package installed here has it, and it is none of those that we know ourselves.
    """
    installed = _installed(name)
    if installed is not None:
        return installed
    action = next((known for known in _ACTIONS for part in _PARTS_OF_ACTIONS if name == known + part), None)
    if action is None:
        known = ", ".join(f"{known}Action" for known in _ACTIONS)
        raise ConfigError(
            f"no package of messages installed here has '{name}', and without one we know only {known} and their "
            "parts; correct the name, or install its package on this computer"
        )
    return built_class(name, action)


@lru_cache
def built_class(name: str, action: str) -> type[Any]:
    """The class from our own field list of an action, whatever is installed.

    Args:
        name: of the part, such as "franka_gripper/MoveGoal".
        action: to which it belongs, such as "franka_gripper/Move".

    Raises:
        MissingExtraError: ROS 1 is not installed.
    """
    return _generated(action + "Action", _definition(action))[name]


def filled(name: str, values: Mapping[str, Any], action: str = "") -> Any:
    """A message or part of an action with these values in it; fields that are not named keep their zeros.

    Args:
        name: of the message, such as "franka_gripper/MoveGoal".
        values: by name of the field: numbers, texts, lists, and mappings for what is a message itself.
        action: to which it belongs, such as "franka_gripper/Move"; none, where it is a message of ROS itself.

    Raises:
        MissingExtraError: ROS 1 is not installed.
        ConfigError: no package installed here has it, and it is not known to us.
    """
    return _fill(message_class(name)(), values, action)


def plain(message: Any) -> Any:
    """A message as nested mappings, lists and numbers: what `filled` makes one of."""
    if isinstance(message, (list, tuple)):
        return [plain(item) for item in message]
    names = getattr(message, "__slots__", None)
    return message if names is None else {name: plain(getattr(message, name)) for name in names}


def decode(header: Mapping[str, str], body: bytes) -> Any:
    """A message from its bytes, by the definition that its publisher sent along.

    Args:
        header: of the connection; `_connection_header` of the `rospy.AnyMsg` that a subscriber is given.
        body: `_buff` of it.

    Raises:
        MissingExtraError: ROS 1 is not installed.
        DataError: the definition does not belong to the checksum that came with it.
    """
    name = header["type"]
    found = _generated(name, header["message_definition"])[name]
    if found._md5sum != header["md5sum"]:
        raise DataError(
            f"the publisher of {name} sent a definition with the checksum {found._md5sum}, but says that its messages "
            f"have {header['md5sum']}; update the software of the robot, or install its package of messages here"
        )
    return found().deserialize(body)


def ros_module(name: str) -> ModuleType:
    """A Python module of ROS 1, imported now.

    Raises:
        MissingExtraError: it is not installed, or this Python does not look where it is.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(name.partition(".")[0], INSTALL) from error


def _fill(message: Any, values: Mapping[str, Any], action: str) -> Any:
    types: Mapping[str, str] = dict(zip(message.__slots__, getattr(message, "_slot_types", ()), strict=False))
    for name, value in values.items():
        assert name in message.__slots__, f"{type(message).__name__} has no field {name}"
        if isinstance(value, Mapping):
            _fill(getattr(message, name), value, action)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            part = types[name].partition("[")[0]
            made = _installed(part) or built_class(part, action)
            setattr(message, name, [_fill(made(), item, action) for item in value])
        else:
            setattr(message, name, value)
    return message


@lru_cache
def _installed(name: str) -> type[Any] | None:
    """The class from the package that is named, None where there is no such package or message."""
    package, _, message = name.partition("/")
    try:
        return getattr(import_module(f"{package}.msg"), message, None)
    except ModuleNotFoundError as error:
        if error.name in (package, f"{package}.msg"):
            return None
        raise MissingExtraError(str(error.name), INSTALL) from error


@lru_cache(maxsize=256)
def _generated(name: str, definition: str) -> dict[str, type[Any]]:
    """Classes of a message and of all that it is made of, by name, from its full definition."""
    return ros_module("genpy.dynamic").generate_dynamic(name, definition)


def _definition(action: str) -> str:
    """Full definition of an action: its own fields, then each message that occurs in it, as ROS writes them."""
    sections = dict(_own_sections(action))
    for standard in ("std_msgs/Header", "actionlib_msgs/GoalStatus", *_ACTIONS[action].standard):
        found = _installed(standard)
        if found is None:
            raise MissingExtraError(standard.partition("/")[0], INSTALL)
        first, *others = found._full_text.split(_SEPARATOR + "\nMSG: ")
        sections[standard] = first
        for other in others:
            name, _, fields = other.partition("\n")
            sections[name] = fields
    main = sections.pop(f"{action}Action")
    return "\n".join([main, *(f"{_SEPARATOR}\nMSG: {name}\n{fields}" for name, fields in sections.items())])


def _own_sections(action: str) -> Iterator[tuple[str, str]]:
    """Messages of an action and their fields, those included that every action has."""
    short = action.partition("/")[2]
    fields = _ACTIONS[action]
    status = "Header header\nactionlib_msgs/GoalStatus status"
    yield (
        f"{action}Action",
        f"{short}ActionGoal action_goal\n{short}ActionResult action_result\n{short}ActionFeedback action_feedback",
    )
    yield f"{action}ActionGoal", f"Header header\nactionlib_msgs/GoalID goal_id\n{short}Goal goal"
    yield f"{action}ActionResult", f"{status}\n{short}Result result"
    yield f"{action}ActionFeedback", f"{status}\n{short}Feedback feedback"
    yield f"{action}Goal", fields.goal
    yield f"{action}Result", fields.result
    yield f"{action}Feedback", fields.feedback
    yield from fields.parts.items()
