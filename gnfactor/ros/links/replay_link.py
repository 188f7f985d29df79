"""A recorded run as a robot: time, states and pictures as they were, and nothing moves but what moved then.

The recording goes in turns (`gnfactor.ros.log.turns`). Whoever looks at the robot for the first time, or again after a
hold, sees the next turn's pictures: so does an Env after each of its actions. A command makes time jump to where the
recorded robot was given its own. A program that decides as the recorded one did therefore finds the same answers at the
same times, and one that decides otherwise finds an arm that does not follow it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from gnfactor.errors import ConfigError, DataError, RobotError
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.journal import Commanded, Looked, Progressed, Stated
from gnfactor.ros.link import (
    GripCommand,
    JointTrajectory,
    PlanRequest,
    PoseTarget,
    Progress,
    RobotState,
    RobotView,
)
from gnfactor.ros.log.reader import Recording
from gnfactor.ros.log.turns import Moment, Turn, recorded_turns

_LOOKS_IN_A_TURN = 2
"""Of a program that never holds, since it sends nothing: one to decide, one to judge."""


class ReplayLink:
    """The log in `link.uri` behind the methods of a link.

    Raises:
        ConfigError: no log is named.
        DataError: it is none, or it is damaged, or it has no pictures.
    """

    def __init__(self, config: RobotConfig) -> None:
        if config.link.uri is None:
            raise ConfigError("link.uri is null; name the log to replay, as in link.uri=runs/robot/RUN/run.mcap")
        recording = Recording(Path(config.link.uri))
        if not recording.header.config.log.images:
            raise DataError(
                f"{recording.path} has no pictures (log.images=false); only a log with them can be replayed"
            )
        self._path = recording.path
        self._holds = False
        self._turns: Iterator[Turn] = recorded_turns(recording)
        self._following: Turn | None = None
        self._take(next(self._turns))

    def now_s(self) -> float:
        return self._clock_s

    def wait(self, duration_s: float) -> None:
        self._clock_s += duration_s

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:  # noqa: ARG002 (as old as they were)
        """The recorded pictures; raises RobotError where there are no more."""
        ended = self._held if self._holds else self._looks >= _LOOKS_IN_A_TURN
        if self._turn.observation is None or (self._looks and ended):
            if self._following is None:
                raise self._over()
            self._take(self._following)
        elif self._looks:
            self._look_again()
        self._looks += 1
        return self._turn.views(Moment(self._clock_s, self._stamps_s, None))

    def state(self) -> RobotState:
        """The recorded one that is nearest in time."""
        if not self._states:
            raise RobotError(f"the recording {self._path} holds no state of the robot at this time")
        return min(self._states, key=lambda timed: abs(timed[0] - self._clock_s))[1]

    def stream(self, target: PoseTarget) -> None:  # noqa: ARG002 (nobody follows it)
        self._jump_to("stream")

    def start_trajectory(self, trajectory: JointTrajectory) -> None:
        self._start("start_trajectory", trajectory.sequence)

    def start_plan(self, request: PlanRequest) -> None:
        self._start("start_plan", request.sequence)

    def start_grip(self, command: GripCommand) -> None:
        self._start("start_grip", command.sequence)

    def progress(self) -> Progress:
        """As the robot answered at this time about its own command."""
        sequence, recorded = self._started
        if recorded is None:
            return Progress(sequence, "failed", "the recorded robot was not told so")
        answers = [
            event.progress
            for time_s, event in self._turn.of(Progressed)
            if time_s <= self._clock_s and event.progress.sequence == recorded
        ]
        last = answers[-1] if answers else Progress(recorded, "running")
        return Progress(sequence, last.status, last.message)

    def hold(self) -> None:
        """The turn is over."""
        self._held = self._holds = True

    def recover(self) -> None:
        """A recording cannot be helped."""

    def close(self) -> None:
        self.hold()

    def _take(self, turn: Turn) -> None:
        """Go on to a turn; the one after it is read, too, so that the end is known before it comes."""
        self._turn, self._following = turn, next(self._turns, None)
        self._clock_s, self._stamps_s = turn.start.time_s, turn.start.stamps_s
        start = [] if turn.start.state is None else [(turn.start.time_s, turn.start.state)]
        self._states = start + [(time_s, event.state) for time_s, event in turn.of(Stated)]
        still = takewhile(lambda noted: not isinstance(noted.event, Commanded), turn.events)
        self._before_moving = [(one.time_s, one.event) for one in still if isinstance(one.event, Looked)]
        self._commands = turn.of(Commanded)
        self._looks, self._held = 0, False
        self._started: tuple[int, int | None] = (0, None)

    def _look_again(self) -> None:
        if self._turn.action is None and self._following is None:
            raise self._over()
        if self._before_moving:
            time_s, look = self._before_moving[-1]  # time in which somebody thought about the answer is left out
            self._clock_s, self._stamps_s = max(self._clock_s, time_s), look.stamps_s

    def _start(self, verb: str, sequence: int) -> None:
        recorded = self._jump_to(verb)
        self._started = (sequence, None if recorded is None or recorded.command is None else recorded.command.sequence)

    def _jump_to(self, verb: str) -> Commanded | None:
        """The next recorded command of this turn that was given by the same verb, which it now is the time of."""
        for index, (time_s, event) in enumerate(self._commands):
            if event.verb == verb:
                del self._commands[: index + 1]
                self._clock_s = max(self._clock_s, time_s)
                return event
        return None

    def _over(self) -> RobotError:
        return RobotError(f"the recording is over: {self._path} has no more")
