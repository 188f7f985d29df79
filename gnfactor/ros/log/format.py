"""What a log holds, and how: one JSON message for each event, and for pictures the messages that viewers know.

    /run /action /verdict /operator /outcome      what was wanted, and what came of it
    /look /observation                            when pictures were taken; what the policy was shown, but for pictures
    /observation/CAMERA/color  .../depth          PNG, and floats as they were: neither loses anything
    /observation/CAMERA/camera  /tf  /gripper     the same calibration and poses again, for viewers
    /state /command /progress /failure            the robot's words, and ours to it

Matrices are lists of numbers, row by row; a number that is not finite is the text nan, inf or -inf; what is None is
left out. Everything is read back bit for bit, vectors and poses as float64; labels of pixels, which a robot has not,
are not kept.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from gnfactor.errors import MissingExtraError
from gnfactor.geometry import quaternion_from_rotation
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
from gnfactor.ros.link import (
    GripCommand,
    JointTrajectory,
    PlanRequest,
    PoseTarget,
    RobotMode,
    RobotState,
)
from gnfactor.scene import Camera, Observation, View

WORLD = "world"
"""Name of the policy's frame in messages for viewers."""
_PNG_LEVEL = 1
_WORDS: dict[type, str] = {
    Began: "/run",
    Judged: "/verdict",
    Asked: "/operator",
    Ended: "/outcome",
    Failed: "/failure",
}
"""Events that are their own message, and its topic."""
COMMANDS = {kind.__name__: kind for kind in (PoseTarget, JointTrajectory, PlanRequest, GripCommand)}
"""Kinds of commands, by the name under which they are written."""
DEPTH_TYPES = {"32FC1": "<f4", "64FC1": "<f8"}
"""How depths are written, by the name that viewers have for it."""


@dataclass(frozen=True)
class Message:
    """One message of a log."""

    topic: str
    schema: str
    payload: bytes
    """JSON."""


class Encoder:
    """Makes messages of events.

    Args:
        base_frame: name of the arm's base among the frames.
        pictures: whether colour and depth are kept.
    """

    def __init__(self, base_frame: str, pictures: bool) -> None:
        self._base_frame, self._pictures = base_frame, pictures

    def encode(self, event: Event, time_ns: int) -> list[Message]:
        """The messages of one event, in the order in which they have to be written.

        Raises:
            MissingExtraError: pictures are kept, and OpenCV is not installed.
        """
        topic = _WORDS.get(type(event))
        if topic is not None:
            return [_own(topic, type(event).__name__, _pack(event))]
        return self._encode_other(event, time_ns)

    def placed(self, frame: str, base: str, base_from_frame: Float[np.ndarray, "4 4"], time_ns: int) -> list[Message]:
        """Where a frame is, for viewers; nothing where that is no pose."""
        if not np.isfinite(base_from_frame).all():
            return []
        position, quaternion = _position(base_from_frame), _quaternion(base_from_frame)
        tree = {"timestamp": _stamp(time_ns), "parent_frame_id": base, "child_frame_id": frame}
        return [_message("/tf", "foxglove.FrameTransform", tree | {"translation": position, "rotation": quaternion})]

    def _encode_other(self, event: Event, time_ns: int) -> list[Message]:
        match event:
            case Seen(observation):
                pictures = [m for name in observation.views for m in self._view(name, observation.views[name], time_ns)]
                return [*pictures, _own("/observation", "Observation", self._observation_tree(observation))]
            case Decided(action):
                arms = [{"name": name, **_pack(target)} for name, target in action.arms.items()]
                return [_own("/action", "Action", {"arms": arms})]
            case Looked(stamps_s):
                cameras = [{"name": name, "stamp_s": _number(stamp)} for name, stamp in stamps_s.items()]
                return [_own("/look", "Look", {"cameras": cameras})]
            case Stated(state):
                return [_own("/state", "RobotState", _pack(state)), *self._gripper(state, time_ns)]
            case Commanded(command, verb):
                kind = {} if command is None else {"kind": type(command).__name__, **_pack(command)}
                return [_own("/command", "Command", {"verb": verb, **kind})]
            case Progressed(progress):
                return [_own("/progress", "Progress", _pack(progress))]
            case _:
                raise TypeError(f"a log holds events of gnfactor.ros.journal, not {type(event).__name__}")

    def _observation_tree(self, observation: Observation) -> dict[str, Any]:
        cameras = [{"name": name, **_pack(view.camera)} for name, view in observation.views.items()]
        arms = [{"name": name, **_pack(arm)} for name, arm in observation.arms.items()]
        return {
            "step": observation.step,
            "time_s": _number(observation.time_s),
            "pictures": self._pictures,
            "cameras": cameras,
            "arms": arms,
        }

    def _view(self, name: str, view: View, time_ns: int) -> list[Message]:
        head, topic = {"timestamp": _stamp(time_ns), "frame_id": name}, f"/observation/{name}"
        messages = self.placed(name, WORLD, view.camera.world_from_camera, time_ns)
        if np.isfinite(view.camera.intrinsics).all():
            messages.append(_message(f"{topic}/camera", "foxglove.CameraCalibration", head | _calibration(view.camera)))
        if not self._pictures:
            return messages
        depth_m = np.ascontiguousarray(view.depth_m, "<f4" if view.depth_m.dtype.itemsize <= 4 else "<f8")
        encoding = next(code for code, kind in DEPTH_TYPES.items() if depth_m.dtype == np.dtype(kind))
        height, width = depth_m.shape
        size = {"width": width, "height": height, "encoding": encoding, "step": depth_m.strides[0]}
        return [
            *messages,
            _message(f"{topic}/color", "foxglove.CompressedImage", head | {"format": "png"}, _png(view.rgb)),
            _message(f"{topic}/depth", "foxglove.RawImage", head | size, depth_m.tobytes()),
        ]

    def _gripper(self, state: RobotState, time_ns: int) -> list[Message]:
        pose = state.base_from_gripper
        if not np.isfinite(pose).all():
            return []
        tree = {"timestamp": _stamp(time_ns), "frame_id": self._base_frame}
        place = {"position": _position(pose), "orientation": _quaternion(pose)}
        return [_message("/gripper", "foxglove.PoseInFrame", tree | {"pose": place})]


def _pack(record: Any) -> dict[str, Any]:
    values = {item.name: getattr(record, item.name) for item in fields(record)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_number(number) for number in value.astype(np.float64).ravel().tolist()]
    if isinstance(value, RobotMode):
        return value.name
    if isinstance(value, tuple):
        return list(value)
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | str:
    return float(value) if isfinite(value) else str(float(value))


def _own(topic: str, name: str, tree: Mapping[str, Any]) -> Message:
    return _message(topic, f"gnfactor.{name}", tree)


def _message(topic: str, schema: str, tree: Mapping[str, Any], data: bytes | None = None) -> Message:
    """With `data` as base64 under that name: put there by hand, since searching it for quotes would take long."""
    text = json.dumps(tree, allow_nan=False).encode()
    if data is not None:
        text = text[:-1] + b', "data": "' + base64.b64encode(data) + b'"}'
    return Message(topic, schema, text)


def _png(rgb: UInt8[np.ndarray, "height width 3"]) -> bytes:
    try:
        import cv2  # noqa: PLC0415 (optional; Pillow would keep all other threads waiting)
    except ImportError as error:
        raise MissingExtraError("opencv-python-headless", "pip install 'gnfactor[robot]'") from error
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL])
    return encoded.tobytes()


def _calibration(camera: Camera) -> dict[str, Any]:
    matrix = camera.intrinsics.astype(np.float64)
    projection = np.concatenate((matrix, np.zeros((3, 1))), 1)
    return {
        "width": camera.width,
        "height": camera.height,
        "distortion_model": "",
        "D": [],
        "K": matrix.ravel().tolist(),
        "R": np.eye(3).ravel().tolist(),
        "P": projection.ravel().tolist(),
    }


def _stamp(time_ns: int) -> dict[str, int]:
    seconds, rest = divmod(time_ns, 10**9)
    return {"sec": seconds, "nsec": rest}


def _position(pose: Float[np.ndarray, "4 4"]) -> dict[str, float]:
    return dict(zip("xyz", pose[:3, 3].astype(np.float64).tolist(), strict=True))


def _quaternion(pose: Float[np.ndarray, "4 4"]) -> dict[str, float]:
    rotation = torch.from_numpy(pose[:3, :3].astype(np.float64))
    return dict(zip("xyzw", quaternion_from_rotation(rotation).tolist(), strict=True))
