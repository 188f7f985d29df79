"""stack_blocks: build a tower of two to four blocks of the named colour on a plate; blocks of another lie about."""

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
    Region,
    gripper_down,
    quarter_turn_yaw,
    raised,
    sample_place,
    scatter_places,
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

HEIGHTS = (2, 3, 4)
"""How many blocks are asked for; the variations run through these for one colour after the other."""
BLOCKS_PER_COLOR = 4
BLOCK_M = 0.05
PLATE, PLATE_M, PLATE_HEIGHT_M = "plate", 0.10, 0.006

_BLOCKS = Region(x_m=(0.05, 0.45), y_m=(-0.28, 0.28), max_yaw_deg=45.0)
_APART_M = 0.11
"""Between middles; a gripper with open fingers finds room between two neighbours, however these are turned."""
_LEVEL_M = 0.003
"""A block whose middle is this much higher or lower than it should be stands askew."""
_ABOVE_M = 0.06
"""Of the gripper before it reaches down for a block, and of the block carried, above where they go."""
_LEAVE_M = 0.10
"""Of the gripper above a block that it has set down: from there it goes aside and down without grazing the tower."""
_GAP_M = 0.001
"""Between a block and what it is set down on, when it is let go."""
_RIM_RGB: Rgb = (0.33, 0.20, 0.12)
_INLAY_RGB: Rgb = (0.95, 0.88, 0.72)


def block_name(index: int) -> str:
    """Name of a block's body and geom."""
    return f"block/{index}"


@dataclass(frozen=True)
class Layout:
    """Where plate and blocks lie; the first four blocks have the first colour, the rest the second."""

    plate: Place
    blocks: tuple[Place, ...]
    colors: tuple[str, str]
    to_stack: int


class StackBlocks(Task[Layout]):
    """Sixty variations: twenty colours, each with towers of two, three and four."""

    name = "stack_blocks"
    variation_count = len(COLORS) * len(HEIGHTS)
    # Of the plate.
    region = _BLOCKS
    resizable = tuple(block_name(index) for index in range(2 * BLOCKS_PER_COLOR))
    recolorable = (PLATE,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        color, count = _asked(variation)
        return (
            f"stack {count} {color} blocks",
            f"build a tower of {count} {color} blocks on the plate",
            f"take {count} of the {color} cubes and set one upon the other on the plate",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> Layout:
        color, count = _asked(variation)
        others = [other for other in COLORS if other != color]
        plate = sample_place(self.region, rng)
        blocks = scatter_places(_BLOCKS, 2 * BLOCKS_PER_COLOR, _APART_M, rng, clear_of=(plate,))
        return Layout(plate, blocks, (color, others[rng.integers(len(others))]), count)

    def build(self, layout: Layout, spec: mujoco.MjSpec) -> None:
        plate = stand(spec, PLATE, layout.plate)
        add_box(plate, (0.0, 0.0, PLATE_HEIGHT_M / 2), (PLATE_M, PLATE_M, PLATE_HEIGHT_M), _RIM_RGB, name=PLATE)
        inlay_m = PLATE_M - 0.024
        add_box(plate, (0.0, 0.0, PLATE_HEIGHT_M), (inlay_m, inlay_m, 0.0006), _INLAY_RGB, solid=False)
        for index, place in enumerate(layout.blocks):
            block = stand(spec, block_name(index), place)
            block.add_freejoint()
            color = COLORS[layout.colors[index // BLOCKS_PER_COLOR]]
            cube = add_box(block, (0.0, 0.0, BLOCK_M / 2), (BLOCK_M, BLOCK_M, BLOCK_M), color, name=block_name(index))
            cube.mass = 0.08
            make_graspable(spec, block_name(index))

    def goal(self, layout: Layout, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        plate = int(model.geom(PLATE).id)
        blocks = [int(model.geom(block_name(index)).id) for index in range(BLOCKS_PER_COLOR)]

        def stands_on(block: int, below: int) -> bool:
            x, y, up = data.geom_xpos[block] - data.geom_xpos[below]
            return bool(
                math.hypot(x, y) < model.geom_size[below, 0]
                and abs(up - model.geom_size[block, 2] - model.geom_size[below, 2]) < _LEVEL_M
                and touching(model, data, block, below)
                and is_still(model, data, block)
            )

        def tower_on(below: int) -> int:
            """Blocks of the highest tower that stands on a geom."""
            return max((1 + tower_on(block) for block in blocks if stands_on(block, below)), default=0)

        return Momentary(lambda: not holding(model, data) and tower_on(plate) >= layout.to_stack)

    def waypoints(self, layout: Layout, data: mujoco.MjData) -> Iterator[Waypoint]:
        # The nearest first: which of four like blocks comes next can then be seen.
        own = sorted(range(BLOCKS_PER_COLOR), key=lambda index: _distance_m(layout.blocks[index], layout.plate))
        for level, index in enumerate(own[: layout.to_stack]):
            block = data.geom(block_name(index))
            around = gripper_down(block.xpos, quarter_turn_yaw(heading(block.xmat)))
            half_m = block.xpos[2] - TABLE_HEIGHT_M
            yield go("above the block", raised(around, _ABOVE_M), gripper_open=True)
            yield touch("grasp", around, gripper_open=False)
            middle = world_from_place(layout.plate, PLATE_HEIGHT_M + (2 * level + 1) * half_m + _GAP_M)[:3, 3]
            there = gripper_down(middle, quarter_turn_yaw(layout.plate.yaw))
            yield go("above the tower", raised(there, _ABOVE_M), gripper_open=False)
            yield touch("set down", there, gripper_open=True)
            if level + 1 < layout.to_stack:
                yield touch("leave", raised(there, _LEAVE_M), gripper_open=True)


def _asked(variation: int) -> tuple[str, int]:
    """Colour and number of the blocks to stack."""
    color, height = divmod(variation, len(HEIGHTS))
    return list(COLORS)[color], HEIGHTS[height]


def _distance_m(first: Place, second: Place) -> float:
    return math.dist((first.x_m, first.y_m), (second.x_m, second.y_m))
