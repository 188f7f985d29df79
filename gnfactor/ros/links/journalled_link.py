"""A link that tells a journal what goes through it, and changes nothing of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping

from gnfactor.errors import GNFactorError
from gnfactor.ros.journal import Commanded, Event, Failed, Journal, Looked, Progressed, Stated
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


class JournalledLink:
    """Notes looks, states, commands, progress and failures.

    A command is noted before it is sent, and one that cannot be noted is not sent. `hold` and `close` are the
    exceptions: they reach the robot first, and whatever becomes of the note.
    """

    def __init__(self, link: RobotLink, journal: Journal) -> None:
        self._link, self._journal = link, journal
        self._progress: Progress | None = None

    def now_s(self) -> float:
        with self._failures():
            return self._link.now_s()

    def wait(self, duration_s: float) -> None:
        with self._failures():
            self._link.wait(duration_s)

    def observe(self, max_age_s: float) -> Mapping[str, RobotView]:
        with self._failures():
            views = self._link.observe(max_age_s)
        self._journal.note(Looked({name: view.stamp_s for name, view in views.items()}))
        return views

    def state(self) -> RobotState:
        with self._failures():
            state = self._link.state()
        self._journal.note(Stated(state))
        return state

    def stream(self, target: PoseTarget) -> None:
        self._command("stream", target, lambda: self._link.stream(target))

    def start_trajectory(self, trajectory: JointTrajectory) -> None:
        self._command("start_trajectory", trajectory, lambda: self._link.start_trajectory(trajectory))

    def start_plan(self, request: PlanRequest) -> None:
        self._command("start_plan", request, lambda: self._link.start_plan(request))

    def start_grip(self, command: GripCommand) -> None:
        self._command("start_grip", command, lambda: self._link.start_grip(command))

    def progress(self) -> Progress:
        with self._failures():
            progress = self._link.progress()
        if progress != self._progress:
            self._progress = progress
            self._journal.note(Progressed(progress))
        return progress

    def hold(self) -> None:
        with self._failures():
            self._link.hold()
        self._note_if_possible(Commanded(None, "hold"))

    def recover(self) -> None:
        self._command("recover", None, self._link.recover)

    def close(self) -> None:
        with self._failures():
            self._link.close()
        self._note_if_possible(Commanded(None, "close"))

    def _command(
        self,
        verb: str,
        command: PoseTarget | JointTrajectory | PlanRequest | GripCommand | None,
        send: Callable[[], None],
    ) -> None:
        self._journal.note(Commanded(command, verb))
        with self._failures():
            send()

    @contextlib.contextmanager
    def _failures(self) -> Generator[None]:
        """Note an exception and let it go on."""
        try:
            yield
        except Exception as error:
            self._note_if_possible(Failed(f"{type(error).__name__}: {error}"))
            raise

    def _note_if_possible(self, event: Event) -> None:
        """A journal that fails says so when it is next told of anything else."""
        with contextlib.suppress(GNFactorError):
            self._journal.note(event)
