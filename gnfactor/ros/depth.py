"""Whether what a depth camera says can be true: readings, points in the workspace, the table where it should be."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float

from gnfactor.geometry import unproject
from gnfactor.ros.config import GuardConfig
from gnfactor.ros.link import RobotView

_SLAB_M = 0.01
_LOOK_M = 0.3
"""How far above and below the configured table another plane is looked for, to name it."""


def clear_depth_complaint(name: str, view: RobotView, limits: GuardConfig) -> str | None:
    """Why this is not a picture with enough depth in it, or None."""
    size = (view.camera.height, view.camera.width)
    if view.depth_m.shape != size or view.rgb.shape != (*size, 3):
        return f"'{name}' has depth {view.depth_m.shape} and colour {view.rgb.shape} for a camera of {size}"
    if not (np.isfinite(view.camera.world_from_camera).all() and np.isfinite(view.camera.intrinsics).all()):
        return f"the pose or the intrinsics of '{name}' hold a number that is not finite"
    clipped = float((np.isfinite(view.depth_m) & (view.depth_m >= limits.max_depth_m)).mean())
    share = float(_readings(view, limits).mean())
    if share >= limits.min_reading_share:
        return None
    return (
        f"only {share:.1%} of the pixels of '{name}' have a depth below {limits.max_depth_m} m ({clipped:.1%} are "
        f"beyond, the rest are empty); at least {limits.min_reading_share:.1%} are expected"
    )


def workspace_points(view: RobotView, limits: GuardConfig) -> int:
    """How many points lie in the box, the table's surface included."""
    points = known_points(view, limits)
    lower, upper = np.array(limits.box_lower), np.array(limits.box_upper)
    lower[2] = min(lower[2], limits.table_height_m - limits.table_tolerance_m)
    return int(((points >= lower) & (points <= upper)).all(-1).sum())


def table_complaint(name: str, view: RobotView, limits: GuardConfig) -> str | None:
    """Why the table is not where it should be, or None.

    A wrong scale of depth moves the table's plane up or down as a whole, by its share of the camera's height above it.
    """
    points = known_points(view, limits)
    lower, upper = np.array(limits.box_lower[:2]), np.array(limits.box_upper[:2])
    heights = points[((points[:, :2] >= lower) & (points[:, :2] <= upper)).all(-1), 2]
    if not len(heights):
        return f"'{name}' sees nothing of the box's floor plan; is its pose right?"
    near = np.abs(heights - limits.table_height_m) <= limits.table_tolerance_m
    expected = (
        f"at least {limits.min_table_share:.1%} of its points there are expected within "
        f"{limits.table_tolerance_m * 1000:.0f} mm of the table at {limits.table_height_m:.3f} m"
    )
    if near.mean() < limits.min_table_share:
        return (
            f"the table is missing in the depth of '{name}': {near.mean():.1%} of its points lie on it and most lie "
            f"{_densest(heights, limits)}; {expected}: check depth_scale and the camera's pose"
        )
    return None


def _densest(heights: Float[np.ndarray, "points"], limits: GuardConfig) -> str:
    """Where most points lie, in words."""
    around = heights[np.abs(heights - limits.table_height_m) <= _LOOK_M]
    if not len(around):
        return f"more than {_LOOK_M} m from there, at z = {np.median(heights):.3f} m in the middle"
    slab = np.floor(around / _SLAB_M)
    values, counts = np.unique(slab, return_counts=True)
    return f"at z = {np.median(around[slab == values[counts.argmax()]]):.3f} m"


def _readings(view: RobotView, limits: GuardConfig) -> Bool[np.ndarray, "height width"]:
    return np.isfinite(view.depth_m) & (view.depth_m > 0) & (view.depth_m < limits.max_depth_m)


def known_points(view: RobotView, limits: GuardConfig) -> Float[np.ndarray, "points 3"]:
    """World points (m) of the pixels that have a reading."""
    known = _readings(view, limits)
    depth_m = torch.from_numpy(np.where(known, view.depth_m, 0.0).astype(np.float64))
    intrinsics, pose = (
        torch.from_numpy(np.asarray(matrix, dtype=np.float64))
        for matrix in (view.camera.intrinsics, view.camera.world_from_camera)
    )
    return unproject(depth_m, intrinsics, pose).numpy()[known]
