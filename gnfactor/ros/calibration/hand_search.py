"""Where a depth picture shows the hand, beside where the calibration says that it must be.

The surface of the hand's boxes that faces the camera is a cloud of points. Shifted by a trial shift, each point falls
on a pixel, whose depth speaks for the shift (something is there), against it (the picture shows something far behind:
a hand would hide it) or not at all (no reading, or something in front). Points about the hand speak against the shift
where something is at their depth: a hand ends where its boxes end, a table or a wall does not. The best shift is
searched over a cube, on a coarse grid and then on finer ones; among shifts that are about as good, their mean counts.
One shift for each pose is enough: in the small part of the space that a hand takes up, a wrong pose of the camera
looks like a shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from gnfactor.ros.calibration.hand_model import SeenHand, pixels_of, see_hand
from gnfactor.ros.link import RobotView
from gnfactor.scene import Camera


@dataclass(frozen=True)
class _Grid:
    """Trial shifts about the best of the grid before."""

    half_m: float
    trials: int
    """Along each axis."""
    points: int
    """Of the hand that are looked at."""
    near_m: float
    """Depth that is so near to a point's speaks for it, the more the nearer it is."""


REACH_M = 0.08
"""The search goes so far along each axis of the camera."""
_NEAR_M = 0.02
"""Depth that is so near to a point's may be that point."""
_BEHIND_M = 0.04
"""Depth that is farther behind a point shows that the point is not there."""
_MIN_VISIBLE, _MIN_AGREEMENT = 0.2, 0.5
"""Of the hand's points: those that a reading speaks for or against, and how well these must agree."""
_GRIDS = (
    _Grid(REACH_M, trials=13, points=300, near_m=_NEAR_M),
    _Grid(0.015, trials=7, points=800, near_m=_NEAR_M),
    _Grid(0.005, trials=9, points=2000, near_m=0.008),
)
_AT_ONCE = 200_000
"""Points of trials, so that they stay in the processor's cache."""
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
    hands = [see_hand(view.camera, world_from_gripper, finger_positions_m, grid.points) for grid in _GRIDS]
    depth_m = np.where(np.isfinite(view.depth_m) & (view.depth_m < max_depth_m), view.depth_m, 0).astype(np.float32)
    best = np.zeros(3)
    for grid, hand in zip(_GRIDS, hands, strict=True):
        if hand is None:
            return None
        axis = np.linspace(-grid.half_m, grid.half_m, grid.trials)
        shifts = best + np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
        scores = _scores(view.camera, depth_m, hand, shifts, grid.near_m)
        best = shifts[scores >= scores.max() - _AS_GOOD].mean(0)
    hand = hands[-1]
    assert hand is not None
    visible = float((_gaps(view.camera, depth_m, hand.surface, best[None]) > -_NEAR_M).mean())
    if visible < _MIN_VISIBLE:
        return None
    agreement = float(_scores(view.camera, depth_m, hand, best[None], _NEAR_M)[0]) / visible
    return Sighting(hand.surface.mean(0), best, visible, agreement) if agreement >= _MIN_AGREEMENT else None


def _scores(
    camera: Camera,
    depth_m: Float32[np.ndarray, "height width"],
    hand: SeenHand,
    shifts: Float[np.ndarray, "trials 3"],
    near_m: float,
) -> Float[np.ndarray, "trials"]:
    """What speaks for a shifted hand less what speaks against it (see the module), 1 at best."""
    scores: list[Float[np.ndarray, "some"]] = []
    for some in np.array_split(shifts, max(1, len(shifts) * len(hand.surface) // _AT_ONCE)):
        surface_m, halo_m = (_gaps(camera, depth_m, points, some) for points in (hand.surface, hand.halo))
        agreeing = np.maximum(0, 1 - (surface_m / near_m) ** 2) - (surface_m > _BEHIND_M)
        scores.append(agreeing.mean(1) - (np.abs(halo_m) < _NEAR_M).sum(1) / max(len(hand.halo), 1))
    return np.concatenate(scores)


def _gaps(
    camera: Camera,
    depth_m: Float32[np.ndarray, "height width"],
    points: Float[np.ndarray, "points 3"],
    shifts: Float[np.ndarray, "trials 3"],
) -> Float[np.ndarray, "trials points"]:
    """How far (m) behind each shifted point the picture's surface is; -infinite where nothing is known of it."""
    k = camera.intrinsics
    x, y, z = ((points[:, axis] + shifts[:, axis, None]).astype(np.float32) for axis in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.rint(x / z * k[0, 0] + k[0, 2]), np.rint(y / z * k[1, 1] + k[1, 2])
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height) & (z > 0)
    place = np.where(inside, v * camera.width + u, 0).astype(np.int32)
    seen_m = depth_m.ravel()[place]
    return np.where(inside & (seen_m > 0), seen_m - z, -np.inf)
