"""open_drawer: pull one of a chest's three drawers open by its bar handle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import mjtJoint

from gnfactor.envs.tabletop.colors import Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_tilted,
    sample_place,
    yaw_rotation,
)
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, add_box, go, stand, touch

DRAWERS = ("bottom", "middle", "top")
OPEN_M = 0.15
"""A drawer that has come out further than this is open."""

CHEST = "chest"

# The chest's frame lies on the table below the middle of its front; x points into the chest, away from the robot.
_WIDTH_M, _DEPTH_M, _BOARD_M = 0.30, 0.24, 0.012
_PLINTH_M, _DRAWER_HEIGHT_M = 0.03, 0.12
_TRAVEL_M = 0.21
_HANDLE_STAND_OFF_M = 0.045
"""From the drawer's front to the middle of its bar."""
_HANDLE_SIZE_M = (0.018, 0.018, 0.06)

_TILT = math.radians(50)
"""The gripper comes from above at this angle: the arm's own links stay clear of the chest and of the table."""
_GRASP_DEPTH_M = 0.012
"""How far the finger tips reach beyond the middle of the bar."""
_APPROACH_M = 0.10
_PULL_M = 0.185

_WOOD: Rgb = (0.45, 0.27, 0.14)
_FRONT: Rgb = (0.86, 0.80, 0.70)
_METAL: Rgb = (0.10, 0.10, 0.12)


@dataclass(frozen=True)
class Chest:
    """Where the chest stands and which drawer is meant."""

    place: Place
    drawer: int


class OpenDrawer(Task[Chest]):
    """Three variations: the bottom, the middle and the top drawer."""

    name = "open_drawer"
    variation_count = len(DRAWERS)
    region = Region(x_m=(0.32, 0.62), y_m=(-0.20, 0.20), max_yaw_deg=22.0)
    recolorable = (CHEST,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        drawer = DRAWERS[variation]
        return (
            f"open the {drawer} drawer",
            f"pull the {drawer} drawer out",
            f"take hold of the {drawer} handle and slide that drawer open",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Chest:
        return Chest(sample_place(self.region, rng), variation)

    def build(self, layout: Chest, spec: mujoco.MjSpec) -> None:
        chest = stand(spec, CHEST, layout.place)
        height = _PLINTH_M + len(DRAWERS) * _DRAWER_HEIGHT_M
        middle, side = _DEPTH_M / 2, (_WIDTH_M - _BOARD_M) / 2
        for y in (-side, side):
            add_box(chest, (middle, y, height / 2), (_DEPTH_M, _BOARD_M, height), _WOOD)
        add_box(chest, (_DEPTH_M, 0.0, height / 2), (_BOARD_M, _WIDTH_M, height), _WOOD)
        add_box(chest, (middle, 0.0, height + _BOARD_M / 2), (_DEPTH_M + _BOARD_M, _WIDTH_M, _BOARD_M), _WOOD)
        add_box(chest, (middle, 0.0, _PLINTH_M / 2), (_DEPTH_M - 0.02, _WIDTH_M, _PLINTH_M), _WOOD)
        for index in range(len(DRAWERS)):
            _add_drawer(spec, chest, index)

    def goal(self, layout: Chest, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        address = int(model.joint(drawer_name(layout.drawer)).qposadr[0])
        return Momentary(lambda: float(data.qpos[address]) > OPEN_M)

    def waypoints(self, layout: Chest, data: mujoco.MjData) -> Iterator[Waypoint]:
        bar = data.geom(drawer_name(layout.drawer)).xpos.copy()
        yaw = layout.place.yaw
        yield go("approach", _before(bar, yaw), gripper_open=True)
        yield touch("grasp", _around(bar, yaw), gripper_open=False)
        yield touch("pull", _around(_pulled(bar, yaw), yaw), gripper_open=False)


def drawer_name(index: int) -> str:
    """Name of a drawer's body, joint and handle."""
    return f"drawer/{DRAWERS[index]}"


def _handle_height_m(index: int) -> float:
    return _PLINTH_M + (index + 0.5) * _DRAWER_HEIGHT_M


def _around(bar_m: np.ndarray, yaw: float) -> Pose:
    """Gripper that holds the bar whose middle is at `bar_m`."""
    return _advanced(gripper_tilted(bar_m, yaw, _TILT), _GRASP_DEPTH_M)


def _before(bar_m: np.ndarray, yaw: float) -> Pose:
    """Gripper about to reach for the bar."""
    return _advanced(gripper_tilted(bar_m, yaw, _TILT), _GRASP_DEPTH_M - _APPROACH_M)


def _advanced(pose: Pose, distance_m: float) -> Pose:
    """The pose moved along its own z axis, the way that the fingers point."""
    moved = pose.copy()
    moved[:3, 3] += pose[:3, 2] * distance_m
    return moved


def _pulled(bar_m: np.ndarray, yaw: float) -> np.ndarray:
    """Where the bar is when its drawer has been pulled out."""
    return bar_m - yaw_rotation(yaw)[:, 0] * _PULL_M


def _add_drawer(spec: mujoco.MjSpec, chest: mujoco.MjsBody, index: int) -> None:
    """A box open at the top behind a front with a bar; it runs out of the chest on a damped slide."""
    name = drawer_name(index)
    drawer = chest.add_body(name=name, pos=(0, 0, _handle_height_m(index)))
    width, depth, gap = _WIDTH_M - 2 * _BOARD_M - 0.006, _DEPTH_M - _BOARD_M - 0.004, 0.008
    height = _DRAWER_HEIGHT_M - gap
    add_box(drawer, (-_BOARD_M / 2, 0.0, 0.0), (_BOARD_M, _WIDTH_M - 0.004, height), _FRONT)
    inner, floor = height * 0.7, -height / 2 + _BOARD_M / 2
    for y in (-(width - _BOARD_M) / 2, (width - _BOARD_M) / 2):
        add_box(drawer, (depth / 2, y, (inner - height) / 2), (depth, _BOARD_M, inner), _FRONT)
    add_box(drawer, (depth - _BOARD_M / 2, 0.0, (inner - height) / 2), (_BOARD_M, width, inner), _FRONT)
    add_box(drawer, (depth / 2, 0.0, floor), (depth, width, _BOARD_M), _FRONT)
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
