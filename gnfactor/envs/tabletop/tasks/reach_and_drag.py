"""reach_and_drag: take a stick and pull a cube with it onto the square of the named colour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import COLORS, Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_down,
    sample_place,
    sample_places_apart,
)
from gnfactor.envs.tabletop.scene import make_graspable
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, go, lies_on_square, touch
from gnfactor.scene import TABLE_HEIGHT_M

STICK, CUBE = "stick", "cube"
TARGET_M = 0.10
"""Edge of a square; the cube's centre has to come to lie on the named one."""
DISTRACTOR_STEPS = (5, 6, 7)
"""The other squares' colours, counted on from the named one's in the palette (as published)."""

# From the robot outwards: four squares, then the cube; the stick lies at their right, its handle towards the robot.
_SQUARES = Region(x_m=(0.02, 0.24), y_m=(-0.16, 0.32), max_yaw_deg=45.0)
_SQUARES_APART_M = 0.142  # their diagonal: they never overlap
_STICKS = Region(x_m=(0.14, 0.34), y_m=(-0.35, -0.29), max_yaw_deg=15.0)

_CUBE_M = 0.06
_STICK_SIZE_M = (0.28, 0.02, 0.022)
_HANDLE_LENGTH_M = 0.08
_GRIP_M, _WORKING_POINT_M = -0.10, 0.085
"""Along the stick from its middle: where it is held, and where it meets the middle of the cube."""
_GRASP_HEIGHT_M = 0.008
"""Of the finger tips above the table when they close on the stick."""
_CLEAR_M = 0.004
"""Of the stick above the table while it drags."""
_LIFT_M = 0.12
_BEHIND_M = 0.08
"""From the middle of the cube to the middle of the stick that is set down behind it."""
_PULLING_M = _CUBE_M / 2 + _STICK_SIZE_M[1] / 2
"""The same while the stick pulls the cube."""

_CUBE_RGB: Rgb = (0.45, 0.30, 0.22)
_STICK_RGB: Rgb = (0.95, 0.88, 0.70)
_HANDLE_RGB: Rgb = (0.12, 0.12, 0.14)


@dataclass(frozen=True)
class Layout:
    """Where everything lies; of the squares, the first is the one that is named."""

    stick: Place
    cube: Place
    squares: tuple[Place, ...]
    colors: tuple[str, ...]


class ReachAndDrag(Task[Layout]):
    """Twenty variations, one for each colour of the palette."""

    name = "reach_and_drag"
    variation_count = len(COLORS)
    # Of the cube.
    region = Region(x_m=(0.34, 0.42), y_m=(-0.10, 0.24), max_yaw_deg=45.0)
    resizable = (CUBE,)
    recolorable = (CUBE,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        color = list(COLORS)[variation]
        return (
            f"drag the cube onto the {color} square with the stick",
            f"take the stick and pull the cube to the {color} target",
            f"reach behind the cube with the stick and move it onto the {color} square",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Layout:
        names = list(COLORS)
        return Layout(
            stick=sample_place(_STICKS, rng),
            cube=sample_place(self.region, rng),
            squares=sample_places_apart(_SQUARES, 1 + len(DISTRACTOR_STEPS), _SQUARES_APART_M, rng),
            colors=tuple(names[(variation + step) % len(names)] for step in (0, *DISTRACTOR_STEPS)),
        )

    def build(self, layout: Layout, spec: mujoco.MjSpec) -> None:
        for index, (place, color) in enumerate(zip(layout.squares, layout.colors, strict=True)):
            square = stand(spec, f"square/{index}", place)
            add_box(square, (0.0, 0.0, 0.0), (TARGET_M, TARGET_M, 0.002), COLORS[color], solid=False)
        cube = stand(spec, CUBE, layout.cube)
        cube.add_freejoint()
        box = add_box(cube, (0.0, 0.0, _CUBE_M / 2), (_CUBE_M, _CUBE_M, _CUBE_M), _CUBE_RGB, name=CUBE)
        box.mass = 0.15
        box.friction = (0.25, 0.005, 0.0001)
        box.priority = 1  # or the rougher of two surfaces would count, and the cube would catch on stick and fingers
        _add_stick(spec, layout.stick)

    def goal(self, layout: Layout, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        # As published, it does not matter whether the stick is still held, nor what moved the cube.
        return Momentary(lambda: lies_on_square(model, data, CUBE, layout.squares[0], TARGET_M))

    def waypoints(self, layout: Layout, data: mujoco.MjData) -> Iterator[Waypoint]:
        stick = data.body(STICK)
        middle, along = stick.xpos.copy(), stick.xmat.reshape(3, 3)[:, 0]
        yaw = math.atan2(along[1], along[0])
        yield go("above the stick", _holding(middle, yaw, _LIFT_M), gripper_open=True)
        yield touch("grasp", _holding(middle, yaw), gripper_open=False)
        yield touch("lift", _holding(middle, yaw, _LIFT_M), gripper_open=False)
        cube = data.geom(CUBE).xpos.copy()
        target = np.array((layout.squares[0].x_m, layout.squares[0].y_m))
        way = math.atan2(target[1] - cube[1], target[0] - cube[0])
        yield go("above, behind the cube", _across(cube[:2], way, _BEHIND_M, _LIFT_M), gripper_open=False)
        yield touch("set down behind the cube", _across(cube[:2], way, _BEHIND_M, _CLEAR_M), gripper_open=False)
        yield touch("drag", _across(target, way, _PULLING_M, _CLEAR_M), gripper_open=False)


def _holding(stick_m: np.ndarray, yaw: float, lifted_m: float = 0.0) -> Pose:
    """Gripper that holds, by its handle, the stick of this middle and heading, `lifted_m` above the table."""
    x, y = stick_m[:2] + _GRIP_M * np.array((math.cos(yaw), math.sin(yaw)))
    return gripper_down(np.array((x, y, TABLE_HEIGHT_M + _GRASP_HEIGHT_M + lifted_m)), yaw)


def _across(cube_m: np.ndarray, way: float, behind_m: float, lifted_m: float) -> Pose:
    """Gripper whose stick lies square to the heading `way`, `behind_m` behind a cube that is to go there.

    The hand stays at the right of the cube, seen from the robot.
    """
    yaw = way - math.pi / 2
    along, ahead = np.array((math.cos(yaw), math.sin(yaw))), np.array((math.cos(way), math.sin(way)))
    return _holding(cube_m - behind_m * ahead - _WORKING_POINT_M * along, yaw, lifted_m)


def _add_stick(spec: mujoco.MjSpec, place: Place) -> None:
    """A square rod along x whose near end is a dark handle."""
    stick = stand(spec, STICK, place)
    stick.add_freejoint()
    length, width, height = _STICK_SIZE_M
    bare = length - _HANDLE_LENGTH_M
    rod = add_box(stick, (_HANDLE_LENGTH_M / 2, 0.0, height / 2), (bare, width, height), _STICK_RGB)
    handle = add_box(stick, (-bare / 2, 0.0, height / 2), (_HANDLE_LENGTH_M, width, height), _HANDLE_RGB)
    rod.mass, handle.mass = 0.04, 0.02
    make_graspable(spec, STICK)
