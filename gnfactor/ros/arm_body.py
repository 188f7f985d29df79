"""The arm's own body from elbow to flange, which may touch the table while the gripper is above it.

It is a chain of capsules, fixed to the links of `gnfactor.kinematics.FRANKA_CHAIN`. A capsule's lowest and farthest
points lie around its two ends, so that only spheres around the ends need to be looked at. The radii are those of a
Franka's housings with a little to spare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gnfactor.kinematics import FLANGE_M, ArmModel, link_poses


@dataclass(frozen=True)
class Sphere:
    """A ball that one link carries."""

    joint: int
    """Number (4 to 7) of the joint that turns the link."""
    center_m: tuple[float, float, float]
    """In the link's frame."""
    radius_m: float


ARM_BODY = (
    Sphere(4, (0.0, 0.0, -0.06), 0.06),
    Sphere(4, (0.0, 0.0, 0.06), 0.06),
    Sphere(5, (0.0, 0.0, -0.31), 0.06),
    Sphere(5, (0.0, 0.0, -0.21), 0.06),
    Sphere(5, (0.0, 0.08, -0.2), 0.03),
    Sphere(5, (0.0, 0.08, -0.06), 0.03),
    Sphere(6, (0.0, 0.0, 0.0), 0.07),
    Sphere(7, (0.0, 0.0, 0.0), 0.07),
    Sphere(7, (0.0, 0.0, FLANGE_M), 0.06),
)
"""Elbow, both ends of the forearm's thick part and of its thin one, wrist, last joint, flange."""


@dataclass(frozen=True)
class Lowest:
    """The lowest point of the arm's body."""

    height_m: float
    """In the policy's world."""
    joint: int
    """Number of the joint whose link it belongs to."""


def lowest(arm: ArmModel, joints: Float[np.ndarray, "7"]) -> Lowest:
    """Where the arm is lowest from its elbow to its flange."""
    world_from_link = arm.world_from_base @ link_poses(joints)
    links = world_from_link[[ball.joint - 1 for ball in ARM_BODY]]
    bottoms = (links @ _CENTERS)[:, 2, 0] - _RADII
    worst = int(bottoms.argmin())
    return Lowest(float(bottoms[worst]), ARM_BODY[worst].joint)


_CENTERS = np.array([[*ball.center_m, 1.0] for ball in ARM_BODY])[:, :, None]
_RADII = np.array([ball.radius_m for ball in ARM_BODY])
