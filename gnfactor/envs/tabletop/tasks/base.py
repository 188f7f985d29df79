"""What a task of the built-in world is: one class per file, a declaration of six things.

1. variations: how many, and what each asks for;
2. instructions: ways to say it, the first being the default;
3. placement: where things stand, drawn from the scene's own generator (`sample`), as plain numbers (a layout);
4. bodies: the layout added to the room (`build`);
5. waypoints: what an expert does, computed from the state of the simulation as it goes (`waypoints`);
6. success: a goal that watches every step of the physics (`goal`).

A layout holds everything that was drawn, and nothing else: what it does not hold follows from it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import mujoco
import numpy as np

from gnfactor.actions import ArmTarget
from gnfactor.envs.tabletop.placement import Place, Pose, Region, world_from_place
from gnfactor.envs.tabletop.scene import GRASP_PREFIX, TABLE_GEOM

Layout = TypeVar("Layout")

_TOUCHING_M = 0.001
"""Two geoms no farther apart than this touch."""
_STILL = 0.05
"""m/s and rad/s: what is slower lies or stands still."""


@dataclass(frozen=True, eq=False)
class Waypoint:
    """One keyframe of an expert: go there, then open or close the gripper."""

    name: str
    """What it is for, such as "grasp"; failures are reported by it."""
    target: ArmTarget


@runtime_checkable
class Goal(Protocol):
    """Judges one episode, whose simulation it was given when it was made."""

    def observe(self) -> None:
        """Look at the simulation after one step of the physics; called for every step."""
        ...

    def reached(self) -> bool:
        """Whether the task is done now; asked at the end of every action."""
        ...


class Task(ABC, Generic[Layout]):
    """One task in all its variations."""

    name: str
    variation_count: int
    region: Region
    """Optional, for the perturbation that draws elsewhere: `sample` draws from `self.region`."""
    resizable: tuple[str, ...] = ()
    """For perturbations: names of the free bodies that may be larger or smaller, the task remaining what it is."""
    recolorable: tuple[str, ...] = ()
    """For perturbations: names of the bodies whose colour means nothing."""

    @abstractmethod
    def instructions(self, variation: int) -> tuple[str, ...]:
        """Ways to say what this variation asks for; the first is the default."""

    @abstractmethod
    def sample(self, variation: int, rng: np.random.Generator) -> Layout:
        """Draw a scene. One whose waypoints the arm cannot reach, or that is done as it stands, is drawn again."""

    @abstractmethod
    def build(self, layout: Layout, spec: mujoco.MjSpec) -> None:
        """Add the task's bodies to the room."""

    @abstractmethod
    def goal(self, layout: Layout, model: mujoco.MjModel, data: mujoco.MjData) -> Goal:
        """A fresh judge of one episode; it may recolour the model's geoms to show progress."""

    @abstractmethod
    def waypoints(self, layout: Layout, data: mujoco.MjData) -> Iterator[Waypoint]:
        """The expert's keyframes; `data` has moved on each time the next is asked for."""


class Momentary:
    """A goal that is a condition on the present state alone."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def observe(self) -> None:
        """Nothing to remember."""

    def reached(self) -> bool:
        return self._condition()


def go(name: str, world_from_gripper: Pose, *, gripper_open: bool) -> Waypoint:
    """A waypoint that is reached around obstacles."""
    return Waypoint(name, ArmTarget(world_from_gripper, gripper_open, ignore_collisions=False))


def touch(name: str, world_from_gripper: Pose, *, gripper_open: bool) -> Waypoint:
    """A waypoint that is reached in a straight line, through contact."""
    return Waypoint(name, ArmTarget(world_from_gripper, gripper_open, ignore_collisions=True))


def holding(model: mujoco.MjModel, data: mujoco.MjData) -> bool:
    """Whether the gripper holds something."""
    return any(data.eq_active[weld] and model.equality(weld).name.startswith(GRASP_PREFIX) for weld in range(model.neq))


def touching(model: mujoco.MjModel, data: mujoco.MjData, first: int, second: int) -> bool:
    """Whether two geoms (ids) touch. Not by contacts: MuJoCo lists none for what has come to rest."""
    return mujoco.mj_geomDistance(model, data, first, second, 2 * _TOUCHING_M, None) < _TOUCHING_M


def is_still(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> bool:
    """Whether the free body of a geom (id) neither moves nor turns."""
    first = int(model.body_dofadr[model.geom_bodyid[geom]])
    return bool(np.abs(data.qvel[first : first + 6]).max() < _STILL)


def lies_on_square(model: mujoco.MjModel, data: mujoco.MjData, geom: str, square: Place, edge_m: float) -> bool:
    """Whether a geom lies on the table with its centre over a square that is marked there."""
    x, y, _, _ = np.linalg.solve(world_from_place(square), (*data.geom(geom).xpos, 1.0))
    on_table = touching(model, data, int(model.geom(TABLE_GEOM).id), int(model.geom(geom).id))
    return bool(max(abs(x), abs(y)) < edge_m / 2 and on_table)


def heading(rotation: np.ndarray) -> float:
    """Yaw (rad) of the x axis of a rotation, given as a matrix or as MuJoCo's nine numbers."""
    x_axis = rotation.reshape(3, 3)[:, 0]
    return math.atan2(x_axis[1], x_axis[0])
