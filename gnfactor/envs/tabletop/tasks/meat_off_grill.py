"""meat_off_grill: take the chicken or the steak off an open grill and lay it on the plate beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import mjtGeom

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Region,
    gripper_down,
    half_turn_yaw,
    place_within,
    raised,
    sample_place,
    world_from_place,
)
from gnfactor.envs.tabletop.scene import make_graspable
from gnfactor.envs.tabletop.tasks.base import (
    Goal,
    Momentary,
    Task,
    Waypoint,
    go,
    heading,
    holding,
    is_still,
    touch,
    touching,
)
from gnfactor.scene import TABLE_HEIGHT_M

MEATS = ("chicken", "steak")
PLATE, PLATE_RADIUS_M, PLATE_HEIGHT_M = "plate", 0.08, 0.010
GRATE, GRATE_M = "grate", 0.10
"""Height of the grate, on which the meat lies."""

# The grill and the plate stand about a middle; in its frame the grill's lid is at +y and the plate at -y.
_GRILL = Place(0.0, 0.085, 0.0)
_PLATE = Region(x_m=(-0.05, 0.05), y_m=(-0.14, -0.14), max_yaw_deg=0.0)
_SPOTS = (
    Region(x_m=(-0.084, -0.060), y_m=(-0.012, 0.012), max_yaw_deg=20.0),
    Region(x_m=(0.060, 0.084), y_m=(-0.012, 0.012), max_yaw_deg=20.0),
)
"""In the grill's frame: where the pieces may lie, one in each."""
_LENGTH_M, _WIDTH_M, _BOX_M = 0.28, 0.20, 0.05
_LID_M, _LID_LEAN = 0.16, math.radians(20)
_CHICKEN_M, _BONE_M = (0.078, 0.054, 0.036), 0.026
_STEAK_M, _FAT_M = (0.095, 0.056, 0.024), 0.011
_ABOVE_M = 0.09
_GAP_M = 0.002
"""Between the meat and the plate when it is let go."""

_ENAMEL: Rgb = (0.25, 0.27, 0.31)
_IRON: Rgb = (0.10, 0.10, 0.11)
_STEEL: Rgb = (0.52, 0.53, 0.55)
_GOLDEN: Rgb = (0.95, 0.66, 0.24)
_BONE: Rgb = (0.97, 0.95, 0.88)
_BEEF: Rgb = (0.62, 0.13, 0.11)
_FAT: Rgb = (0.96, 0.86, 0.76)
_CHINA: Rgb = (0.95, 0.96, 0.98)
_RIM: Rgb = (0.15, 0.35, 0.75)


@dataclass(frozen=True)
class Layout:
    """Where everything is: the pieces, on the grill, in the order of `MEATS`; one of them is meant."""

    grill: Place
    plate: Place
    pieces: tuple[Place, ...]
    meat: int


class MeatOffGrill(Task[Layout]):
    """Two variations: the chicken and the steak. Both lie on the grill, on either side."""

    name = "meat_off_grill"
    variation_count = len(MEATS)
    # Of the middle. Turned halfway round, the plate is on the other side; turned by more than this, the lid would hide
    # the meat from the front.
    region = Region(x_m=(0.16, 0.38), y_m=(-0.15, 0.15), max_yaw_deg=30.0)
    resizable = MEATS
    recolorable = (PLATE,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        meat = MEATS[variation]
        return (
            f"take the {meat} off the grill",
            f"lift the {meat} from the grill and lay it on the plate",
            f"the {meat} is done, put it on the plate beside the grill",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Layout:
        drawn = sample_place(self.region, rng)
        middle = Place(drawn.x_m, drawn.y_m, drawn.yaw + math.pi * int(rng.integers(2)))
        grill = place_within(middle, _GRILL)
        plate = place_within(middle, sample_place(_PLATE, rng))
        spots = [sample_place(_SPOTS[index], rng) for index in rng.permutation(len(_SPOTS))]
        return Layout(grill, plate, tuple(place_within(grill, spot) for spot in spots), variation)

    def build(self, layout: Layout, spec: mujoco.MjSpec) -> None:
        _add_grill(stand(spec, "grill", layout.grill))
        _add_plate(stand(spec, PLATE, layout.plate))
        for name, place in zip(MEATS, layout.pieces, strict=True):
            piece = stand(spec, name, place)
            piece.pos = (place.x_m, place.y_m, TABLE_HEIGHT_M + GRATE_M)
            piece.add_freejoint()
            _ADD_MEAT[name](piece)
            make_graspable(spec, name)

    def goal(self, layout: Layout, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        plate, meat = int(model.geom(PLATE).id), int(model.geom(MEATS[layout.meat]).id)

        def lies_on_plate() -> bool:
            x, y, _ = data.geom_xpos[meat] - data.geom_xpos[plate]
            return bool(
                math.hypot(x, y) < PLATE_RADIUS_M
                and touching(model, data, plate, meat)
                and is_still(model, data, meat)
                and not holding(model, data)
            )

        return Momentary(lies_on_plate)

    def waypoints(self, layout: Layout, data: mujoco.MjData) -> Iterator[Waypoint]:
        meat = data.geom(MEATS[layout.meat])
        around = gripper_down(meat.xpos, half_turn_yaw(heading(meat.xmat)))
        yield go("above the meat", raised(around, _ABOVE_M), gripper_open=True)
        yield touch("grasp", around, gripper_open=False)
        yield touch("lift", raised(around, _ABOVE_M), gripper_open=False)
        middle = world_from_place(layout.plate)[:3, 3]
        middle[2] = around[2, 3] - GRATE_M + PLATE_HEIGHT_M + _GAP_M
        there = gripper_down(middle, half_turn_yaw(layout.grill.yaw))
        yield go("above the plate", raised(there, _ABOVE_M), gripper_open=False)
        yield touch("lay down", there, gripper_open=True)


def _add_grill(grill: mujoco.MjsBody) -> None:
    """A fire box on legs under a grate, its lid standing open behind it."""
    legs_m = GRATE_M - _BOX_M
    for x in (-_LENGTH_M / 2 + 0.02, _LENGTH_M / 2 - 0.02):
        for y in (-_WIDTH_M / 2 + 0.02, _WIDTH_M / 2 - 0.02):
            add_box(grill, (x, y, legs_m / 2), (0.02, 0.02, legs_m), _STEEL)
    add_box(grill, (0.0, 0.0, GRATE_M - 0.005 - _BOX_M / 2), (_LENGTH_M, _WIDTH_M, _BOX_M - 0.01), _ENAMEL)
    add_box(grill, (0.0, 0.0, GRATE_M - 0.005), (_LENGTH_M - 0.016, _WIDTH_M - 0.016, 0.01), _IRON, name=GRATE)
    for x in np.linspace(-_LENGTH_M / 2 + 0.02, _LENGTH_M / 2 - 0.02, 9):
        add_box(grill, (float(x), 0.0, GRATE_M), (0.006, _WIDTH_M - 0.02, 0.001), _STEEL, solid=False)
    out, up = _LID_M / 2 * math.sin(_LID_LEAN), _LID_M / 2 * math.cos(_LID_LEAN)
    hinge_m = GRATE_M - 0.012
    lid = add_box(grill, (0.0, _WIDTH_M / 2 + out, hinge_m + up), (_LENGTH_M, 0.014, _LID_M), _ENAMEL)
    lid.quat = (math.cos(_LID_LEAN / 2), -math.sin(_LID_LEAN / 2), 0, 0)


def _add_plate(plate: mujoco.MjsBody) -> None:
    """A flat plate with a coloured rim."""
    rim, inside = (plate.add_geom(type=mjtGeom.mjGEOM_CYLINDER, pos=(0, 0, PLATE_HEIGHT_M / 2)) for _ in range(2))
    rim.name, rim.size, rim.rgba = PLATE, (PLATE_RADIUS_M, PLATE_HEIGHT_M / 2, 0), (*_RIM, 1)
    inside.size, inside.rgba = (PLATE_RADIUS_M - 0.016, PLATE_HEIGHT_M / 2 + 0.0005, 0), (*_CHINA, 1)
    inside.contype = inside.conaffinity = 0


def _add_chicken(body: mujoco.MjsBody) -> None:
    """A leg: golden meat with a bone sticking out."""
    half = np.divide(_CHICKEN_M, 2)
    leg = body.add_geom(name="chicken", type=mjtGeom.mjGEOM_ELLIPSOID, pos=(0, 0, half[2]), size=half, mass=0.1)
    leg.rgba = (*_GOLDEN, 1)
    leg.condim, leg.friction = 6, (0.5, 0.01, 0.005)  # or it would rock for long
    end = half[0] + _BONE_M
    bone = body.add_geom(type=mjtGeom.mjGEOM_CAPSULE, fromto=(half[0] - 0.01, 0, half[2], end, 0, half[2]), mass=0.002)
    knob = body.add_geom(type=mjtGeom.mjGEOM_SPHERE, pos=(end, 0, half[2]), mass=0.002)
    bone.size, knob.size = (0.007, 0, 0), (0.011, 0, 0)
    bone.rgba = knob.rgba = (*_BONE, 1)


def _add_steak(body: mujoco.MjsBody) -> None:
    """A dark slab with a rim of fat along one side."""
    length, width, height = _STEAK_M
    slab = add_box(body, (0.0, 0.0, height / 2), _STEAK_M, _BEEF, name="steak")
    slab.mass = 0.1
    fat = (length + 0.001, _FAT_M, height + 0.001)
    add_box(body, (0.0, (width - _FAT_M) / 2 + 0.0005, height / 2), fat, _FAT, solid=False).mass = 0.0


_ADD_MEAT = {"chicken": _add_chicken, "steak": _add_steak}
