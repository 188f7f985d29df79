"""The table's plane in depth pictures, and how far it is from where it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import degrees

import numpy as np
from jaxtyping import Float

from gnfactor.ros.config import GuardConfig
from gnfactor.ros.depth import known_points
from gnfactor.ros.link import RobotView

_LOOK_M = 0.2
"""How far above and below the configured table its plane is looked for."""
_THICK_M = 0.008
"""Points so far from a plane belong to it."""
_TRIALS, _POINTS, _MIN_POINTS = 200, 6000, 100
_STEEP = 0.5
"""A plane that rises more than this is no table."""


@dataclass(frozen=True)
class TablePlane:
    """A plane that was found."""

    height_error_m: float
    """Above (+) or below (-) the configured table, in the middle of the plane's points."""
    tilt_deg: float
    depth_ratio: float
    """What the depth would be multiplied with, were a wrong scale alone to blame for the height."""
    share: float
    """Of the points near the table, those that lie on the plane."""


def find_table(views: Iterable[RobotView], limits: GuardConfig, seed: int = 0) -> TablePlane | None:
    """The plane that most points over the box's floor plan lie on, in all pictures of one camera; None: there is none.

    Three points at a time propose a plane (RANSAC), and the points that lie on the best one correct it by least
    squares, twice. What stands on the table is outvoted.

    Args:
        views: pictures of one camera.
        limits: the box, and where the table should be.
        seed: of the drawing of points.
    """
    seen = list(views)
    generator = np.random.default_rng(seed)
    points = np.concatenate([_over_floor_plan(view, limits) for view in seen])
    if len(points) < _MIN_POINTS:
        return None
    some = points[generator.permutation(len(points))[:_POINTS]]
    plane = _proposed(some, generator)
    if plane is None:
        return None
    for _ in range(2):
        on_plane = some[np.abs(_above(plane, some)) < _THICK_M]
        plane = np.linalg.lstsq(np.column_stack((on_plane[:, :2], np.ones(len(on_plane)))), on_plane[:, 2])[0]
    on_plane = some[np.abs(_above(plane, some)) < _THICK_M]
    error_m = float(on_plane[:, 2].mean() - limits.table_height_m)
    height_m = float(np.mean([view.camera.world_from_camera[2, 3] for view in seen])) - limits.table_height_m
    return TablePlane(
        height_error_m=error_m,
        tilt_deg=degrees(float(np.arctan(np.hypot(plane[0], plane[1])))),
        depth_ratio=1 - error_m / height_m,
        share=len(on_plane) / len(some),
    )


def _over_floor_plan(view: RobotView, limits: GuardConfig) -> Float[np.ndarray, "points 3"]:
    points = known_points(view, limits)
    lower, upper = np.array(limits.box_lower[:2]), np.array(limits.box_upper[:2])
    inside = ((points[:, :2] >= lower) & (points[:, :2] <= upper)).all(-1)
    return points[inside & (np.abs(points[:, 2] - limits.table_height_m) < _LOOK_M)]


def _proposed(
    points: Float[np.ndarray, "points 3"], generator: np.random.Generator
) -> Float[np.ndarray, "3"] | None:
    """The plane z = a x + b y + c through three points that most others lie on."""
    best: Float[np.ndarray, "3"] | None = None
    most = _MIN_POINTS - 1
    for _ in range(_TRIALS):
        three = points[generator.choice(len(points), 3, replace=False)]
        corners = np.column_stack((three[:, :2], np.ones(3)))
        if abs(np.linalg.det(corners)) < 1e-4:
            continue
        plane = np.linalg.solve(corners, three[:, 2])
        count = int((np.abs(_above(plane, points)) < _THICK_M).sum())
        if count > most and np.hypot(plane[0], plane[1]) < _STEEP:
            best, most = plane, count
    return best


def _above(plane: Float[np.ndarray, "3"], points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """How far points are above a plane, along z (m)."""
    return points[:, 2] - (points[:, :2] @ plane[:2] + plane[2])
