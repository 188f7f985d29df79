"""JSON schemas of a log's messages, so that viewers can draw and plot them; those named foxglove are theirs by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_TEXT, _TRUTH, _NUMBER, _WHOLE = ({"type": kind} for kind in ("string", "boolean", "number", "integer"))
_NUMBERS = {"type": "array", "items": _NUMBER}
_BYTES = {"type": "string", "contentEncoding": "base64"}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties)}


def _objects(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(properties)}


_HEAD = {"timestamp": _object({"sec": _WHOLE, "nsec": _WHOLE}) | {"title": "time"}, "frame_id": _TEXT}
_POSITION = _object(dict.fromkeys("xyz", _NUMBER))
_QUATERNION = _object(dict.fromkeys("xyzw", _NUMBER))
_CAMERA = {"name": _TEXT, "width": _WHOLE, "height": _WHOLE, "intrinsics": _NUMBERS, "world_from_camera": _NUMBERS}
_ARM = {
    "name": _TEXT,
    "world_from_gripper": _NUMBERS,
    "gripper_open": _TRUTH,
    "finger_positions_m": _NUMBERS,
    "joint_positions": _NUMBERS,
    "joint_velocities": _NUMBERS,
}
_PROPERTIES: dict[str, Mapping[str, Any]] = {
    "gnfactor.Began": {"instruction": _TEXT},
    "gnfactor.Observation": {
        "step": _WHOLE,
        "time_s": _NUMBER,
        "pictures": _TRUTH,
        "cameras": _objects(_CAMERA),
        "arms": _objects(_ARM),
    },
    "gnfactor.Action": {
        "arms": _objects(
            {"name": _TEXT, "world_from_gripper": _NUMBERS, "gripper_open": _TRUTH, "ignore_collisions": _TRUTH}
        )
    },
    "gnfactor.Judged": {"reason": _TEXT},
    "gnfactor.Asked": {"question": _TEXT, "answer": _TEXT},
    "gnfactor.Ended": {"refused": _TEXT, "blocked": _TEXT, "ended": _TEXT},
    "gnfactor.Look": {"cameras": _objects({"name": _TEXT, "stamp_s": _NUMBER})},
    "gnfactor.RobotState": {
        "stamp_s": _NUMBER,
        "mode": _TEXT,
        "errors": {"type": "array", "items": _TEXT},
        "joint_positions": _NUMBERS,
        "joint_velocities": _NUMBERS,
        "base_from_gripper": _NUMBERS,
        "finger_positions_m": _NUMBERS,
    },
    "gnfactor.Command": {
        "verb": _TEXT,
        "kind": _TEXT,
        "sequence": _WHOLE,
        "expires_s": _NUMBER,
        "base_from_gripper": _NUMBERS,
        "times_s": _NUMBERS,
        "positions": _NUMBERS,
        "velocities": _NUMBERS,
        "avoid_collisions": _TRUTH,
        "speed_share": _NUMBER,
        "width_m": _NUMBER,
        "speed_m_s": _NUMBER,
        "force_n": _NUMBER,
        "grasp": _TRUTH,
        "tolerance_m": _NUMBER,
    },
    "gnfactor.Progress": {"sequence": _WHOLE, "status": _TEXT, "message": _TEXT},
    "gnfactor.Failed": {"complaint": _TEXT},
    "foxglove.CompressedImage": {**_HEAD, "data": _BYTES, "format": _TEXT},
    "foxglove.RawImage": {
        **_HEAD,
        "width": _WHOLE,
        "height": _WHOLE,
        "encoding": _TEXT,
        "step": _WHOLE,
        "data": _BYTES,
    },
    "foxglove.CameraCalibration": {
        **_HEAD,
        "width": _WHOLE,
        "height": _WHOLE,
        "distortion_model": _TEXT,
        **dict.fromkeys("DKRP", _NUMBERS),
    },
    "foxglove.PoseInFrame": {**_HEAD, "pose": _object({"position": _POSITION, "orientation": _QUATERNION})},
    "foxglove.FrameTransform": {
        "timestamp": _HEAD["timestamp"],
        "parent_frame_id": _TEXT,
        "child_frame_id": _TEXT,
        "translation": _POSITION,
        "rotation": _QUATERNION,
    },
}


def schema_of(name: str) -> bytes:
    """The JSON schema of the messages that are called so."""
    return json.dumps({"title": name, **_object(_PROPERTIES[name])}).encode()
