"""Messages as a rosbridge server sends them: ROS's own bytes for standard types, JSON for all others."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any, Literal

from gnfactor.errors import DataError, MissingExtraError

INSTALL = "pip install gnfactor[robot]"
_TF = "geometry_msgs/TransformStamped[] transforms"
"""Of tf2_msgs/TFMessage, which is not among the standard types of ROS 1 that rosbags knows."""


class BridgeMessages:
    """Decodes frames of one generation of ROS.

    Messages have attributes, as those of rospy have; a number that is not finite is None in JSON.
    """

    def __init__(self, ros: Literal[1, 2]) -> None:
        """Get ready.

        Raises:
            MissingExtraError: cbor2 or rosbags is not installed.
        """
        try:
            import cbor2  # noqa: PLC0415 (optional)
            from rosbags.serde import SerdeError  # noqa: PLC0415
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name).partition(".")[0], INSTALL) from error
        self._types = get_typestore({1: Stores.ROS1_NOETIC, 2: Stores.ROS2_HUMBLE}[ros])
        if "tf2_msgs/msg/TFMessage" not in self._types.types:
            self._types.register(get_types_from_msg(_TF, "tf2_msgs/msg/TFMessage"))
        self._bytes = {1: self._types.deserialize_ros1, 2: self._types.deserialize_cdr}[ros]
        self._unpack = cbor2.loads
        self._errors = (ValueError, TypeError, KeyError, IndexError, struct.error, SerdeError, RecursionError)

    def is_standard(self, kind: str) -> bool:
        """Whether messages of this type can be read from ROS's own bytes."""
        return _full(kind) in self._types.types

    def frame(self, data: str | bytes) -> Any:
        """What the server says, with its fields as attributes; `op` is one of them.

        Raises:
            DataError: it is neither a JSON nor a CBOR object, or has no `op`.
        """
        try:
            frame = json.loads(data, object_hook=_object) if isinstance(data, str) else _object(self._unpack(data))
        except self._errors as error:
            raise DataError(f"a frame of {len(data)} characters is neither JSON nor CBOR: {error}") from error
        if not isinstance(getattr(frame, "op", None), str):
            raise DataError(f"a frame of {len(data)} characters is no message of rosbridge: it has no 'op'")
        return frame

    def message(self, kind: str, content: Any) -> Any:
        """A message from the `msg` of a frame.

        Raises:
            DataError: its bytes are not of this type.
        """
        if not isinstance(content, dict):
            return content
        try:
            return self._bytes(content["bytes"], _full(kind))
        except self._errors as error:
            raise DataError(f"a message is not the {kind} that is expected: {error}") from error


def _object(fields: Any) -> Any:
    return SimpleNamespace(**fields)


def _full(kind: str) -> str:
    """A type's name as ROS 2 writes it."""
    package, *_, name = kind.split("/")
    return f"{package}/msg/{name}"
