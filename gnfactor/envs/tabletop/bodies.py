"""What most tasks make their bodies of."""

from __future__ import annotations

import mujoco
from mujoco import mjtGeom

from gnfactor.envs.tabletop.colors import Rgb
from gnfactor.envs.tabletop.placement import Place, yaw_quaternion_wxyz
from gnfactor.scene import TABLE_HEIGHT_M


def stand(spec: mujoco.MjSpec, name: str, place: Place, height_m: float = 0.0) -> mujoco.MjsBody:
    """A body fixed to the table, its frame on the table top or `height_m` above it."""
    return spec.worldbody.add_body(
        name=name, pos=(place.x_m, place.y_m, TABLE_HEIGHT_M + height_m), quat=yaw_quaternion_wxyz(place.yaw)
    )


def add_box(
    body: mujoco.MjsBody,
    center_m: tuple[float, float, float],
    size_m: tuple[float, float, float],
    color: Rgb,
    *,
    name: str = "",
    solid: bool = True,
) -> mujoco.MjsGeom:
    """A box of full edge lengths `size_m` in a body's frame; not `solid` = drawn only."""
    return body.add_geom(
        name=name,
        type=mjtGeom.mjGEOM_BOX,
        pos=center_m,
        size=tuple(edge / 2 for edge in size_m),
        rgba=(*color, 1.0),
        contype=int(solid),
        conaffinity=int(solid),
    )


def add_cylinder(
    body: mujoco.MjsBody,
    center_m: tuple[float, float, float],
    radius_m: float,
    height_m: float,
    color: Rgb,
    *,
    name: str = "",
    solid: bool = True,
) -> mujoco.MjsGeom:
    """A cylinder along a body's z axis; not `solid` = drawn only."""
    return body.add_geom(
        name=name,
        type=mjtGeom.mjGEOM_CYLINDER,
        pos=center_m,
        size=(radius_m, height_m / 2, 0),
        rgba=(*color, 1.0),
        contype=int(solid),
        conaffinity=int(solid),
    )
