"""put_item_in_drawer: open one of a chest's three drawers and put the parcel that stands on the chest into it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from gnfactor.envs.tabletop.bodies import add_box, stand
from gnfactor.envs.tabletop.chest import (
    DRAWERS,
    HOLLOW_LOWER_M,
    HOLLOW_UPPER_M,
    RIM_M,
    TOP_M,
    add_chest,
    drawer_height_m,
    drawer_name,
    pull_of,
)
from gnfactor.envs.tabletop.colors import COLORS
from gnfactor.envs.tabletop.placement import (
    Place,
    Pose,
    Region,
    gripper_tilted,
    sample_place,
    world_from_place,
)
from gnfactor.envs.tabletop.scene import make_graspable
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, go, holding, touch

ITEM = "item"
ITEM_M = 0.045
"""Edge of the parcel, a cube."""

_ON_TOP = Region(x_m=(0.035, 0.10), y_m=(-0.09, 0.09), max_yaw_deg=20.0)
"""Where the parcel stands on the chest, in the chest's frame."""

_TILT = math.radians(45)
"""Of the gripper that carries the parcel: steeper, it would reach the top of near chests only."""
_ABOVE_M = 0.12
_DROP_X_M = -0.11
"""In the chest's frame: in the drawer's open part, clear of its front and of the handles of the drawers above."""
_DROP_M = 0.02
"""Of the parcel's middle above the drawer's front when it is let go."""
_TOLERANCE_M = 0.002
_STRING_M = 0.008


@dataclass(frozen=True)
class ParcelOnChest:
    """Where the chest stands, which drawer is meant, and where the parcel stands on top of the chest."""

    chest: Place
    drawer: int
    item: Place


class PutItemInDrawer(Task[ParcelOnChest]):
    """Three variations: the bottom, the middle and the top drawer."""

    name = "put_item_in_drawer"
    variation_count = len(DRAWERS)
    # Beyond this the arm does not reach the top of the chest, nearer it does not pull the drawers out; headings are the
    # published ones.
    region = Region(x_m=(0.26, 0.54), y_m=(-0.20, 0.20), max_yaw_deg=22.5)
    resizable = (ITEM,)
    recolorable = (ITEM,)

    def instructions(self, variation: int) -> tuple[str, ...]:
        drawer = DRAWERS[variation]
        return (
            f"put the item in the {drawer} drawer",
            f"open the {drawer} drawer and lay the item inside",
            f"take the item from the top of the chest and drop it into its {drawer} drawer",
        )

    def sample(self, variation: int, rng: np.random.Generator) -> ParcelOnChest:
        chest, on_top = sample_place(self.region, rng), sample_place(_ON_TOP, rng)
        x, y, _ = _in_chest(chest, on_top.x_m, on_top.y_m, TOP_M)
        return ParcelOnChest(chest, variation, Place(float(x), float(y), chest.yaw + on_top.yaw))

    def build(self, layout: ParcelOnChest, spec: mujoco.MjSpec) -> None:
        add_chest(spec, layout.chest)
        item = stand(spec, ITEM, layout.item, TOP_M + ITEM_M / 2)
        item.add_freejoint()
        cube = add_box(item, (0.0, 0.0, 0.0), (ITEM_M, ITEM_M, ITEM_M), COLORS["red"], name=ITEM)
        cube.mass = 0.1
        around = ITEM_M + 0.001
        add_box(item, (0.0, 0.0, 0.0), (_STRING_M, around, around), COLORS["white"], solid=False)
        add_box(item, (0.0, 0.0, 0.0), (around, _STRING_M, around), COLORS["white"], solid=False)
        make_graspable(spec, ITEM)

    def goal(self, layout: ParcelOnChest, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        return Momentary(lambda: is_inside(layout.drawer, model, data) and not holding(model, data))

    def waypoints(self, layout: ParcelOnChest, data: mujoco.MjData) -> Iterator[Waypoint]:
        pull = pull_of(layout.drawer, layout.chest, data)
        yield go("approach", pull.before, gripper_open=True)
        yield touch("grasp the handle", pull.around, gripper_open=False)
        yield touch("pull", pull.out, gripper_open=True)
        yield touch("leave the handle", pull.away, gripper_open=True)
        item_m, yaw = data.body(ITEM).xpos.copy(), layout.item.yaw
        yield go("above the item", _carrying(item_m, yaw, _ABOVE_M), gripper_open=True)
        yield touch("grasp the item", _carrying(item_m, yaw), gripper_open=False)
        yield touch("lift", _carrying(item_m, yaw, _ABOVE_M), gripper_open=False)
        drop_m = _in_chest(layout.chest, _DROP_X_M, 0.0, drawer_height_m(layout.drawer) + RIM_M + _DROP_M)
        yield go("above the drawer", _carrying(drop_m, layout.chest.yaw, _ABOVE_M), gripper_open=False)
        yield touch("let go", _carrying(drop_m, layout.chest.yaw), gripper_open=True)


def is_inside(drawer: int, model: mujoco.MjModel, data: mujoco.MjData) -> bool:
    """Whether all corners of the parcel are between the walls of a drawer, above its floor and below its rim."""
    corners = model.geom(ITEM).size * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, 8).T
    body, item = data.body(drawer_name(drawer)), data.body(ITEM)
    in_world = item.xpos + corners @ item.xmat.reshape(3, 3).T
    in_drawer = (in_world - body.xpos) @ body.xmat.reshape(3, 3)
    beyond = np.maximum(np.array(HOLLOW_LOWER_M) - in_drawer, in_drawer - np.array(HOLLOW_UPPER_M))
    return bool(beyond.max() < _TOLERANCE_M)


def _in_chest(chest: Place, x_m: float, y_m: float, height_m: float) -> np.ndarray:
    """A point of the chest's frame in the world (m)."""
    return (world_from_place(chest) @ (x_m, y_m, height_m, 1.0))[:3]


def _carrying(item_m: np.ndarray, yaw: float, lifted_m: float = 0.0) -> Pose:
    """Gripper around the parcel whose middle is at `item_m`, or `lifted_m` above it."""
    return gripper_tilted(np.add(item_m, (0, 0, lifted_m)), yaw, _TILT)
