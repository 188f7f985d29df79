"""Messages as a rosbridge server sends them: ROS's own bytes for standard types, JSON for all others."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal, cast

from gnfactor.errors import DataError, MissingExtraError

INSTALL = "pip install gnfactor[robot]"
_TF = "geometry_msgs/TransformStamped[] transforms"
"""Of tf2_msgs/TFMessage, which is not among the standard types of ROS 1 that rosbags knows."""


class BridgeMessages:
    """Decodes frames of one generation of ROS."""

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
        self._errors = (
            *(ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error),
            *(SerdeError, cbor2.CBORError),
        )

    def is_standard(self, kind: str) -> bool:
        """Whether messages of this type can be read from ROS's own bytes."""
        return _in_full(kind) in self._types.types

    def frame(self, data: str | bytes) -> Mapping[str, Any]:
        """What the server says, by field; `op` is one of them.

        Raises:
            DataError: it is neither a JSON nor a CBOR object, or has no `op`.
        """
        try:
            frame = json.loads(data) if isinstance(data, str) else self._unpack(data)
        except self._errors as error:
            raise DataError(f"a frame of {len(data)} characters is neither JSON nor CBOR: {error}") from error
        if not isinstance(frame, dict) or "op" not in frame:
            raise DataError(f"a frame of {len(data)} characters is no message of rosbridge: it has no 'op'")
        return cast("Mapping[str, Any]", frame)

    def raw(self, kind: str, data: bytes) -> Any:
        """A message from ROS's own bytes.

        Raises:
            DataError: they are not of this type.
        """
        try:
            return self._bytes(data, _in_full(kind))
        except self._errors as error:
            raise DataError(f"{len(data)} bytes are not the {kind} that is expected: {error}") from error


def with_attributes(value: Any) -> Any:
    """A message from JSON with its fields as attributes; a number that is not finite is None there."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return SimpleNamespace(**{name: with_attributes(part) for name, part in fields.items()})
    return [with_attributes(part) for part in cast("list[Any]", value)] if isinstance(value, list) else value


def type_name(ros: Literal[1, 2], kind: str, section: Literal["msg", "srv", "action"] = "msg") -> str:
    """A type such as "std_msgs/String" as a generation of ROS writes it."""
    return kind if ros == 1 else kind.replace("/", f"/{section}/")


def _in_full(kind: str) -> str:
    """A type of message as rosbags writes it."""
    package, *_, name = kind.split("/")
    return f"{package}/msg/{name}"
