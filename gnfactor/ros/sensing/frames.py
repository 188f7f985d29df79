"""The tree of frames that a robot publishes on /tf and /tf_static, asked for one frame seen from another."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from gnfactor.errors import RobotError
from gnfactor.geometry import pose_from, rotation_from_quaternion
from gnfactor.kinematics import along
from gnfactor.ros.sensing.stamps import stamp_s

KEPT = 500
"""Transforms kept of every moving frame; at 50 Hz, of the last 10 s."""
_DEEPEST = 100
"""More frames than this from one to the root can only be a circle."""
Pose = Float[np.ndarray, "4 4"]


class FrameTree:
    """Every frame under its parent: fixed for good, or at some times.

    Poses are `parent_from_frame`. A frame has one parent; a new one replaces it.
    """

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._fixed: dict[str, Any] = {}
        self._moving: dict[str, list[tuple[float, Any]]] = {}

    def add(self, transforms: Iterable[Any], *, fixed: bool) -> None:
        """Take the geometry_msgs/TransformStamped of a message; fixed ones come from /tf_static."""
        for message in transforms:
            child, parent = bare(message.child_frame_id), bare(message.header.frame_id)
            if self._parents.get(child) != parent:
                self._parents[child] = parent
                self._fixed.pop(child, None)
                self._moving.pop(child, None)
            if fixed:
                self._fixed[child] = message.transform
                continue
            times = self._moving.setdefault(child, [])
            time_s = stamp_s(message.header)
            index = bisect_left(times, time_s, key=lambda entry: entry[0])
            times[index : index + (index < len(times) and times[index][0] == time_s)] = [(time_s, message.transform)]
            del times[:-KEPT]

    @property
    def known(self) -> list[str]:
        """Names of all frames."""
        return sorted({*self._parents, *self._parents.values()})

    def connects(self, target: str, source: str) -> bool:
        """Whether one frame can be seen from the other at all."""
        return self._chain(target)[-1] == self._chain(source)[-1]

    def pose(self, target: str, source: str, time_s: float, tolerance_s: float) -> Pose:
        """`target_from_source` at a time.

        A frame that moves is interpolated between the two nearest times at which it is known; `tolerance_s` before the
        first and after the last of these, it stays where it was.

        Raises:
            RobotError: no chain of frames leads from one to the other, a link of it is not known at that time, or holds
                numbers that are no pose.
        """
        above = self._chain(source)
        meeting = next((frame for frame in self._chain(target) if frame in above), None)
        if meeting is None:
            known = ", ".join(self.known) or "none yet"
            raise RobotError(
                f"tf knows no way from '{target}' to '{source}'; the frames that it knows are: {known}. Start what "
                "publishes the camera's pose, correct the name, or use a calibration file (extrinsics: file)"
            )
        meeting_from_target, meeting_from_source = (
            self._ancestor_from(meeting, frame, time_s, tolerance_s) for frame in (target, source)
        )
        return np.linalg.inv(meeting_from_target) @ meeting_from_source

    def _chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on up to the root."""
        chain = [bare(frame)]
        while chain[-1] in self._parents:
            chain.append(self._parents[chain[-1]])
            if len(chain) > _DEEPEST:
                circle = " under ".join(chain[:4])
                raise RobotError(f"the frames of tf go in a circle, {circle} and so on; mend what publishes them")
        return chain

    def _ancestor_from(self, ancestor: str, frame: str, time_s: float, tolerance_s: float) -> Pose:
        pose = np.eye(4)
        for child in takewhile(lambda link: link != ancestor, self._chain(frame)):
            pose = self._parent_from(child, time_s, tolerance_s) @ pose
        return pose

    def _parent_from(self, child: str, time_s: float, tolerance_s: float) -> Pose:
        if child in self._fixed:
            return matrix_of(self._fixed[child], child)
        times = self._moving[child]
        after = bisect_left(times, time_s, key=lambda entry: entry[0])
        if 0 < after < len(times):
            (before_s, before), (after_s, later) = times[after - 1], times[after]
            share = (time_s - before_s) / (after_s - before_s)
            return along(matrix_of(before, child), matrix_of(later, child), share)
        nearest_s, nearest = times[0] if after == 0 else times[-1]
        if abs(nearest_s - time_s) > tolerance_s:
            raise RobotError(
                f"tf knows '{child}' {nearest_s - time_s:+.3f} s from the time of the picture at the nearest; at most "
                f"{tolerance_s} s are allowed: is its publisher running, and are the clocks the same?"
            )
        return matrix_of(nearest, child)


def bare(frame: str) -> str:
    """A frame's name without the slash that old publishers put in front."""
    return frame.removeprefix("/")


def matrix_of(transform: Any, frame: str) -> Pose:
    """4x4 matrix of a geometry_msgs/Transform (translation, rotation) or Pose (position, orientation).

    Raises:
        RobotError: a number is not finite, or the quaternion's length is not 1.
    """
    at = transform.translation if hasattr(transform, "translation") else transform.position
    turn = transform.rotation if hasattr(transform, "rotation") else transform.orientation
    translation, quaternion = np.array([at.x, at.y, at.z]), np.array([turn.x, turn.y, turn.z, turn.w])
    length = float(np.linalg.norm(quaternion))
    if not (np.isfinite(translation).all() and abs(length - 1) < 1e-2):
        raise RobotError(
            f"the pose of '{frame}' is {translation.tolist()} with the quaternion {quaternion.tolist()} (xyzw); finite "
            "numbers and a quaternion of length 1 are expected"
        )
    rotation = rotation_from_quaternion(torch.tensor(quaternion, dtype=torch.float64))
    return pose_from(rotation, torch.tensor(translation, dtype=torch.float64)).numpy()
