"""close_jar: take the lid from the table, put it on the jar of the named colour and turn it.

The jars are fixed to the table: one hand cannot hold a jar as well as turn its lid. There is no thread; a plug below
the lid goes into the jar's neck, so that the lid sits by contact alone. A lid that was dropped there would look closed,
hence turning is part of the task: clockwise, as lids close, by 60 degrees net while the lid sits on that jar. The
expert turns by 90, so that a policy may be some steps of its rotation off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import mjtGeom

from gnfactor.envs.tabletop.bodies import add_box, add_cylinder, stand
from gnfactor.envs.tabletop.colors import COLORS, Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_down,
    sample_places_apart,
    yaw_quaternion_wxyz,
)
from gnfactor.envs.tabletop.scene import make_graspable
from gnfactor.envs.tabletop.tasks.base import Goal, Task, Waypoint, go, holding, touch
from gnfactor.scene import TABLE_HEIGHT_M

JAR_COLORS = tuple(COLORS)
LID = "lid"
TURNED = math.radians(60)
"""A lid that was turned clockwise by this much (rad), seen from above, is screwed on."""
MOUTH_M = 0.09
"""Height of a jar's rim above the table, on which the lid comes to sit."""

_APART_M = 0.18
"""Between any two of jars and lid: the open hand goes down to the lid beside a jar."""
_BODY_RADIUS_M, _NECK_M = 0.05, 0.024
_NECK_INNER_M, _NECK_OUTER_M, _NECK_SIDES = 0.034, 0.040, 12
_BRIM_RADIUS_M, _BRIM_M = 0.042, 0.008
_CAP_RADIUS_M, _CAP_M = 0.028, 0.022
"""The part of the lid that is gripped, on its brim."""
_PLUG_RADIUS_M, _FOOT_RADIUS_M, _PLUG_M = 0.030, 0.016, 0.019
"""The plug is round, which leads it into the neck, and has a flat foot, on which the lid stands on the table."""
_ASIDE_M, _OFF_RIM_M, _MAX_TILT_DEG = 0.005, 0.003, 5.0
"""A lid sits on a jar that is off the jar's axis, off its rim and off the upright by less than this."""

_TURN = math.radians(90)
_ABOVE_M = 0.10
_PRESS_M = 0.005
"""How far below its seat the expert sends the lid, so that a policy may be some millimetres too high."""
_LID_RGB: Rgb = (0.62, 0.63, 0.66)
_MARK_RGB: Rgb = (0.15, 0.15, 0.17)


@dataclass(frozen=True)
class Jars:
    """Two jars with their colours, the first to be closed, and the lid."""

    jars: tuple[Place, Place]
    colors: tuple[str, str]
    lid: Place


class CloseJar(Task[Jars]):
    """Twenty variations, one for each colour; the other jar has any other."""

    name = "close_jar"
    variation_count = len(JAR_COLORS)
    region = Region(x_m=(0.08, 0.42), y_m=(-0.24, 0.24), max_yaw_deg=180.0)
    recolorable = (LID,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        color = JAR_COLORS[variation]
        return (
            f"close the {color} jar",
            f"put the lid on the {color} jar and screw it tight",
            f"take the lid and twist it onto the jar that is {color}",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Jars:
        first, second, lid = sample_places_apart(self.region, 3, _APART_M, rng)
        others = [color for color in JAR_COLORS if color != JAR_COLORS[variation]]
        return Jars((first, second), (JAR_COLORS[variation], others[rng.integers(len(others))]), lid)

    def build(self, layout: Jars, spec: mujoco.MjSpec) -> None:
        for index, (place, color) in enumerate(zip(layout.jars, layout.colors, strict=True)):
            _add_jar(stand(spec, jar_name(index), place), COLORS[color])
        _add_lid(stand(spec, LID, layout.lid, _PLUG_M))
        make_graspable(spec, LID)

    def goal(self, layout: Jars, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        return ScrewedOn(layout.jars[0], model, data)

    def waypoints(self, layout: Jars, data: mujoco.MjData) -> Iterator[Waypoint]:
        lid_m, jar = data.body(LID).xpos.copy(), layout.jars[0]
        mouth_m = np.array((jar.x_m, jar.y_m, TABLE_HEIGHT_M + MOUTH_M))
        yield go("above the lid", _gripping(lid_m, _ABOVE_M), gripper_open=True)
        yield touch("grasp", _gripping(lid_m), gripper_open=False)
        yield touch("lift", _gripping(lid_m, _ABOVE_M + MOUTH_M), gripper_open=False)
        yield go("above the jar", _gripping(mouth_m, _ABOVE_M), gripper_open=False)
        yield touch("put on", _gripping(mouth_m, -_PRESS_M), gripper_open=False)
        yield touch("turn", _gripping(mouth_m, -_PRESS_M, _TURN), gripper_open=True)


class ScrewedOn:
    """Reached while the lid sits on the jar, having been turned there, and nothing is held.

    Turns count from when the lid came to sit, clockwise ones for it and others against it; a lid that is lifted off has
    to be turned anew.
    """

    def __init__(self, jar: Place, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data, self._jar = model, data, jar
        self._lid = int(model.body(LID).id)
        self._yaw: float | None = None
        self.turned = 0.0
        """Clockwise while sitting on the jar (rad)."""

    def observe(self) -> None:
        if not self._sits():
            self._yaw, self.turned = None, 0.0
            return
        rotation = self._data.xmat[self._lid]
        yaw = math.atan2(rotation[3], rotation[0])
        if self._yaw is not None:
            self.turned -= math.remainder(yaw - self._yaw, math.tau)
        self._yaw = yaw

    def reached(self) -> bool:
        return self._sits() and self.turned >= TURNED and not holding(self._model, self._data)

    def _sits(self) -> bool:
        x, y, z = self._data.xpos[self._lid].tolist()
        aside_m = math.hypot(x - self._jar.x_m, y - self._jar.y_m)
        off_rim_m = abs(z - TABLE_HEIGHT_M - MOUTH_M)
        upright = self._data.xmat[self._lid, 8] > math.cos(math.radians(_MAX_TILT_DEG))
        return aside_m < _ASIDE_M and off_rim_m < _OFF_RIM_M and bool(upright)


def jar_name(index: int) -> str:
    """Name of a jar's body; 0 is the one to be closed."""
    return f"jar/{index}"


def _gripping(lid_m: np.ndarray, lifted_m: float = 0.0, turned: float = 0.0) -> Pose:
    """Gripper around the lid at `lid_m`, or above it; it begins as far to the left as a half turn ends to the right."""
    return gripper_down(np.add(lid_m, (0, 0, _BRIM_M + _CAP_M / 2 + lifted_m)), _TURN / 2 - turned)


def _add_jar(jar: mujoco.MjsBody, color: Rgb) -> None:
    """A closed body with a neck around its mouth, a ring of boxes."""
    body_m, thickness = MOUTH_M - _NECK_M, _NECK_OUTER_M - _NECK_INNER_M
    red, green, blue = color
    add_cylinder(jar, (0.0, 0.0, body_m / 2), _BODY_RADIUS_M, body_m, color)
    dark = (0.35 * red, 0.35 * green, 0.35 * blue)
    add_cylinder(jar, (0.0, 0.0, body_m), _NECK_INNER_M, 0.002, dark, solid=False)
    size = (thickness, 2 * _NECK_OUTER_M * math.tan(math.pi / _NECK_SIDES), _NECK_M)
    radius = _NECK_INNER_M + thickness / 2
    for index in range(_NECK_SIDES):
        angle = index * math.tau / _NECK_SIDES
        center = (radius * math.cos(angle), radius * math.sin(angle), body_m + _NECK_M / 2)
        add_box(jar, center, size, color).quat = yaw_quaternion_wxyz(angle)


def _add_lid(lid: mujoco.MjsBody) -> None:
    """A cap on a brim with a plug below, its frame at the brim's lower face; a pointer on top shows that it turns."""
    lid.add_freejoint()
    brim = add_cylinder(lid, (0.0, 0.0, _BRIM_M / 2), _BRIM_RADIUS_M, _BRIM_M, _LID_RGB)
    cap = add_cylinder(lid, (0.0, 0.0, _BRIM_M + _CAP_M / 2), _CAP_RADIUS_M, _CAP_M, _LID_RGB)
    foot = add_cylinder(lid, (0.0, 0.0, -_PLUG_M / 2), _FOOT_RADIUS_M, _PLUG_M, _LID_RGB)
    plug = lid.add_geom(
        type=mjtGeom.mjGEOM_ELLIPSOID, size=(_PLUG_RADIUS_M, _PLUG_RADIUS_M, _PLUG_M), rgba=(*_LID_RGB, 1.0)
    )
    for part in (brim, cap, foot, plug):
        part.friction = (0.2, 0.005, 0.0001)
        part.priority = 1  # or the rougher of two surfaces would count
    add_box(lid, (_CAP_RADIUS_M / 2, 0.0, _BRIM_M + _CAP_M), (_CAP_RADIUS_M, 0.012, 0.002), _MARK_RGB, solid=False)
