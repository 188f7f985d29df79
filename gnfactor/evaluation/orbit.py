"""A way around a scene for a camera that nobody has: back and forth between the outermost views that were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import atan2, cos, pi, sin

import numpy as np
from jaxtyping import Float

from gnfactor.scene import WORKSPACE_LOWER_M, WORKSPACE_UPPER_M, Camera

_CENTRE_M = tuple((low + up) / 2 for low, up in zip(WORKSPACE_LOWER_M, WORKSPACE_UPPER_M, strict=True))
_LEAST_SWING = 0.5
"""Radians to both sides where the views stand in one place."""


def orbit(cameras: Sequence[Camera], count: int) -> list[Camera]:
    """So many cameras on a closed way that slows down at its two ends, so that a film of it can run in a loop.

    Each is the middle one of `cameras`, swung about the vertical through the workspace's centre; on an arc of cameras
    about that axis it passes through all of them.

    Args:
        cameras: at least one; between the outermost ones, as seen from the axis, the way runs.
        count: of cameras on the way, at least one.
    """
    middle = middle_camera(cameras)
    swings = [_wrapped(heading(camera) - heading(middle)) for camera in cameras]
    first, last = min(swings), max(swings)
    if last - first < 0.01:
        first, last = -_LEAST_SWING, _LEAST_SWING
    shares = [(1 - cos(2 * pi * number / count)) / 2 for number in range(count)]
    return [swung(middle, first + share * (last - first)) for share in shares]


def middle_camera(cameras: Sequence[Camera]) -> Camera:
    """The one whose farthest fellow, as seen from the workspace's axis, is nearest."""
    headings = [heading(camera) for camera in cameras]
    farthest = [max(abs(_wrapped(one - other)) for other in headings) for one in headings]
    return cameras[int(np.argmin(farthest))]


def swung(camera: Camera, angle: float) -> Camera:
    """The camera turned with its place by an angle (rad) about the vertical through the workspace's centre."""
    turn, centre = np.eye(4), np.array(_CENTRE_M)
    turn[:2, :2] = [[cos(angle), -sin(angle)], [sin(angle), cos(angle)]]
    turn[:3, 3] = centre - turn[:3, :3] @ centre
    return replace(camera, world_from_camera=turn @ camera.world_from_camera)


def heading(camera: Camera) -> float:
    """Angle (rad) from +x of a camera's place about the vertical through the workspace's centre."""
    away = _position(camera) - np.array(_CENTRE_M)
    return atan2(away[1], away[0])


def nearest(camera: Camera, others: Sequence[Camera]) -> int:
    """Which of the others stands nearest."""
    return int(np.argmin([np.linalg.norm(_position(camera) - _position(other)) for other in others]))


def _position(camera: Camera) -> Float[np.ndarray, "3"]:
    return np.asarray(camera.world_from_camera[:3, 3], np.float64)


def _wrapped(angle: float) -> float:
    """The same angle between -pi and pi."""
    return (angle + pi) % (2 * pi) - pi
