"""Where things stand on the table, and how a gripper turns towards them.

Everything random in a scene comes from one generator seeded by (task, variation, seed), so that a scene can be made
again from these three alone, on any machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gnfactor.errors import SceneError
from gnfactor.scene import TABLE_HEIGHT_M

Pose = Float[np.ndarray, "4 4"]

_MAX_DRAWS = 1000


@dataclass(frozen=True)
class Place:
    """A spot on the table with a heading."""

    x_m: float
    y_m: float
    yaw: float
    """About the vertical, rad; 0 = the object's x axis along the world's."""


@dataclass(frozen=True)
class Region:
    """A rectangle of the table, with the headings allowed there."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    max_yaw_deg: float
    """Headings are uniform in plus/minus this."""


def scene_generator(task: str, variation: int, seed: int) -> np.random.Generator:
    """The one source of randomness of a scene; the same in every process and on every machine."""
    digest = hashlib.sha256(f"{task}/{variation}/{seed}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())


def sample_place(region: Region, rng: np.random.Generator) -> Place:
    """A place drawn uniformly from a region."""
    yaw_deg = rng.uniform(-region.max_yaw_deg, region.max_yaw_deg)
    return Place(float(rng.uniform(*region.x_m)), float(rng.uniform(*region.y_m)), math.radians(yaw_deg))


def sample_places_apart(region: Region, count: int, distance_m: float, rng: np.random.Generator) -> tuple[Place, ...]:
    """Places of one region, every two at least `distance_m` apart; all are drawn anew until they are.

    Raises:
        SceneError: the region does not hold so many.
    """
    for _ in range(_MAX_DRAWS):
        places = tuple(sample_place(region, rng) for _ in range(count))
        gaps = [math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) for i, a in enumerate(places) for b in places[:i]]
        if not gaps or min(gaps) >= distance_m:
            return places
    raise SceneError(
        f"found no room for {count} objects {distance_m} m apart in x {region.x_m}, y {region.y_m} after {_MAX_DRAWS} "
        "draws; make the region larger or the distance smaller"
    )


def scatter_places(
    region: Region, count: int, distance_m: float, rng: np.random.Generator, clear_of: Sequence[Place] = ()
) -> tuple[Place, ...]:
    """Many places of one region, drawn one by one, each until it is `distance_m` from those before it and `clear_of`.

    Raises:
        SceneError: those drawn first leave no room for the rest.
    """
    places: list[Place] = []
    draws = 0
    while len(places) < count:
        if draws == _MAX_DRAWS:
            raise SceneError(
                f"found no room for {count} objects {distance_m} m apart in x {region.x_m}, y {region.y_m}, only for "
                f"{len(places)} in {draws} draws; make the region larger or the distance smaller"
            )
        place, draws = sample_place(region, rng), draws + 1
        others = (*clear_of, *places)
        if all(math.dist((place.x_m, place.y_m), (other.x_m, other.y_m)) >= distance_m for other in others):
            places.append(place)
    return tuple(places)


def world_from_place(place: Place, height_m: float = 0.0) -> Pose:
    """Frame of a place, z up, `height_m` above the table top."""
    pose = np.eye(4)
    pose[:3, :3] = yaw_rotation(place.yaw)
    pose[:3, 3] = (place.x_m, place.y_m, TABLE_HEIGHT_M + height_m)
    return pose


def yaw_rotation(yaw: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about the vertical by `yaw` (rad)."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array(((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0)))


def yaw_quaternion_wxyz(yaw: float) -> tuple[float, float, float, float]:
    """The same rotation in MuJoCo's order of quaternion components."""
    return (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))


def quarter_turn_yaw(yaw: float) -> float:
    """The heading in [-45, 45) degrees that a four-fold symmetric thing has when turned by `yaw` (rad)."""
    return (yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4


def half_turn_yaw(yaw: float) -> float:
    """The heading in [-90, 90) degrees that a two-fold symmetric thing has when turned by `yaw` (rad)."""
    return (yaw + math.pi / 2) % math.pi - math.pi / 2


def gripper_down(position_m: Float[np.ndarray, "3"], yaw: float = 0.0) -> Pose:
    """A gripper at `position_m` that points straight down, turned by `yaw` (rad) from the robot's rest pose."""
    return gripper_tilted(position_m, yaw, math.pi / 2)


def gripper_tilted(position_m: Float[np.ndarray, "3"], yaw: float, tilt: float) -> Pose:
    """A gripper that looks along heading `yaw`, `tilt` (rad) below the horizontal, its fingers moving sideways."""
    pose = np.eye(4)
    ahead = np.array((math.cos(tilt), 0.0, -math.sin(tilt)))
    aside = np.array((0.0, 1.0, 0.0))
    pose[:3, :3] = yaw_rotation(yaw) @ np.column_stack((np.cross(aside, ahead), aside, ahead))
    pose[:3, 3] = position_m
    return pose


def raised(pose: Pose, height_m: float) -> Pose:
    """A pose moved straight up."""
    moved = pose.copy()
    moved[2, 3] += height_m
    return moved


def place_within(frame: Place, place: Place) -> Place:
    """The world's view of a place that is given in the frame of another."""
    x, y = (world_from_place(frame) @ (place.x_m, place.y_m, 0.0, 1.0))[:2]
    return Place(float(x), float(y), frame.yaw + place.yaw)
