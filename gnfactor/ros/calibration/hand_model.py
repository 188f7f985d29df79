"""What of Franka's hand a camera must see: a few boxes, and the points of their surfaces that face it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float

from gnfactor.scene import Camera

HALO_M = 0.02
"""How far about the hand there should be nothing: what is seen there at its depth is no edge of a hand."""
_FIRST_RAYS, _FINEST_PX, _MIN_IN_PICTURE = 2000, 0.25, 0.5
_TIP_M = 0.1104
"""From the flange to the gripper's frame."""
_HAND = (
    ((-0.032, -0.098, 0.0), (0.032, 0.098, 0.036)),
    ((-0.0195, -0.102, 0.034), (0.0195, 0.102, 0.060)),
)
_FINGER = (
    ((-0.0105, 0.002, 0.0584), (0.0105, 0.027, 0.0864)),
    ((-0.0105, 0.0, 0.0854), (0.0105, 0.015, 0.1124)),
)
"""Lower and upper corners from the flange, of the hand and of the finger on its +y side, closed (m)."""


@dataclass(frozen=True, eq=False)
class SeenHand:
    """Points (m, in the camera's frame) that a camera must see of a hand, each on a pixel of its own or nearly so."""

    surface: Float[np.ndarray, "points 3"]
    """On the boxes, where they face the camera."""
    halo: Float[np.ndarray, "others 3"]
    """Beside the boxes in the picture, as near as they are: something else, farther away, must be seen there."""


def hand_boxes(finger_positions_m: Float[np.ndarray, "2"]) -> Float[np.ndarray, "boxes 2 3"]:
    """Lower and upper corners of hand and fingers in the gripper's frame (m).

    A real hand is rounder than its boxes by some millimetres. Its outline is that of the built-in world's gripper.

    Args:
        finger_positions_m: distance of each finger from closed; the first is on the hand's +y side.
    """
    boxes = [np.array(box) for box in _HAND]
    for side, opened_m in zip((1, -1), finger_positions_m, strict=True):
        for lower, upper in _FINGER:
            near, far = side * (lower[1] + opened_m), side * (upper[1] + opened_m)
            boxes.append(np.array([[lower[0], min(near, far), lower[2]], [upper[0], max(near, far), upper[2]]]))
    return np.stack(boxes) - (0, 0, _TIP_M)


def see_hand(
    camera: Camera,
    world_from_gripper: Float[np.ndarray, "4 4"],
    finger_positions_m: Float[np.ndarray, "2"],
    count: int,
) -> SeenHand | None:
    """What a camera must see of a hand there, if nothing is in the way; None where less than half is in the picture.

    Args:
        camera: its pose and intrinsics.
        world_from_gripper: where the hand is.
        finger_positions_m: how far it is open.
        count: of points of the surface, about; fewer where more than 16 would be on one pixel.
    """
    camera_from_gripper = np.linalg.inv(camera.world_from_camera) @ world_from_gripper
    boxes = hand_boxes(finger_positions_m)
    about = _part_of_picture(camera, camera_from_gripper, _grown(boxes))
    if about is None:
        return None
    step_px = float(np.sqrt(np.prod(about[1] - about[0]) / _FIRST_RAYS))
    hits = int(np.isfinite(_first_hit(camera_from_gripper, _rays(camera, about, step_px), boxes)).sum())
    rays = _rays(camera, about, max(_FINEST_PX, step_px * float(np.sqrt(hits / count))))
    depth_m = _first_hit(camera_from_gripper, rays, boxes)
    halo_m = _first_hit(camera_from_gripper, rays, _grown(boxes))
    on_hand, beside = np.isfinite(depth_m), np.isfinite(halo_m) & ~np.isfinite(depth_m)
    surface = rays[on_hand] * depth_m[on_hand, None]
    pixels = np.rint(pixels_of(camera, surface))
    inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(-1)
    if not len(surface) or inside.mean() < _MIN_IN_PICTURE:
        return None
    return SeenHand(surface[inside], rays[beside] * halo_m[beside, None])


def pixels_of(camera: Camera, points: Float[np.ndarray, "*rest 3"]) -> Float[np.ndarray, "*rest 2"]:
    """Pixels (u, v) of points in the camera's frame; they mean nothing for points behind it."""
    k = camera.intrinsics
    with np.errstate(divide="ignore", invalid="ignore"):
        return points[..., :2] / points[..., 2:] * (k[0, 0], k[1, 1]) + (k[0, 2], k[1, 2])


def _grown(boxes: Float[np.ndarray, "boxes 2 3"]) -> Float[np.ndarray, "boxes 2 3"]:
    """With their surroundings, save towards the flange, where the arm goes on."""
    return boxes + np.array([[-HALO_M, -HALO_M, 0.0], [HALO_M, HALO_M, HALO_M]])


def _part_of_picture(
    camera: Camera, camera_from_gripper: Float[np.ndarray, "4 4"], boxes: Float[np.ndarray, "boxes 2 3"]
) -> Float[np.ndarray, "2 2"] | None:
    """Least and greatest pixel (u, v) that the boxes cover, in the picture or not far from it; None: no pixel of it."""
    corners = np.array([[box[i][0], box[j][1], box[k][2]] for box in boxes for i, j, k in product((0, 1), repeat=3)])
    points = corners @ camera_from_gripper[:3, :3].T + camera_from_gripper[:3, 3]
    if (points[:, 2] <= 0).all():
        return None
    size = np.array((camera.width, camera.height))
    pixels = pixels_of(camera, points) if (points[:, 2] > 0).all() else np.stack((-size, 2 * size))  # partly behind
    about = np.stack((np.maximum(pixels.min(0), -size), np.minimum(pixels.max(0), 2 * size)))
    return about if (about[1] > 0).all() and (about[0] < size).all() else None


def _rays(camera: Camera, about: Float[np.ndarray, "2 2"], step_px: float) -> Float[np.ndarray, "rays 3"]:
    """Directions (z = 1) on an even grid over a part of the picture."""
    u, v = np.meshgrid(*(np.arange(low, high, step_px) for low, high in about.T))
    k = camera.intrinsics
    right, down = (u.ravel() - k[0, 2]) / k[0, 0], (v.ravel() - k[1, 2]) / k[1, 1]
    return np.stack((right, down, np.ones_like(right)), 1)


def _first_hit(
    camera_from_gripper: Float[np.ndarray, "4 4"],
    rays: Float[np.ndarray, "rays 3"],
    boxes: Float[np.ndarray, "boxes 2 3"],
) -> Float[np.ndarray, "rays"]:
    """Depth (m) at which each ray meets the first box; infinite where it meets none."""
    gripper_from_camera = np.linalg.inv(camera_from_gripper)
    origin, along = gripper_from_camera[:3, 3], rays @ gripper_from_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = (boxes[:, :, None] - origin) / along  # boxes, lower and upper, rays, axes
    near, far = ways.min(1).max(-1), ways.max(1).min(-1)
    hit: Bool[np.ndarray, "boxes rays"] = (near <= far) & (near > 0)
    return np.where(hit, near, np.inf).min(0)
