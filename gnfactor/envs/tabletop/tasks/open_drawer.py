"""open_drawer: pull one of a chest's three drawers open by its bar handle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from gnfactor.envs.tabletop.chest import CHEST, DRAWERS, add_chest, drawer_name, pull_of
from gnfactor.envs.tabletop.placement import Place, Region, sample_place
from gnfactor.envs.tabletop.tasks.base import Goal, Momentary, Task, Waypoint, go, touch

OPEN_M = 0.15
"""A drawer that has come out further than this is open."""


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
        add_chest(spec, layout.place)

    def goal(self, layout: Chest, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        address = int(model.joint(drawer_name(layout.drawer)).qposadr[0])
        return Momentary(lambda: float(data.qpos[address]) > OPEN_M)

    def waypoints(self, layout: Chest, data: mujoco.MjData) -> Iterator[Waypoint]:
        pull = pull_of(layout.drawer, layout.place, data)
        yield go("approach", pull.before, gripper_open=True)
        yield touch("grasp", pull.around, gripper_open=False)
        yield touch("pull", pull.out, gripper_open=False)
