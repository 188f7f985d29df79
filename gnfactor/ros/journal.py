"""What is worth keeping of a run on a robot, as it happens; who keeps it need not know who says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gnfactor.actions import Action
from gnfactor.ros.link import GripCommand, JointTrajectory, PlanRequest, PoseTarget, Progress, RobotState
from gnfactor.scene import Observation


@dataclass(frozen=True)
class Began:
    """An episode begins."""

    instruction: str


@dataclass(frozen=True, eq=False)
class Seen:
    """What the policy is shown; exactly this, so that it can be asked again."""

    observation: Observation


@dataclass(frozen=True, eq=False)
class Decided:
    """What the policy wants, before anybody has judged it."""

    action: Action


@dataclass(frozen=True)
class Judged:
    """What the guard says to it; None: it may be done."""

    reason: str | None


@dataclass(frozen=True)
class Asked:
    """A question to the operator, and the answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Ended:
    """What came of an action, as in `Outcome`."""

    refused: str | None
    blocked: str | None
    ended: str | None = None


@dataclass(frozen=True)
class Looked:
    """Pictures were asked for, and came."""

    stamps_s: Mapping[str, float]
    """When each camera took its own, on the robot's clock."""


@dataclass(frozen=True, eq=False)
class Stated:
    """What the robot said about itself."""

    state: RobotState


@dataclass(frozen=True, eq=False)
class Commanded:
    """What was sent to the robot."""

    command: PoseTarget | JointTrajectory | PlanRequest | GripCommand | None
    """None: the verb says all."""
    verb: str
    """The method of the link that sent it."""


@dataclass(frozen=True)
class Progressed:
    """How far the robot says it has come with a command, where that is another answer than the last."""

    progress: Progress


@dataclass(frozen=True)
class Failed:
    """The robot could not be reached, or something else went wrong."""

    complaint: str


Event = Began | Seen | Decided | Judged | Asked | Ended | Looked | Stated | Commanded | Progressed | Failed


@runtime_checkable
class Journal(Protocol):
    """Keeps events in the order in which they come."""

    def note(self, event: Event) -> None:
        """Keep one event, stamped with the time at which it is noted. Safe from any thread.

        Arrays in it must not be written to afterwards. Raises GNFactorError where nothing can be kept any more: a run
        ends there.
        """
        ...


class Forgetful:
    """A journal that keeps nothing."""

    def note(self, event: Event) -> None:
        """Forget it."""
