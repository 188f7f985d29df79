"""sweep_to_dustpan_of_size: sweep five pieces of dirt with a broom into the taller or the shorter of two dustpans."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_down,
    place_within,
    quarter_turn_yaw,
    sample_place,
    sample_places_apart,
    world_from_place,
)
from gnfactor.envs.tabletop.scene import make_graspable
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, go, touch
from gnfactor.scene import TABLE_HEIGHT_M

WALL_HEIGHTS_M = {"tall": 0.13, "short": 0.04}
"""Height of the walls of each dustpan, by its size."""
SIZES = tuple(WALL_HEIGHTS_M)
BROOM = "broom"
PIECES = 5
PAN_DEPTH_M, PAN_WIDTH_M = 0.13, 0.19
"""Of a dustpan's floor, between its walls."""
PIECE_M = 0.022
LYING_M = 2 * PIECE_M
"""Above the table; the middle of a piece that lies in a dustpan, on its floor or on another piece, is lower."""

# In the layout's frame the dirt lies around the middle and the dustpans to the left and right, mouths towards the dirt.
_DIRT = Region(x_m=(-0.05, 0.05), y_m=(-0.05, 0.05), max_yaw_deg=45.0)
_DIRT_APART_M = 0.032
_MOUTH_M = 0.13
"""From the middle of the dirt to the mouth of either dustpan."""
_BROOM = Region(x_m=(0.20, 0.22), y_m=(-0.03, 0.03), max_yaw_deg=25.0)
_WALL_M, _FLOOR_M, _RAMP_M = 0.006, 0.002, 0.025

# Seen from above the brush is an H: wings keep the dirt before it, whichever way it is pushed. x = the way it sweeps.
_BRUSH_M, _BRUSH_WIDTH_M, _BRUSH_HEIGHT_M = 0.02, 0.165, 0.05
_WING_M, _WING_LENGTH_M, _WING_HEIGHT_M = 0.008, 0.07, 0.03
_HANDLE_M, _HANDLE_TOP_M, _GRIP_M = 0.02, 0.21, 0.19
"""Thickness and top of the handle, and the height at which it is held."""

_ABOVE_M = 0.09
_CLEARANCE_M = 0.005
"""Of the brush above the table while it sweeps: more than a dustpan's floor, less than dirt."""
_BEHIND_M = 0.10
"""Where a stroke begins, from the middle of the dirt."""
_INSIDE_M = 0.035
"""How far the brush has come through the mouth when a stroke ends."""

_PAN: Rgb = (0.20, 0.50, 0.62)
_PAN_FLOOR: Rgb = (0.80, 0.84, 0.86)
_BRISTLES: Rgb = (0.93, 0.86, 0.45)
_HANDLE: Rgb = (0.75, 0.10, 0.12)
_DIRT_RGB: Rgb = (0.20, 0.12, 0.07)


def piece_name(index: int) -> str:
    """Name of a piece's body and geom."""
    return f"dirt/{index}"


@dataclass(frozen=True)
class Sweeping:
    """Where the dirt, the broom and the dustpans are, and which size is asked for."""

    place: Place
    pieces: tuple[Place, ...]
    broom: Place
    left: int
    """Index of the size of the dustpan on the left (y > 0) of the layout's frame."""
    size: int


class SweepToDustpanOfSize(Task[Sweeping]):
    """Two variations: into the tall and into the short dustpan."""

    name = "sweep_to_dustpan_of_size"
    variation_count = len(SIZES)
    region = Region(x_m=(0.18, 0.32), y_m=(-0.10, 0.10), max_yaw_deg=180.0)
    resizable = tuple(piece_name(index) for index in range(PIECES))
    recolorable = (BROOM,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        size = SIZES[variation]
        return (
            f"sweep the dirt into the {size} dustpan",
            f"use the broom to brush all the dirt into the {size} dustpan",
            f"clean the table: the {size} dustpan is where the dirt goes",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Sweeping:
        place = sample_place(self.region, rng)
        dirt = sample_places_apart(_DIRT, PIECES, _DIRT_APART_M, rng)
        broom = sample_place(_BROOM, rng)
        return Sweeping(
            place=place,
            pieces=tuple(place_within(place, piece) for piece in dirt),
            broom=place_within(place, Place(broom.x_m, broom.y_m, math.pi / 2 + broom.yaw)),
            left=int(rng.integers(len(SIZES))),
            size=variation,
        )

    def build(self, layout: Sweeping, spec: mujoco.MjSpec) -> None:
        for size in range(len(SIZES)):
            _add_dustpan(stand(spec, f"dustpan/{SIZES[size]}", pan_place(layout, size)), WALL_HEIGHTS_M[SIZES[size]])
        _add_broom(stand(spec, BROOM, layout.broom))
        make_graspable(spec, BROOM)
        for index, place in enumerate(layout.pieces):
            piece = stand(spec, piece_name(index), place)
            piece.add_freejoint()
            add_box(piece, (0.0, 0.0, PIECE_M / 2), (PIECE_M, PIECE_M, PIECE_M), _DIRT_RGB, name=piece_name(index))

    def goal(self, layout: Sweeping, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        pan_from_world = np.linalg.inv(world_from_place(pan_place(layout, layout.size)))
        pieces = [int(model.geom(piece_name(index)).id) for index in range(PIECES)]

        def all_dirt_lies_in_the_dustpan() -> bool:
            middles = np.column_stack((data.geom_xpos[pieces], np.ones(PIECES)))
            x, y, above_m, _ = pan_from_world @ middles.T
            inside = (x > 0) & (x < PAN_DEPTH_M) & (abs(y) < PAN_WIDTH_M / 2) & (above_m < LYING_M)
            return bool(inside.all())

        return Momentary(all_dirt_lies_in_the_dustpan)

    def waypoints(self, layout: Sweeping, data: mujoco.MjData) -> Iterator[Waypoint]:
        rotation = data.body(BROOM).xmat.reshape(3, 3)
        x, y, _ = data.body(BROOM).xpos
        broom = Place(float(x), float(y), math.atan2(rotation[1, 0], rotation[0, 0]))
        mouth = pan_place(layout, layout.size)
        start, end = (place_within(mouth, Place(way, 0.0, 0.0)) for way in (-_MOUTH_M - _BEHIND_M, _INSIDE_M))
        # A broom turned round sweeps as well, and its handle can be taken by any two faces: turn as little as need be.
        turn = (mouth.yaw - broom.yaw + math.pi / 2) % math.pi - math.pi / 2
        taking = quarter_turn_yaw(broom.yaw + turn / 2) - turn / 2
        yield go("above the broom", _gripper(broom, taking, _ABOVE_M), gripper_open=True)
        yield touch("grasp", _gripper(broom, taking, 0.0), gripper_open=False)
        yield go("above the dirt's far side", _gripper(start, taking + turn, _ABOVE_M), gripper_open=False)
        yield touch("set down", _gripper(start, taking + turn, _CLEARANCE_M), gripper_open=False)
        yield touch("sweep", _gripper(end, taking + turn, _CLEARANCE_M), gripper_open=False)


def pan_place(layout: Sweeping, size: int) -> Place:
    """The middle of a dustpan's mouth; x points into the dustpan."""
    side = 1 if size == layout.left else -1
    return place_within(layout.place, Place(0.0, side * _MOUTH_M, side * math.pi / 2))


def _gripper(broom: Place, yaw: float, height_m: float) -> Pose:
    """The gripper, headed `yaw`, around the handle of a broom that is `height_m` above the table at a place."""
    return gripper_down(np.array((broom.x_m, broom.y_m, TABLE_HEIGHT_M + height_m + _GRIP_M)), yaw)


def _add_dustpan(pan: mujoco.MjsBody, height_m: float) -> None:
    """A floor between three walls, with a ramp that leads onto it."""
    depth, width = PAN_DEPTH_M, PAN_WIDTH_M
    add_box(pan, (depth / 2, 0.0, _FLOOR_M / 2), (depth, width, _FLOOR_M), _PAN_FLOOR)
    slope = math.atan2(_FLOOR_M, _RAMP_M)
    ramp = add_box(pan, (-_RAMP_M / 2, 0.0, 0.0), (math.hypot(_RAMP_M, _FLOOR_M), width, _FLOOR_M), _PAN_FLOOR)
    ramp.quat = (math.cos(slope / 2), 0, -math.sin(slope / 2), 0)
    for beside in (-(width + _WALL_M) / 2, (width + _WALL_M) / 2):
        add_box(pan, (depth / 2, beside, height_m / 2), (depth, _WALL_M, height_m), _PAN)
    add_box(pan, (depth + _WALL_M / 2, 0.0, height_m / 2), (_WALL_M, width + 2 * _WALL_M, height_m), _PAN)


def _add_broom(broom: mujoco.MjsBody) -> None:
    """A brush with wings that stands by itself, and an upright handle."""
    broom.add_freejoint()
    add_box(broom, (0.0, 0.0, _BRUSH_HEIGHT_M / 2), (_BRUSH_M, _BRUSH_WIDTH_M, _BRUSH_HEIGHT_M), _BRISTLES)
    aside = (_BRUSH_WIDTH_M - _WING_M) / 2
    for beside in (-aside, aside):
        add_box(broom, (0.0, beside, _WING_HEIGHT_M / 2), (_WING_LENGTH_M, _WING_M, _WING_HEIGHT_M), _BRISTLES)
    middle, length = (_HANDLE_TOP_M + _BRUSH_HEIGHT_M) / 2, _HANDLE_TOP_M - _BRUSH_HEIGHT_M
    add_box(broom, (0.0, 0.0, middle), (_HANDLE_M, _HANDLE_M, length), _HANDLE)
