"""Where a depth picture shows the hand, beside where the calibration says that it must be.

The surface of the hand's boxes that faces the camera is a cloud of points. Shifted by a trial shift, each point falls on
a pixel, whose depth speaks for the shift (something is there), against it (the picture shows something far behind: a
hand would hide it) or not at all (no reading, or something in front). Points about the hand speak against the shift
where something is at their depth: a hand ends where its boxes end, a table or a wall does not. The best shift is
searched over a cube, on a coarse grid and then on finer ones; among shifts that are about as good, their mean counts.
One shift for each pose is enough: in the small part of the space that a hand takes up, a wrong pose of the camera
looks like a shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gnfactor.ros.hand_model import SeenHand, pixels_of, see_hand
from gnfactor.ros.link import RobotView
from gnfactor.scene import Camera

REACH_M = 0.08
"""The search goes so far along each axis of the camera."""
_NEAR_M = 0.02
"""Depth that is so near to a point's is that point."""
_BEHIND_M = 0.04
"""Depth that is farther behind a point shows that the point is not there."""
_MIN_VISIBLE, _MIN_AGREEMENT = 0.2, 0.5
"""Of the hand's points: those that a reading speaks for or against, and how well these must agree."""
_GRIDS = ((REACH_M, 17, 500), (0.012, 9, 1500), (0.003, 9, 3000))
"""Half width (m), trials along each axis, and points looked at: each about the best of the one before."""
_AS_GOOD = 0.004
"""Of the score: shifts that are this little worse than the best are as good."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A hand that was found."""

    camera_from_predicted: Float[np.ndarray, "3"]
    """Middle of the predicted surface (m)."""
    shift_m: Float[np.ndarray, "3"]
    """From where the calibration says that the hand is to where the picture shows it, along the camera's axes."""
    visible: float
    """Share of the hand's points that a reading speaks for or against."""
    agreement: float
    """How well these agree with the picture once they are shifted: 1 is perfect, 0 no better than nothing."""

    @property
    def distance_m(self) -> float:
        return float(np.linalg.norm(self.shift_m))

    @property
    def depth_ratio(self) -> float:
        """Depth of the hand as seen, over that as predicted."""
        return float(1 + self.shift_m[2] / self.camera_from_predicted[2])

    def pixels(self, camera: Camera) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
        """Middle of the hand in the picture (u, v), as predicted and as seen."""
        middle = self.camera_from_predicted
        return pixels_of(camera, middle), pixels_of(camera, middle + self.shift_m)


def find_hand(
    view: RobotView,
    world_from_gripper: Float[np.ndarray, "4 4"],
    finger_positions_m: Float[np.ndarray, "2"],
    max_depth_m: float,
) -> Sighting | None:
    """The hand in a depth picture; None where too little of it is in the picture, or it cannot be told from the rest.

    Args:
        view: the picture, with the camera's pose as calibrated.
        world_from_gripper: where the arm says that the hand is.
        finger_positions_m: how far it is open.
        max_depth_m: readings from here on are none.
    """
    hands = [see_hand(view.camera, world_from_gripper, finger_positions_m, count) for _, _, count in _GRIDS]
    depth_m = np.where(np.isfinite(view.depth_m) & (view.depth_m < max_depth_m), view.depth_m, 0.0)
    best = np.zeros(3)
    for (half_m, trials, _), hand in zip(_GRIDS, hands, strict=True):
        if hand is None:
            return None
        axis = np.linspace(-half_m, half_m, trials)
        shifts = best + np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
        scores = np.array([_score(view.camera, depth_m, hand, shift) for shift in shifts])
        best = shifts[scores >= scores.max() - _AS_GOOD].mean(0)
    hand = hands[-1]
    assert hand is not None
    visible = float((_gaps(view.camera, depth_m, hand.surface + best) > -_NEAR_M).mean())
    if visible < _MIN_VISIBLE:
        return None
    agreement = _score(view.camera, depth_m, hand, best) / visible
    return Sighting(hand.surface.mean(0), best, visible, agreement) if agreement >= _MIN_AGREEMENT else None


def _score(
    camera: Camera, depth_m: Float[np.ndarray, "height width"], hand: SeenHand, shift: Float[np.ndarray, "3"]
) -> float:
    """What speaks for a shifted hand less what speaks against it, per point of its surface: 1 at best; see the module."""
    surface_m, halo_m = (_gaps(camera, depth_m, points + shift) for points in (hand.surface, hand.halo))
    agreeing = np.maximum(0, 1 - (surface_m / _NEAR_M) ** 2) - (surface_m > _BEHIND_M)
    return float(agreeing.mean() - (np.abs(halo_m) < _NEAR_M).sum() / max(len(halo_m), 1))


def _gaps(
    camera: Camera, depth_m: Float[np.ndarray, "height width"], points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points"]:
    """How far (m) behind each point the picture's surface is; -infinite where nothing is known of it."""
    pixels = np.rint(pixels_of(camera, points))
    inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(-1) & (points[:, 2] > 0)
    u, v = np.where(inside[:, None], pixels, 0).astype(int).T
    seen_m = depth_m[v, u]
    return np.where(inside & (seen_m > 0), seen_m - points[:, 2], -np.inf)

