"""A recorded run in turns: what the policy was shown, what it wanted, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gnfactor.actions import Action
from gnfactor.errors import DataError
from gnfactor.ros.journal import Asked, Began, Decided, Ended, Failed, Judged, Looked, Seen, Stated
from gnfactor.ros.link import RobotState, RobotView
from gnfactor.ros.log.reader import Noted, Recording
from gnfactor.scene import Observation

Kind = TypeVar("Kind")


@dataclass(frozen=True, eq=False)
class Moment:
    """What is known of the robot at one time of a run."""

    time_s: float
    stamps_s: Mapping[str, float]
    """When the newest pictures were taken, by camera; empty where that was not noted."""
    state: RobotState | None
    """The newest one, if there is any."""


@dataclass(frozen=True, eq=False)
class Turn:
    """From one observation of the policy to the next."""

    instruction: str
    start: Moment
    observation: Observation | None
    """What the policy is shown; None: the time before it was shown anything."""
    events: tuple[Noted, ...]
    """From then on, in order."""

    def of(self, kind: type[Kind]) -> list[tuple[float, Kind]]:
        """All events of one kind, with their times (s)."""
        return [(noted.time_s, noted.event) for noted in self.events if isinstance(noted.event, kind)]

    @property
    def number(self) -> int:
        """Of its action, from 1 on, as the operator was told it and its picture is called."""
        assert self.observation is not None, "nothing is decided before anything is seen"
        return self.observation.step + 1

    @property
    def action(self) -> Action | None:
        """What the policy wanted."""
        return next((event.action for _, event in self.of(Decided)), None)

    @property
    def verdict(self) -> Judged | None:
        """What the guard said first."""
        return next((event for _, event in self.of(Judged)), None)

    @property
    def answers(self) -> list[Asked]:
        return [event for _, event in self.of(Asked)]

    @property
    def outcome(self) -> Ended | None:
        return next((event for _, event in self.of(Ended)), None)

    @property
    def failures(self) -> list[Failed]:
        return [event for _, event in self.of(Failed)]

    @property
    def judging(self) -> Moment:
        """What the guard looked at when it judged first, or the policy where nobody judged."""
        now = self.start
        for noted in self.events:
            match noted.event:
                case Judged():
                    return now
                case Looked(stamps_s):
                    now = Moment(noted.time_s, stamps_s, now.state)
                case Stated(state):
                    now = Moment(noted.time_s, now.stamps_s, state)
                case _:
                    pass
        return self.start

    def views(self, moment: Moment) -> dict[str, RobotView]:
        """The pictures of this turn as the robot gave them; where it is not known when they were taken, just then."""
        assert self.observation is not None, "who asks for pictures has looked whether there are any"
        return {
            name: RobotView(view.camera, view.rgb, view.depth_m, moment.stamps_s.get(name, moment.time_s))
            for name, view in self.observation.views.items()
        }


def recorded_turns(recording: Recording) -> Iterator[Turn]:
    """The turns of a log.

    Raises:
        DataError: it holds no event, or it is damaged.
    """
    told = turns(recording.events())
    first = next(told, None)
    if first is None:
        cut = "" if recording.whole else ", and its end is missing"
        raise DataError(f"{recording.path} holds no event{cut}; take another log")
    yield first
    yield from told


def turns(events: Iterable[Noted]) -> Iterator[Turn]:
    """The turns of a run, one at a time; the first is the time before the policy was shown anything."""
    instruction, observation = "", None
    now = Moment(0.0, {}, None)
    start, kept = None, list[Noted]()
    for noted in events:
        match noted.event:
            case Seen(seen):
                if start is not None:
                    yield Turn(instruction, start, observation, tuple(kept))
                now = Moment(noted.time_s, now.stamps_s, now.state)
                start, observation, kept = now, seen, []
                continue
            case Began(text):
                instruction = text
            case Looked(stamps_s):
                now = Moment(noted.time_s, stamps_s, now.state)
            case Stated(state):
                now = Moment(noted.time_s, now.stamps_s, state)
            case _:
                pass
        start = start or Moment(noted.time_s, {}, None)
        kept.append(noted)
    if start is not None:
        yield Turn(instruction, start, observation, tuple(kept))
