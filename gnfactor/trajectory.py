"""From a joint path to a motion in time that respects the limits of speed and acceleration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MAX_JOINT_SPEED = 1.5
"""rad/s, for every joint, unless the caller says otherwise; the Panda's own limits are 2.2 and 2.6."""
MAX_JOINT_ACCELERATION = 5.0
"""rad/s^2."""
_SPACING_RAD = 0.02
_SLOWEST = 1e-3
"""Share of the speed limit that is kept at corners, so that time does not become infinite."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Joint positions and velocities at every time step, from rest to rest; the first entry is one step in."""

    positions: Float[np.ndarray, "steps 7"]
    velocities: Float[np.ndarray, "steps 7"]


def time_path(
    path: Float[np.ndarray, "points 7"],
    timestep_s: float,
    tip_positions: Float[np.ndarray, "points 3"] | None = None,
    max_tip_speed_m_s: float = np.inf,
    max_joint_speed: float = MAX_JOINT_SPEED,
    max_joint_acceleration: float = MAX_JOINT_ACCELERATION,
) -> Trajectory:
    """As fast as the limits allow along a path, from rest to rest.

    The speed along the path is bounded by each joint's speed, by the acceleration that corners ask for, and, where the
    gripper's positions along the path are given, by its speed; then a forward and a backward sweep bound the
    acceleration (Bobrow, Dubowsky and Gibson 1985, on a grid and with constant limits).
    """
    points, tips = _densify(path, tip_positions)
    lengths = np.abs(np.diff(points, axis=0)).max(1)
    if not len(lengths):
        return Trajectory(positions=path[-1:], velocities=np.zeros((1, 7)))
    tangents = np.diff(points, axis=0) / lengths[:, None]
    limits = np.full(len(lengths), max_joint_speed)
    if tips is not None:
        tip_steps = np.linalg.norm(np.diff(tips, axis=0), axis=1)
        limits = np.minimum(limits, max_tip_speed_m_s * lengths / np.maximum(tip_steps, 1e-9))
    speeds = _speeds(lengths, tangents, limits, max_joint_acceleration)
    durations = 2 * lengths / (speeds[:-1] + speeds[1:])
    times = np.concatenate(([0], durations.cumsum()))
    steps = max(int(np.ceil(times[-1] / timestep_s)), 1)
    at = np.linspace(0, times[-1], steps + 1)
    distances = _distance_at(at, times, lengths, speeds)
    along = np.concatenate(([0], lengths.cumsum()))
    positions = np.stack([np.interp(distances, along, points[:, j]) for j in range(7)], 1)
    velocities = np.gradient(positions, at, axis=0)
    velocities[-1] = 0
    return Trajectory(positions=positions[1:], velocities=velocities[1:])


def _densify(
    path: Float[np.ndarray, "points 7"], tips: Float[np.ndarray, "points 3"] | None
) -> tuple[Float[np.ndarray, "dense 7"], Float[np.ndarray, "dense 3"] | None]:
    """Points no farther apart than the spacing, at least one inside every edge, without repetitions."""
    lengths = np.abs(np.diff(path, axis=0)).max(1)
    keep = np.concatenate(([True], lengths > 1e-9))
    path, tips = path[keep], None if tips is None else tips[keep]
    counts = np.maximum(np.ceil(lengths[keep[1:]] / _SPACING_RAD).astype(int), 2)
    ends = np.concatenate(([0], counts.cumsum()))
    at = np.interp(np.arange(ends[-1] + 1), ends, np.arange(len(path)))
    index = np.arange(len(path))

    def interpolate(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(at, index, column) for column in values.T], 1)

    return interpolate(path), None if tips is None else interpolate(tips)


def _speeds(
    lengths: Float[np.ndarray, "edges"],
    tangents: Float[np.ndarray, "edges 7"],
    limits: Float[np.ndarray, "edges"],
    max_acceleration: float,
) -> Float[np.ndarray, "points"]:
    """Speed along the path at every point."""
    highest = np.concatenate(([0], np.minimum(limits[:-1], limits[1:]), [0]))
    turning = np.abs(np.diff(tangents, axis=0)).max(1) * 2 / (lengths[:-1] + lengths[1:])
    at_corners = np.sqrt(max_acceleration / np.maximum(turning, 1e-9))
    highest[1:-1] = np.minimum(highest[1:-1], np.maximum(at_corners, _SLOWEST * limits.max()))
    squares = highest**2
    gain = 2 * max_acceleration * lengths
    for i in range(1, len(squares)):
        squares[i] = min(squares[i], squares[i - 1] + gain[i - 1])
    for i in range(len(squares) - 2, -1, -1):
        squares[i] = min(squares[i], squares[i + 1] + gain[i])
    return np.sqrt(squares)


def _distance_at(
    at: Float[np.ndarray, "samples"],
    times: Float[np.ndarray, "points"],
    lengths: Float[np.ndarray, "edges"],
    speeds: Float[np.ndarray, "points"],
) -> Float[np.ndarray, "samples"]:
    """Length covered at given times, with constant acceleration along every edge."""
    edge = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(lengths) - 1)
    since = at - times[edge]
    acceleration = (speeds[edge + 1] ** 2 - speeds[edge] ** 2) / (2 * lengths[edge])
    before = np.concatenate(([0], lengths.cumsum()))[edge]
    return before + speeds[edge] * since + 0.5 * acceleration * since**2
