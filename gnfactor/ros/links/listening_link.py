"""A robot that is only listened to: whatever a dry run does, nothing can be sent through this link."""

from __future__ import annotations

from collections.abc import Mapping

from gnfactor.errors import RobotError
from gnfactor.ros.link import (
    GripCommand,
    JointTrajectory,
    PlanRequest,
    PoseTarget,
    Progress,
    RobotLink,
    RobotState,
    RobotView,
)


class ListeningLink:
    """Sees and hears through another link; refuses to send, and does without the holds that end everything else."""

    def __init__(self, link: RobotLink) -> None:
        self._link = link

    def now_s(self) -> float:
        return self._link.now_s()

    def wait(self, duration_s: float) -> None:
        self._link.wait(duration_s)

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        return self._link.observe(max_age_s)

    def state(self) -> RobotState:
        return self._link.state()

    def progress(self) -> Progress:
        return self._link.progress()

    def stream(self, target: PoseTarget) -> None:
        """Raises RobotError."""
        raise _refusal(f"target {target.sequence}")

    def start_trajectory(self, trajectory: JointTrajectory) -> None:
        """Raises RobotError."""
        raise _refusal(f"trajectory {trajectory.sequence}")

    def start_plan(self, request: PlanRequest) -> None:
        """Raises RobotError."""
        raise _refusal(f"request {request.sequence} to plan")

    def start_grip(self, command: GripCommand) -> None:
        """Raises RobotError."""
        raise _refusal(f"command {command.sequence} to the fingers")

    def recover(self) -> None:
        """Raises RobotError."""
        raise _refusal("the command to recover")

    def hold(self) -> None:
        """Nothing: nothing was moved, and another may be moving the arm."""

    def close(self) -> None:
        """Release the link, which holds nothing since nothing was sent through it."""
        self._link.close()


def _refusal(what: str) -> RobotError:
    return RobotError(f"{what} was not sent: this is a dry run")
