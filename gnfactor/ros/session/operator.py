"""The person at the terminal, who is shown what each action would do and says whether it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from gnfactor.files import write_file
from gnfactor.ros.config import RobotConfig
from gnfactor.ros.journal import Asked, Ended, Journal
from gnfactor.ros.link import RobotMode, RobotState
from gnfactor.ros.plan import Answer, Plan, changes_nothing
from gnfactor.ros.session.forecast import forecast
from gnfactor.ros.session.preview import draw_plan, step_lines
from gnfactor.video import write_png

Confirm = Literal["each", "first", "never"]
"""Before every motion, before the first one of the run, not at all."""
Ask: TypeAlias = Callable[[str], str]
"""Shows a question and returns what was typed."""
Say: TypeAlias = Callable[[str], None]
"""Shows a line."""

LATEST = "latest.png"
STOP = "q"
"""Key that ends a run; also what a terminal that is gone says."""
_MOST_REFUSALS = 3
"""So many actions in a row may be refused with nobody to ask, before the run is over."""


@dataclass(frozen=True)
class Choice:
    """What a key means."""

    words: str
    answer: Answer


@dataclass(frozen=True)
class Keys:
    """What may be answered about a plan."""

    allowed: Mapping[str, Choice]
    refused: Mapping[str, Choice]
    dry_run: Mapping[str, Choice]
    always: Mapping[str, Choice]


_IF_IN_ERROR = {"r": Choice("recover the robot", "recover")}
KEYS_OF_A_POLICY = Keys(
    allowed={"y": Choice("do it", "go"), "n": Choice("do not, ask the policy again", "refuse")},
    refused={"n": Choice("ask the policy again", "refuse")},
    dry_run={"": Choice("look and ask the policy again", "pass")},
    always={"d": Choice("the task is done", "done"), STOP: Choice("stop here", "stop")},
)
KEYS_OF_A_CHECK = Keys(
    allowed={"y": Choice("do it", "go"), "n": Choice("another pose", "refuse")},
    refused={"n": Choice("another pose", "refuse")},
    dry_run={"": Choice("another pose", "pass")},
    always={STOP: Choice("give up", "stop")},
)


class Operator:
    """Approves plans, one after the other, in the name of whoever sits at the terminal.

    Every plan is drawn into `folder` and said in words, whether anybody is asked or not. An action that would change
    nothing is the policy's word that it is done.
    """

    def __init__(
        self,
        config: RobotConfig,
        folder: Path,
        say: Say,
        ask: Ask,
        journal: Journal,
        confirm: Confirm = "each",
        dry_run: bool = False,
        keys: Keys = KEYS_OF_A_POLICY,
    ) -> None:
        """Who is asked, and how.

        Args:
            config: of the robot.
            folder: where the pictures go.
            say: shows a line.
            ask: shows a question and returns the answer.
            journal: told of questions and answers.
            confirm: when to ask.
            dry_run: nothing will be sent; the questions are whether to look again.
            keys: what may be answered.
        """
        self._config, self._folder, self._say, self._ask, self._journal = config, folder, say, ask, journal
        self._confirm: Confirm = confirm
        self._dry_run, self._keys = dry_run, keys
        self._count, self._refusals = 0, 0
        self._has_let_go, self._has_agreed = False, False

    def approve(self, plan: Plan) -> Answer:
        """What the operator wants done with a plan, the guard's judgement before his eyes.

        Raises:
            DataError: the picture cannot be written, without which nobody can be asked.
        """
        answer = self._answer(plan)
        self._has_let_go = answer == "go"
        return answer

    def learn(self, outcome: Ended) -> None:
        """What came of the action: with `first`, a yes counts for later ones only once its own motion has begun."""
        if self._has_let_go:
            self._has_agreed = outcome.refused is None

    def _answer(self, plan: Plan) -> Answer:
        self._count += 1
        self._show(plan)
        self._refusals = 0 if plan.verdict.ok else self._refusals + 1
        if plan.verdict.ok and changes_nothing(plan, self._config):
            self._say("  the gripper is there already and the fingers stay as they are: the policy is done")
            if self._confirm == "never" or not self._dry_run:
                return "done"
        if self._confirm == "never" or (self._confirm == "first" and not self._dry_run and self._has_agreed):
            return self._answer_alone(plan)
        return self._choose(self._choices(plan))

    def _show(self, plan: Plan) -> None:
        expected = forecast(plan, self._config)
        step = step_lines(plan)
        would = "would send" if self._dry_run or not plan.verdict.ok else "will send"
        sends = [f"{would}: {line}" if number == 0 else line for number, line in enumerate(expected.lines)]
        trips = [] if expected.trips in (None, plan.verdict.reason) else [f"it would be stopped: {expected.trips}"]
        lines = [*step, *sends, *trips]
        path = self._folder / f"action{self._count:03d}.png"
        write_png(path, draw_plan(plan, self._config, lines))
        write_file(self._folder / LATEST, path.read_bytes())
        self._say(f"action {self._count}: {lines[0]}")
        for line in lines[1:]:
            self._say(f"  {line}")
        self._say(f"  picture: {path} (and {LATEST})")

    def _answer_alone(self, plan: Plan) -> Answer:
        if plan.verdict.ok:
            return "pass" if self._dry_run else "go"
        if self._refusals < _MOST_REFUSALS:
            return "refuse"
        self._say(f"  {_MOST_REFUSALS} actions in a row were refused and nobody is to be asked: the run is over")
        return "give up"

    def _choices(self, plan: Plan) -> Mapping[str, Choice]:
        keys = self._keys
        if self._dry_run:
            return {**keys.dry_run, **keys.always}
        if plan.verdict.ok:
            return {**keys.allowed, **keys.always}
        return {**keys.refused, **(_IF_IN_ERROR if is_in_error(plan.state) else {}), **keys.always}

    def _choose(self, choices: Mapping[str, Choice]) -> Answer:
        keys = ", ".join(f"{key or 'Enter'}: {choice.words}" for key, choice in choices.items())
        while True:
            said = self._ask(f"{keys} > ").strip().lower()
            self._journal.note(Asked(keys, said))
            if said in choices:
                return choices[said].answer
            self._say(f"  '{said}' is none of the answers")


def is_in_error(state: RobotState) -> bool:
    """Whether the robot waits for somebody's word to recover."""
    return state.mode is RobotMode.REFLEX or bool(state.errors)


def typed(question: str) -> str:
    """What is typed after the question appears; keys pressed before do not count, and a terminal that is gone stops.

    Otherwise a second Enter would agree to a motion that nobody has seen yet.
    """
    _forget_typed_ahead()
    try:
        return input(question)
    except EOFError:
        return STOP


def _forget_typed_ahead() -> None:
    try:
        import termios  # noqa: PLC0415 (not on every system)
    except ImportError:
        return
    with suppress(termios.error, OSError):  # not a terminal
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
