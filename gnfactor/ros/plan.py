"""What is about to happen, for whoever has to agree to it, and what he may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from gnfactor.actions import Action, ArmTarget
from gnfactor.kinematics import between
from gnfactor.ros.commands import is_open
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.link import RobotState, RobotView
from gnfactor.ros.safety import Verdict
from gnfactor.scene import ARM

_FARTHEST_M = 10.0
"""What is farther away is nowhere: no picture shows it, and a motion to it would never end."""
Answer = Literal["go", "refuse", "pass", "recover", "done", "stop", "give up"]
"""Do it; do not, and ask the policy again; likewise, since nothing is to be sent; clear the robot's errors instead; the
task is done; the run is over, by somebody's word or since too much was refused with nobody to ask."""


@dataclass(frozen=True, eq=False)
class Plan:
    """An action, what it was judged by, and the judgement."""

    action: Action
    verdict: Verdict
    views: Mapping[str, RobotView]
    state: RobotState
    start: Float[np.ndarray, "4 4"]
    """`world_from_gripper` as measured."""

    @property
    def target(self) -> ArmTarget | None:
        """Of the one arm; None where the action is for others, which the guard refuses."""
        return self.action.arms.get(ARM)

    @property
    def is_measured(self) -> bool:
        """Whether the measured pose is one that can be looked at."""
        return _is_near(self.start)

    @property
    def goal(self) -> Float[np.ndarray, "4 4"] | None:
        """`world_from_gripper` of the target; None where it is nowhere, which the guard refuses."""
        found = None if self.target is None else np.asarray(self.target.world_from_gripper, dtype=np.float64)
        return found if found is not None and _is_near(found) else None


Approve: TypeAlias = Callable[[Plan], Answer]
"""Asked about every plan, also about those that the guard refuses: for these, "go" is no more than consent."""


def changes_nothing(plan: Plan, config: RobotConfig) -> bool:
    """Whether the gripper is already where the action wants it, the fingers included."""
    target, goal, pace = plan.target, plan.goal, config.executor
    if target is None or goal is None:
        return False
    distance_m, turn_rad = between(plan.start, goal)
    same_place = distance_m <= pace.arrived_m and turn_rad <= pace.arrived_rad
    return same_place and target.gripper_open == is_open(plan.state, config)


def change_complaint(before: Plan, now: Plan, config: RobotConfig) -> str | None:
    """Why an agreement to one plan is no agreement to another of the same action, or None."""
    if not now.verdict.ok:
        return f"it was agreed to, but by now: {now.verdict.reason}"
    pace = config.executor
    distance_m, turn_rad = between(before.start, now.start)
    if distance_m > pace.arrived_m or turn_rad > pace.arrived_rad:
        return (
            f"the arm has moved {distance_m * 1000:.0f} mm and {turn_rad:.2f} rad since the question was asked; at "
            f"most {pace.arrived_m * 1000:.0f} mm and {pace.arrived_rad} rad are allowed: look at it again"
        )
    if is_open(before.state, config) != is_open(now.state, config):
        return "the fingers have moved since the question was asked: look at it again"
    return None


def _is_near(pose: Float[np.ndarray, "4 4"]) -> bool:
    return bool(np.isfinite(pose).all()) and float(np.abs(pose).max()) < _FARTHEST_M
