"""The table's plane in depth pictures, and how far it is from where it should be."""

from __future__ import annotations

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
_TRIALS, _POINTS, _MIN_POINTS = 200, 4000, 100
_MIN_AREA_M2 = 1e-3
"""Three points that span less say little about a plane."""
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


def find_table(view: RobotView, limits: GuardConfig, seed: int = 0) -> TablePlane | None:
    """The plane that most points over the box's floor plan lie on; None: there is none.

    Three points at a time propose a plane (RANSAC), and the points that lie on the best one correct it by least
    squares, twice. What stands on the table is outvoted.

    Args:
        view: colour, depth and the camera's pose as calibrated.
        limits: the box, and where the table should be.
        seed: of the drawing of points.
    """
    generator = np.random.default_rng(seed)
    points = _over_floor_plan(view, limits)
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
    height_m = float(view.camera.world_from_camera[2, 3]) - limits.table_height_m
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


def _proposed(points: Float[np.ndarray, "points 3"], generator: np.random.Generator) -> Float[np.ndarray, "3"] | None:
    """The plane z = a x + b y + c through three points that most others lie on."""
    threes = points[generator.integers(len(points), size=(_TRIALS, 3))]
    corners = np.concatenate((threes[:, :, :2], np.ones((_TRIALS, 3, 1))), -1)
    wide = np.abs(np.linalg.det(corners)) > _MIN_AREA_M2
    planes = np.linalg.solve(corners[wide], threes[wide, :, 2:])[..., 0]
    planes = planes[np.hypot(planes[:, 0], planes[:, 1]) < _STEEP]
    if not len(planes):
        return None
    counts = (np.abs(points[:, 2] - planes[:, :2] @ points[:, :2].T - planes[:, 2:]) < _THICK_M).sum(1)
    return planes[counts.argmax()] if counts.max() >= _MIN_POINTS else None


def _above(plane: Float[np.ndarray, "3"], points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """How far points are above a plane, along z (m)."""
    return points[:, 2] - (points[:, :2] @ plane[:2] + plane[2])
