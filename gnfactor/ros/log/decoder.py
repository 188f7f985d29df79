"""From the messages of a log (`gnfactor.ros.log.format`) to the events that they were made of.

A log may come from anybody: every number, text and size is checked, and nothing in it can run code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from io import BytesIO
from typing import Any, cast

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gnfactor.actions import Action, ArmTarget
from gnfactor.ros.journal import (
    Asked,
    Began,
    Commanded,
    Decided,
    Ended,
    Event,
    Failed,
    Judged,
    Looked,
    Progressed,
    Seen,
    Stated,
)
from gnfactor.ros.link import Progress, RobotMode, RobotState
from gnfactor.ros.log.format import COMMANDS, DEPTH_TYPES
from gnfactor.scene import ArmState, Camera, Observation, View

_LARGEST_PX = 16384
"""Width and height of a picture, at most."""


class Decoder:
    """Makes events of messages again; keeps pictures until the observation comes that they belong to."""

    def __init__(self) -> None:
        self._pictures: dict[str, bytes] = {}

    def decode(self, topic: str, payload: bytes) -> Event | None:
        """The event that a message completes, or None: it is for viewers, or a picture of what is still to come.

        Raises:
            KeyError, TypeError, ValueError, OSError: the message is not as we write it.
        """
        if topic.startswith("/observation/"):
            if topic.endswith(("/color", "/depth")):
                self._pictures[topic] = payload
            return None
        decode = _DECODERS.get(topic)
        if topic == "/observation":
            pictures, self._pictures = self._pictures, {}
            return Seen(_observation(_tree(payload), pictures))
        return None if decode is None else decode(_tree(payload))


def _observation(tree: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Observation:
    cameras = {_text(one["name"]): _unpack(Camera, one) for one in tree["cameras"]}
    if not _truth(tree["pictures"]):
        cameras = {}
    views = {
        name: View(
            camera,
            _color(_tree(pictures[f"/observation/{name}/color"]), camera),
            _depth(_tree(pictures[f"/observation/{name}/depth"]), camera),
        )
        for name, camera in cameras.items()
    }
    arms = {_text(one["name"]): _unpack(ArmState, one) for one in tree["arms"]}
    return Observation(_whole(tree["step"]), _float(tree["time_s"]), views, arms)


def _color(tree: Mapping[str, Any], camera: Camera) -> UInt8[np.ndarray, "height width 3"]:
    with Image.open(BytesIO(base64.b64decode(tree["data"], validate=True)), formats=["PNG"]) as image:
        if image.size != (camera.width, camera.height) or image.mode != "RGB" or max(image.size) > _LARGEST_PX:
            raise ValueError(f"a {image.mode} picture of {image.size} for a camera of {camera.width} x {camera.height}")
        return np.array(image)


def _depth(tree: Mapping[str, Any], camera: Camera) -> Float[np.ndarray, "height width"]:
    values = np.frombuffer(base64.b64decode(tree["data"], validate=True), DEPTH_TYPES[tree["encoding"]])
    return values.reshape(camera.height, camera.width).astype(values.dtype.newbyteorder("="))


def _action(tree: Mapping[str, Any]) -> Event:
    return Decided(Action({_text(one["name"]): _unpack(ArmTarget, one) for one in tree["arms"]}))


def _look(tree: Mapping[str, Any]) -> Event:
    return Looked({_text(one["name"]): _float(one["stamp_s"]) for one in tree["cameras"]})


def _command(tree: Mapping[str, Any]) -> Event:
    kind = tree.get("kind")
    return Commanded(None if kind is None else _unpack(COMMANDS[kind], tree), _text(tree["verb"]))


def _numbers(*shape: int) -> Callable[[Any], Float[np.ndarray, "..."]]:
    def read(values: Any) -> Float[np.ndarray, "..."]:
        return np.array([_float(value) for value in values], np.float64).reshape(shape)

    return read


def _float(value: Any) -> float:
    if isinstance(value, bool) or not (isinstance(value, (int, float)) or value in ("nan", "inf", "-inf")):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _status(value: Any) -> str:
    if value not in ("running", "done", "failed"):
        raise ValueError(f"{value!r} is no status of a command")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _size(value: Any) -> int:
    if not 0 < _whole(value) <= _LARGEST_PX:
        raise ValueError(f"{value} is no size of a picture in pixels")
    return value


_POSES = ("base_from_gripper", "world_from_gripper", "world_from_camera")
_SEVENS = ("joint_positions", "joint_velocities")
_NUMBERS = ("stamp_s", "expires_s", "width_m", "speed_m_s", "force_n", "tolerance_m", "speed_share")
_TRUTHS = ("gripper_open", "ignore_collisions", "avoid_collisions", "grasp")
_OPTIONAL = ("reason", "refused", "blocked", "ended")
_TEXTS = ("instruction", "question", "answer", "complaint", "message", *_OPTIONAL)
_READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_POSES, _numbers(4, 4)),
    **dict.fromkeys(_SEVENS, _numbers(7)),
    **dict.fromkeys(_NUMBERS, _float),
    **dict.fromkeys(_TRUTHS, _truth),
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(("width", "height"), _size),
    "intrinsics": _numbers(3, 3),
    "finger_positions_m": _numbers(2),
    "times_s": _numbers(-1),
    "positions": _numbers(-1, 7),
    "velocities": _numbers(-1, 7),
    "sequence": _whole,
    "status": _status,
    "mode": lambda value: RobotMode[_text(value)],
    "errors": _texts,
}
"""How each field is read, by its name: a name means the same wherever it stands."""

_DECODERS: dict[str, Callable[[Mapping[str, Any]], Event]] = {
    "/action": _action,
    "/look": _look,
    "/command": _command,
    "/state": lambda tree: Stated(_unpack(RobotState, tree)),
    "/progress": lambda tree: Progressed(_unpack(Progress, tree)),
    "/run": lambda tree: _unpack(Began, tree),
    "/verdict": lambda tree: _unpack(Judged, tree),
    "/operator": lambda tree: _unpack(Asked, tree),
    "/outcome": lambda tree: _unpack(Ended, tree),
    "/failure": lambda tree: _unpack(Failed, tree),
}


def _unpack(kind: type[Any], tree: Mapping[str, Any]) -> Any:
    names = [item.name for item in fields(kind)]
    return kind(
        **{name: None if name in _OPTIONAL and name not in tree else _READERS[name](tree[name]) for name in names}
    )


def _tree(payload: bytes) -> Mapping[str, Any]:
    tree = json.loads(payload)
    if not isinstance(tree, dict):
        raise TypeError(f"a {type(tree).__name__} where an object is expected")
    return cast("dict[str, Any]", tree)
