"""slide_block_to_color_target: push a block over the table onto the named one of four coloured squares around it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.colors import COLORS, PINK, Rgb
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_down,
    quarter_turn_yaw,
    sample_place,
    world_from_place,
)
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, go, lies_on_square, touch
from gnfactor.scene import TABLE_HEIGHT_M

TARGETS: dict[str, Rgb] = {
    "green": COLORS["green"],
    "blue": COLORS["blue"],
    "pink": PINK,
    "yellow": COLORS["yellow"],
}
"""By name, counter-clockwise around the block; the first lies along the layout's x axis."""
BLOCK = "block"
TARGET_M = 0.12
"""Edge of a target; the block's centre has to come to lie on it."""

_DISTANCE_M = 0.16
"""From the middle of the layout to the middle of a target."""
_BLOCK_M, _BLOCK_HEIGHT_M = 0.07, 0.05
_SHIFT_M = 0.015
"""The block stands up to this far off the middle, along both axes of the layout."""
_BEHIND_M = 0.08
"""Clear distance of the gripper from the block's face before it pushes; its fingers are still open then."""
_PUSHER_M = {"along fingers": 0.015, "across fingers": 0.0105}
"""From the middle of the closed fingers to their pushing face."""
_HEIGHT_M = 0.025
"""Of the finger tips above the table while pushing."""
_BLOCK_RGB: Rgb = (0.93, 0.93, 0.90)


@dataclass(frozen=True)
class Layout:
    """The four targets turn and move together; the block stands near their middle."""

    place: Place
    block: Place
    target: int


class SlideBlockToColorTarget(Task[Layout]):
    """Four variations, one for each colour."""

    name = "slide_block_to_color_target"
    variation_count = len(TARGETS)
    region = Region(x_m=(0.20, 0.40), y_m=(-0.15, 0.15), max_yaw_deg=45.0)
    resizable = (BLOCK,)
    recolorable = (BLOCK,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        color = list(TARGETS)[variation]
        return (
            f"slide the block onto the {color} target",
            f"push the block until it lies on the {color} square",
            f"move the block to the {color} target without lifting it",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Layout:
        place = sample_place(self.region, rng)
        shift = (*rng.uniform(-_SHIFT_M, _SHIFT_M, 2), 0.0, 1.0)
        x, y = (world_from_place(place) @ shift)[:2]
        return Layout(place, Place(float(x), float(y), place.yaw), variation)

    def build(self, layout: Layout, spec: mujoco.MjSpec) -> None:
        mat = stand(spec, "targets", layout.place)
        for index, color in enumerate(TARGETS.values()):
            x, y = _DISTANCE_M * _direction(index)
            add_box(mat, (x, y, 0.0), (TARGET_M, TARGET_M, 0.002), color, solid=False)
        block = stand(spec, BLOCK, layout.block)
        block.add_freejoint()
        box = add_box(
            block,
            (0.0, 0.0, _BLOCK_HEIGHT_M / 2),
            (_BLOCK_M, _BLOCK_M, _BLOCK_HEIGHT_M),
            _BLOCK_RGB,
            name=BLOCK,
        )
        box.mass = 0.15
        box.friction = (0.25, 0.005, 0.0001)
        box.priority = 1  # or the rougher of two surfaces would count, and rubber fingers would pin the block down

    def goal(self, layout: Layout, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        target = target_place(layout, layout.target)
        return Momentary(lambda: lies_on_square(model, data, BLOCK, target, TARGET_M))

    def waypoints(self, layout: Layout, data: mujoco.MjData) -> Iterator[Waypoint]:
        behind, there = _behind_and_there(layout, data.geom(BLOCK).xpos[:2].copy())
        yield go("behind the block", behind, gripper_open=False)
        yield touch("push onto the target", there, gripper_open=False)


def target_place(layout: Layout, index: int) -> Place:
    """Where a target lies."""
    x, y = (world_from_place(layout.place) @ (*(_DISTANCE_M * _direction(index)), 0.0, 1.0))[:2]
    return Place(float(x), float(y), layout.place.yaw)


def _direction(index: int) -> np.ndarray:
    """Unit vector from the layout's middle to a target, in the layout's frame."""
    angle = index * math.pi / 2
    return np.array((round(math.cos(angle)), round(math.sin(angle))), dtype=float)


def _behind_and_there(layout: Layout, block_m: np.ndarray) -> tuple[Pose, Pose]:
    """Gripper poses before and after the push.

    The gripper is turned with the block, by the smaller of the turns that set it square to the face it pushes, and
    moves straight towards the target's middle.
    """
    target = target_place(layout, layout.target)
    way = np.array((target.x_m, target.y_m)) - block_m
    ahead = way / np.linalg.norm(way)
    yaw = quarter_turn_yaw(layout.place.yaw)
    along_fingers = abs(math.sin(math.atan2(ahead[1], ahead[0]) - yaw)) > math.sqrt(0.5)
    face = _BLOCK_M / 2 + _PUSHER_M["along fingers" if along_fingers else "across fingers"]
    height = TABLE_HEIGHT_M + _HEIGHT_M
    behind = block_m - ahead * (_BLOCK_M / 2 + _BEHIND_M)
    there = block_m + way - ahead * face
    return gripper_down(np.array((*behind, height)), yaw), gripper_down(np.array((*there, height)), yaw)
