"""Who moves the arm in tests: back and forth, far too far, or as the built-in world's expert would."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import rospy
from std_srvs.srv import Trigger

from gnfactor.actions import Action, ArmTarget
from gnfactor.agent import Agent
from gnfactor.checkpoint import load_policy
from gnfactor.envs.base import Policy
from gnfactor.scene import ARM, Observation

_FAR_M = 3.0


class FinishedError(Exception):
    """The expert has nothing left to do."""


class Sweep:
    """Down from where the arm begins, up again, and so on."""

    def __init__(self, way_m: float) -> None:
        self._way_m = way_m
        self._top: np.ndarray | None = None
        self._is_up = True

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        (observation,) = observations
        if self._top is None:
            self._top = observation.arms[ARM].world_from_gripper
        goal = self._top.copy()
        goal[2, 3] -= self._way_m if self._is_up else 0.0
        self._is_up = not self._is_up
        return [Action({ARM: ArmTarget(goal, gripper_open=True, ignore_collisions=False)})]

    def reset(self, index: int) -> None:
        self._top, self._is_up = None, True


class Leap:
    """Always through the table, far below it."""

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        (observation,) = observations
        goal = observation.arms[ARM].world_from_gripper.copy()
        goal[2, 3] -= _FAR_M
        return [Action({ARM: ArmTarget(goal, gripper_open=True, ignore_collisions=False)})]

    def reset(self, index: int) -> None:
        """Nothing to forget."""


class Expert:
    """Asks the simulation what its expert does next; it knows the scene, and looks at no picture."""

    def __init__(self) -> None:
        self._ask = rospy.ServiceProxy("/simulation/expert", Trigger)

    def act(self, observations: Sequence[Observation], instructions: Sequence[str]) -> list[Action]:
        """Its next waypoint. Raises FinishedError after the last one."""
        waypoint = json.loads(self._ask().message)
        if waypoint is None:
            raise FinishedError
        pose = np.array(waypoint["world_from_gripper"])
        return [Action({ARM: ArmTarget(pose, waypoint["gripper_open"], waypoint["ignore_collisions"])})]

    def reset(self, index: int) -> None:
        """The simulation's own reset begins anew."""


POLICIES: dict[str, Callable[[], Policy]] = {
    "sweep": partial(Sweep, 0.25),
    "nudge": partial(Sweep, 0.05),
    "leap": Leap,
    "expert": Expert,
}


def make_policy(name: str) -> Policy:
    """One of `POLICIES`, or the one of a checkpoint in the folder of that name."""
    if name in POLICIES:
        return POLICIES[name]()
    return Agent(load_policy(Path(name)).policy)
