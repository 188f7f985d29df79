"""A chest of three drawers: its bodies, what is inside a drawer, and how the gripper pulls one open.

The chest's frame lies on the table below the middle of its front; x points into the chest, away from the robot. A
drawer's frame is turned alike; its origin is in the middle of the inner face of the drawer's front.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjtJoint

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import Rgb
from gnfactor.envs.tabletop.placement import Place, Pose, gripper_tilted, yaw_rotation

CHEST = "chest"
"""Name of the body."""
DRAWERS = ("bottom", "middle", "top")
PULL_M = 0.185
"""How far a drawer is pulled out."""

_WIDTH_M, _DEPTH_M, _BOARD_M = 0.30, 0.24, 0.012
_PLINTH_M, _DRAWER_HEIGHT_M, _GAP_M = 0.03, 0.12, 0.008
TOP_M = _PLINTH_M + len(DRAWERS) * _DRAWER_HEIGHT_M + _BOARD_M
"""Height of the chest."""
_TRAVEL_M = 0.21
_INNER_WIDTH_M, _INNER_DEPTH_M = _WIDTH_M - 2 * _BOARD_M - 0.006, _DEPTH_M - _BOARD_M - 0.004
"""Of the box behind a drawer's front, over its walls."""
_FRONT_HEIGHT_M = _DRAWER_HEIGHT_M - _GAP_M
_WALL_HEIGHT_M = _FRONT_HEIGHT_M * 0.7
HOLLOW_LOWER_M = (0.0, -(_INNER_WIDTH_M / 2 - _BOARD_M), _BOARD_M - _FRONT_HEIGHT_M / 2)
"""Corner of a drawer's inside, between its walls and from its floor up; in the drawer's frame."""
HOLLOW_UPPER_M = (_INNER_DEPTH_M - _BOARD_M, _INNER_WIDTH_M / 2 - _BOARD_M, _WALL_HEIGHT_M - _FRONT_HEIGHT_M / 2)
"""The opposite corner, at the height of its rim."""
RIM_M = _FRONT_HEIGHT_M / 2
"""Height of the upper edge of a drawer's front, the highest part of a drawer; in the drawer's frame."""

_HANDLE_STAND_OFF_M = 0.045
"""From the drawer's front to the middle of its bar."""
_HANDLE_SIZE_M = (0.018, 0.018, 0.06)
_TILT = math.radians(50)
"""The gripper comes from above at this angle: the arm's own links stay clear of the chest and of the table."""
_GRASP_DEPTH_M = 0.012
"""How far the finger tips reach beyond the middle of the bar."""
_APPROACH_M = 0.10

_WOOD: Rgb = (0.45, 0.27, 0.14)
_FRONT: Rgb = (0.86, 0.80, 0.70)
_METAL: Rgb = (0.10, 0.10, 0.12)


@dataclass(frozen=True, eq=False)
class Pull:
    """Poses of the gripper that open a drawer."""

    before: Pose
    """About to reach for the bar."""
    around: Pose
    """Holding the bar."""
    out: Pose
    """Holding the bar of the drawer when it has been pulled out."""
    away: Pose
    """Clear of that bar again."""


def add_chest(spec: mujoco.MjSpec, place: Place) -> None:
    """A chest fixed to the table, its drawers closed."""
    chest = stand(spec, CHEST, place)
    height = TOP_M - _BOARD_M
    middle, side = _DEPTH_M / 2, (_WIDTH_M - _BOARD_M) / 2
    for y in (-side, side):
        add_box(chest, (middle, y, height / 2), (_DEPTH_M, _BOARD_M, height), _WOOD)
    add_box(chest, (_DEPTH_M, 0.0, height / 2), (_BOARD_M, _WIDTH_M, height), _WOOD)
    add_box(chest, (middle, 0.0, height + _BOARD_M / 2), (_DEPTH_M + _BOARD_M, _WIDTH_M, _BOARD_M), _WOOD)
    add_box(chest, (middle, 0.0, _PLINTH_M / 2), (_DEPTH_M - 0.02, _WIDTH_M, _PLINTH_M), _WOOD)
    for index in range(len(DRAWERS)):
        _add_drawer(spec, chest, index)


def drawer_name(index: int) -> str:
    """Name of a drawer's body, joint and handle."""
    return f"drawer/{DRAWERS[index]}"


def drawer_height_m(index: int) -> float:
    """Height of the origin of a drawer's frame above the table, which is that of its bar."""
    return _PLINTH_M + (index + 0.5) * _DRAWER_HEIGHT_M


def pull_of(drawer: int, place: Place, data: mujoco.MjData) -> Pull:
    """How to pull out a drawer from where it is now; `place` is that of its chest."""
    bar_m, yaw = data.geom(drawer_name(drawer)).xpos.copy(), place.yaw
    pulled_m = bar_m - yaw_rotation(yaw)[:, 0] * PULL_M
    return Pull(
        before=_at_bar(bar_m, yaw, _GRASP_DEPTH_M - _APPROACH_M),
        around=_at_bar(bar_m, yaw, _GRASP_DEPTH_M),
        out=_at_bar(pulled_m, yaw, _GRASP_DEPTH_M),
        away=_at_bar(pulled_m, yaw, _GRASP_DEPTH_M - _APPROACH_M),
    )


def _at_bar(bar_m: Float[np.ndarray, "3"], yaw: float, depth_m: float) -> Pose:
    """Gripper whose finger tips reach `depth_m` beyond the middle of the bar, the way that they point."""
    pose = gripper_tilted(bar_m, yaw, _TILT)
    pose[:3, 3] += pose[:3, 2] * depth_m
    return pose


def _add_drawer(spec: mujoco.MjSpec, chest: mujoco.MjsBody, index: int) -> None:
    """A box open at the top behind a front with a bar; it runs out of the chest on a damped slide."""
    name = drawer_name(index)
    drawer = chest.add_body(name=name, pos=(0, 0, drawer_height_m(index)))
    width, depth, height, inner = _INNER_WIDTH_M, _INNER_DEPTH_M, _FRONT_HEIGHT_M, _WALL_HEIGHT_M
    add_box(drawer, (-_BOARD_M / 2, 0.0, 0.0), (_BOARD_M, _WIDTH_M - 0.004, height), _FRONT)
    for y in (-(width - _BOARD_M) / 2, (width - _BOARD_M) / 2):
        add_box(drawer, (depth / 2, y, (inner - height) / 2), (depth, _BOARD_M, inner), _FRONT)
    add_box(drawer, (depth - _BOARD_M / 2, 0.0, (inner - height) / 2), (_BOARD_M, width, inner), _FRONT)
    add_box(drawer, (depth / 2, 0.0, -height / 2 + _BOARD_M / 2), (depth, width, _BOARD_M), _FRONT)
    bar = add_box(drawer, (-_BOARD_M - _HANDLE_STAND_OFF_M, 0.0, 0.0), _HANDLE_SIZE_M, _METAL, name=name)
    bar.friction = (1.5, 0.02, 0.0001)
    thick, _, tall = _HANDLE_SIZE_M
    for z in (-(tall - thick) / 2, (tall - thick) / 2):
        stem = (-_BOARD_M - _HANDLE_STAND_OFF_M / 2, 0.0, z)
        add_box(drawer, stem, (_HANDLE_STAND_OFF_M, thick, thick), _METAL)
    drawer.add_joint(
        name=name,
        type=mjtJoint.mjJNT_SLIDE,
        axis=(-1, 0, 0),
        limited=True,
        range=(0, _TRAVEL_M),
        damping=(8.0, 0, 0),
        frictionloss=0.3,
    )
    # The chest is fixed to the world, and MuJoCo does not filter contacts of such a parent with its child.
    spec.add_exclude(bodyname1=CHEST, bodyname2=name)
    for below in range(index):
        spec.add_exclude(bodyname1=drawer_name(below), bodyname2=name)
